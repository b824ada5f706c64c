"""What is on the screen while a network is trained."""

import io
import re

import pytest
import rich.console

from anp_tf import progress
from anp_tf.progress import Progress, counting, describe

LOGS = {
    "loss": 1.0,
    "accuracy": 0.5,
    "adversarial_accuracy": 0.25,
    "val_accuracy": 0.75,
    "val_adversarial_accuracy": 0.125,
    "sparsity": 0.6,
    "vulnerability": 0.01234,
    "kl": 1234.6,
    "learning_rate": 0.003,
}
BATCH = {name: value for name, value in LOGS.items() if not name.startswith("val_")}


@pytest.fixture
def screen(monkeypatch):
    """What is written; call with `terminal=True` for a terminal."""

    def install(terminal):
        text = io.StringIO()
        monkeypatch.setattr(
            progress,
            "_Console",
            lambda: rich.console.Console(file=text, force_terminal=terminal, width=80),
        )
        return text

    return install


def test_describe_shows_percentages():
    assert describe(LOGS) == (
        "clean 50.0  adversarial 25.0  val clean 75.0  val adversarial 12.5  pruned 60.0  V 0.0123"
        "  loss 1.000  KL 1235  rate 3.0e-03"
    )
    assert describe({"loss": 1.0, "accuracy": 1}) == "clean 100.0  loss 1.000"


def train(bar):
    with bar:
        for epoch in range(2):
            for batch in range(3):
                bar.on_train_batch_end(batch, BATCH)
            bar.on_epoch_end(epoch, LOGS)


def test_a_line_an_epoch_where_there_is_no_terminal(screen):
    text = screen(terminal=False)
    train(Progress("anp_vs", "random weights", 2, 3))
    lines = text.getvalue().splitlines()
    assert lines[0] == "anp_vs  from random weights on the CPU"
    assert len(lines) == 3
    for number, line in enumerate(lines[1:], 1):
        assert line.startswith(f"anp_vs  epoch {number}/2  {describe(LOGS)}  left ")
        assert re.search(r"left \d+:\d\d:\d\d$", line)
    assert lines[-1].endswith("left 0:00:00")


def test_a_bar_on_a_terminal_and_the_same_lines(screen):
    text = screen(terminal=True)
    train(Progress("anp_vs", "random weights", 2, 3))
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text.getvalue())
    assert re.search(r"100% 0:00:00 anp_vs  clean 50.0  adver.*…", shown)
    assert f"anp_vs  epoch 2/2  {describe(LOGS)}  left 0:00:00" in shown


def test_time_left_counts_this_start_only(screen, monkeypatch):
    text = screen(terminal=False)
    clock = iter([100.0, 130.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    # 12 of 20 steps were done before. After the first step, which builds the graph, 3 more took 30
    # seconds, so the other 4 take 40.
    bar = Progress("bp", "step 12", 5, 4, done=12)
    for batch in range(4):
        bar.on_train_batch_end(batch, LOGS)
    bar.on_epoch_end(3, LOGS)
    assert text.getvalue().rstrip().endswith("left 0:00:40")


def test_counting_examples(screen):
    text = screen(terminal=True)
    with counting("white-box", 10) as done:
        done(5)
        done(10)
    assert "white-box" in text.getvalue()
    text = screen(terminal=False)
    with counting("white-box", 10) as done:
        done(10)
    assert text.getvalue().strip() == "white-box  10 in 0:00:00"


def test_time_left_of_what_an_earlier_start_did_in_part(screen, monkeypatch):
    text = screen(terminal=False)
    clock = iter([0.0, 10.0, 50.0, 150.0, 160.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with counting("proofs", 100) as done:
        done(60)  # from before
        done(70)  # 10 in 40 seconds, so the other 30 take 120
        done(80)  # 20 in 140
    lines = text.getvalue().splitlines()
    assert lines == [
        "proofs  70 of 100  left 0:02:00",
        "proofs  80 of 100  left 0:02:20",
        "proofs  100 in 0:02:40",
    ]
