"""The command `python -m anp_tf.tune`, its search space and its goal."""

import dataclasses
import json
import socket
import types

import pytest

from anp_tf.settings import Settings
from anp_tf.train.best import BestEpoch
from anp_tf.tune.search import Goal, completed_trials
from anp_tf.tune.space import read_space
from anp_tf.workdir import Workdir

SPACE = """
[beta]
min = 1.0
max = 16.0
sampling = "log"

[attack_steps]
min = 1
max = 2

[mask]
choices = ["beta_bernoulli", "hard_concrete"]
"""
FLAGS = (
    "--method=anp_vs",
    "--width_multiplier=0.1",
    "--limit_train_examples=120",
    "--validation_examples=20",
    "--validation_attack_steps=1",
    "--batch_size=20",
    "--epochs=2",
    "--tuner=random",
)


@pytest.fixture
def space(tmp_path):
    path = tmp_path / "space.toml"
    path.write_text(SPACE)
    return path


def scores(folder):
    """The score of each trial that was completed."""
    trials = {}
    for path in (folder / "search").glob("trial_*/trial.json"):
        trial = json.loads(path.read_text())
        if trial["status"] == "COMPLETED":
            trials[trial["trial_id"]] = trial["score"]
    return trials


@pytest.mark.slow
def test_a_search_goes_on_after_a_kill(commands, space, tmp_path):
    folder = tmp_path / "run"
    flags = [f"--space={space}", f"--workdir={folder}", "--trials=2", *FLAGS]
    # In the second trial, once it has a checkpoint.
    assert commands.run("tune", *flags, kill_at="epoch:4").code == -9
    assert set(scores(folder)) == {"0"}
    first = (folder / "trials" / "0" / "network.keras").stat().st_mtime_ns
    settings = Workdir(folder / "trials" / "1").settings()
    outcome = commands.run("tune", *flags)
    assert outcome.code == 0, outcome.err
    done = scores(folder)
    assert set(done) == {"0", "1"}
    assert (folder / "trials" / "0" / "network.keras").stat().st_mtime_ns == first
    assert Workdir(folder / "trials" / "1").settings() == settings
    assert "from step" in outcome.out
    # The scores are what the runs recorded of the last epoch, the only one after the warm-ups; the
    # best one's options are in the flagfile.
    for trial, score in done.items():
        first, last = Workdir(folder / "trials" / trial).epochs()
        assert score == last["val_adversarial_accuracy"] == last["selection_score"]
        assert "selection_score" not in first
    best = max(sorted(done), key=done.get)
    lines = (folder / "best.cfg").read_text().splitlines()
    used = Workdir(folder / "trials" / best).settings()
    assert dataclasses.replace(Settings.from_flag_lines(lines), network=used.network) == used
    assert outcome.out.splitlines()[-1] == str(folder / "best.cfg")
    assert len(list((folder / "hparams").iterdir())) == 2
    # Another search is not mixed with it.
    other = commands.run("tune", *flags, "--beta=3", "--min_sparsity=0.5")
    assert other.code == 2
    assert "of a search with other settings, goal" in other.err


def test_of_equal_trials_the_one_begun_first_is_better():
    """A search that goes on reads its trials in any order."""
    known = {"2": 0.5, "3": None, "1": 0.5, "0": 0.1, "4": 0.7}
    trials = {
        name: types.SimpleNamespace(
            trial_id=name, score=score, status="COMPLETED" if score else "INVALID"
        )
        for name, score in known.items()
    }
    done = completed_trials(types.SimpleNamespace(trials=trials))
    assert [trial.trial_id for trial in done] == ["4", "1", "2", "0"]


@pytest.mark.slow
def test_the_flagfile_trains(commands, space, tmp_path):
    folder = tmp_path / "run"
    flags = [f"--space={space}", f"--workdir={folder}", "--trials=1", *FLAGS]
    assert commands.run("tune", *flags).code == 0
    flags = [f"--flagfile={folder / 'best.cfg'}", f"--workdir={tmp_path / 'best'}"]
    outcome = commands.run("train", *flags, "--limit_test_examples=20", "--eval_attack_steps=1")
    assert outcome.code == 0, outcome.err
    old, new = (Workdir(path).epochs() for path in (folder / "trials" / "0", tmp_path / "best"))
    assert len(old) == len(new)


@pytest.mark.slow
def test_hyperband_gives_good_trials_more_epochs(commands, space, tmp_path):
    folder = tmp_path / "run"
    flags = [*FLAGS, "--tuner=hyperband", "--epochs=3"]
    outcome = commands.run("tune", f"--space={space}", f"--workdir={folder}", *flags)
    assert outcome.code == 0, outcome.err
    epochs = {Workdir(path).settings().epochs for path in (folder / "trials").iterdir()}
    assert max(epochs) == 3
    assert len(epochs) > 1


@pytest.mark.slow
def test_chief_and_workers_share_the_trials(commands, space, tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    folder = tmp_path / "run"
    flags = [f"--space={space}", f"--workdir={folder}", "--trials=3", *FLAGS, "--epochs=1"]

    def start(name):
        names = {"TUNER_ID": name, "ORACLE_IP": "127.0.0.1", "ORACLE_PORT": str(port)}
        env = {f"KERASTUNER_{key}": value for key, value in names.items()}
        return commands.start("tune", *flags, env=env)

    chief, *workers = [start(name) for name in ("chief", "tuner0", "tuner1")]
    ended = [process.wait() for process in (*workers, chief)]
    assert [outcome.code for outcome in ended] == [0, 0, 0], [outcome.err for outcome in ended]
    assert len(scores(folder)) == 3
    assert (folder / "best.cfg").exists()


@pytest.mark.slow
def test_a_search_whose_trials_all_diverge(commands, space, tmp_path):
    flags = [f"--space={space}", f"--workdir={tmp_path / 'run'}", "--trials=2", *FLAGS]
    outcome = commands.run("tune", *flags, "--learning_rate=1e30")
    assert outcome.code == 3
    assert "anp_tf.tune: the training of all 2 trials diverged" in outcome.err
    damaged = tmp_path / "run" / "search" / "oracle.json"
    damaged.write_text(damaged.read_text()[:50])
    outcome = commands.run("tune", *flags, "--learning_rate=1e30")
    assert outcome.code == 2
    assert f"{damaged} is damaged" in outcome.err


def search_of_steps(commands, tmp_path, choices):
    """A search of `attack_steps`, in which an attack of one step is shorter than its first."""
    space = tmp_path / "steps.toml"
    space.write_text(f"[attack_steps]\nchoices = {choices}")
    flags = [*FLAGS, "--attack_steps_first=2", f"--trials={len(choices)}"]
    return commands.run("tune", f"--space={space}", f"--workdir={tmp_path / 'run'}", *flags)


def test_a_search_whose_trials_are_all_refused(commands, tmp_path):
    outcome = search_of_steps(commands, tmp_path, [1])
    assert outcome.code == 2
    message = "all 1 trials were refused: attack_steps_first: expected at most attack_steps, 1"
    assert f"anp_tf.tune: {message}, received 2" in outcome.err
    assert outcome.err.count("\n") == 1


@pytest.mark.slow
def test_options_that_do_not_go_together_are_a_trial_that_failed(commands, tmp_path):
    outcome = search_of_steps(commands, tmp_path, [1, 2])
    assert outcome.code == 0, outcome.err
    assert list(scores(tmp_path / "run")), outcome.out
    best = (tmp_path / "run" / "best.cfg").read_text()
    assert "--attack_steps=2" in best
    assert "after 2 epochs" in best
    assert " refused " in outcome.out
    again = search_of_steps(commands, tmp_path, [1, 2])
    assert again.out.split()[-1] == outcome.out.split()[-1]
    assert " refused " in again.out


def epoch(robust, sparsity, **others):
    return {"val_adversarial_accuracy": robust, "sparsity": sparsity, **others}


def recorded(logs, **kwargs):
    """The records of a run with these logs, and the epoch whose network `train` keeps, from 1."""
    best = BestEpoch(**kwargs)
    best.set_model(types.SimpleNamespace(network=types.SimpleNamespace(variables=[])))
    logs = [{**values} for values in logs]
    for index, values in enumerate(logs):
        best.on_epoch_end(index, values)
    records = [{"epoch": index + 1, **values} for index, values in enumerate(logs)]
    return records, best.choice["epoch"] if best.choice else len(logs)


PRUNED = [epoch(0.9, 0.1), epoch(0.7, 0.6), epoch(0.6, 0.8)]


@pytest.mark.parametrize(
    ("logs", "goal", "first_epoch", "score", "number"),
    [
        pytest.param(PRUNED, {}, 1, 0.9, 1, id="best"),
        pytest.param(PRUNED, {"min_sparsity": 0.5}, 1, 0.7, 2, id="sparse enough"),
        pytest.param(PRUNED, {"sparsity_weight": 0.5}, 1, 0.95, 1, id="sparsity counts"),
        pytest.param(PRUNED, {"min_sparsity": 0.95}, 1, -0.15, 3, id="none sparse enough"),
        pytest.param(PRUNED, {}, 2, 0.7, 2, id="after the warm-ups"),
        pytest.param([{"val_accuracy": 0.5}], {}, 1, 0.5, 1, id="not attacked"),
        pytest.param([epoch(0.5, 0.1), epoch(0.5, 0.3)], {}, 1, 0.5, 2, id="the latest of equals"),
        pytest.param(
            [epoch(0.9, 0.1, val_proved=0.1), epoch(0.7, 0.1, val_proved=0.5)],
            *({}, 1, 0.6, 2),
            id="proved",
        ),
    ],
)
def test_the_score_is_of_the_epoch_that_train_keeps(logs, goal, first_epoch, score, number):
    goal = Goal(**goal)
    records, kept = recorded(logs, first_epoch=first_epoch, min_sparsity=goal.min_sparsity)
    found, record = goal.of(records)
    assert found == pytest.approx(score)
    assert record["epoch"] == kept == number


def test_the_score_is_of_the_last_epoch_where_that_is_kept():
    records, _ = recorded(PRUNED)
    assert Goal().of(records, "last") == (0.6, records[-1])


def test_a_score_needs_validation():
    with pytest.raises(ValueError, match="validation_examples: a search needs validation images"):
        Goal().of([{"epoch": 1, "loss": 0.5, "sparsity": 0.3}])


RECORDED = """
import anp_tf.train.run

def train(settings, workdir):  # nothing: one epoch is recorded
    workdir.begin(workdir.start(settings))
    score = {"val_adversarial_accuracy": 0.5, "selection_score": 0.5}
    workdir.log_epoch({"epoch": 1, "sparsity": 0.9, **score})

anp_tf.train.run.train = train
"""


def test_trials_and_flagfile_keep_an_epoch_of_the_sparsity_of_the_goal(commands, space, tmp_path):
    flags = [f"--space={space}", f"--workdir={tmp_path / 'run'}", "--trials=2", *FLAGS]
    outcome = commands.run("tune", *flags, "--min_sparsity=0.8", before=RECORDED)
    assert outcome.code == 0, outcome.err
    assert scores(tmp_path / "run") == {"0": 0.5, "1": 0.5}
    trials = [Workdir(tmp_path / "run" / "trials" / name).settings() for name in "01"]
    best = Settings.from_flag_lines((tmp_path / "run" / "best.cfg").read_text().splitlines())
    assert [each.select_min_sparsity for each in (*trials, best)] == [0.8] * 3


def test_space(space):
    found = {one.name: one for one in read_space(space).space}
    assert list(found) == ["beta", "attack_steps", "mask"]
    assert (found["beta"].min_value, found["beta"].max_value) == (1.0, 16.0)
    assert found["beta"].sampling == "log"
    assert found["attack_steps"].max_value == 2
    assert found["mask"].values == ["beta_bernoulli", "hard_concrete"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[beta", "is not a TOML file"),
        ("", "expected a table for each option"),
        ("[betta]\nmin = 1", "betta in .* is not an option that can be searched"),
        ("[epsilon]\nmin = 1\nmax = 2", "epsilon in .* is not an option that can be searched"),
        ("beta = 3", r"\[beta\]"),
        ("[beta]\nmin = 1.0", "received no max"),
        ("[beta]\nmin = 2\nmax = 1", "expected min below max"),
        ("[beta]\nmin = 1\nmax = 2\nstep = -1", "expected a step above 0, received -1.0"),
        ("[attack_steps]\nmin = 1\nmax = 2\nstep = 0", "expected a step above 0, received 0"),
        ("[target_units]\nchoices = ['1,2']", "expected an option that is a number.*is a list"),
        ("[beta]\nmin = 'a'\nmax = 1", "expected values of type float, received 'a'"),
        ("[attack_steps]\nmin = 1.5\nmax = 2", "expected values of type int, received 1.5"),
        ("[mask]\nmin = 1\nmax = 2", "expected choices for an option of type str"),
        ("[mask]\nchoices = [1]", "expected values of type str, received 1"),
        ("[beta]\nlow = 1\nhigh = 2", "received high, low"),
        ("[beta]\nmin = 1\nmax = 2\nsampling = 'cubic'", r"\[beta\]"),
        ("[beta]\nchoices = [1.0, -2.0, 3.0]", "beta: expected a value at least 0, received -2.0"),
        ("[beta]\nmin = -1\nmax = 2", "beta: expected a value at least 0, received -1.0"),
        ("[fix_sparsity]\nmin = 0\nmax = 1", r"fix_sparsity: expected a value in \[0, 1\)"),
        ("[adversarial_weight]\nmin = 1\nmax = inf", "expected a finite min and max, .* and inf"),
        ("[attack]\nchoices = ['pgd', 'pdg']", "attack: expected one of .*; did you mean pgd"),
    ],
)
def test_bad_spaces(tmp_path, text, message):
    path = tmp_path / "space.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"space: .*{message}"):
        read_space(path)


def test_a_config_is_read_from_anywhere(commands, tmp_path):
    """Its space comes with the package, too; the search ends where its data are looked for."""
    flags = ["--config=tune_mnist", f"--workdir={tmp_path / 'run'}", "--dataset=no_such_set"]
    outcome = commands.run("tune", *flags, cwd=tmp_path)
    assert outcome.code == 2
    assert "unknown data set 'no_such_set'" in outcome.err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--space"),
        (["--space=missing.toml"], "missing.toml"),
        (["--space={space}", "--tuner=grid"], "--tuner"),
        (["--space={space}", "--trials=0"], "--trials"),
        (["--space={space}", "--min_sparsity=2"], "--min_sparsity"),
        (["--space={space}", "--sparsity_weight=-1"], "--sparsity_weight"),
        (["--space={space}", "--sparsity_weight=inf"], "--sparsity_weight: expected a value at"),
        (["--space={space}", "--select_min_sparsity=0.3"], "--select_min_sparsity: expected that"),
        (["--space={space}", *FLAGS, "--validation_examples=0"], "--validation_examples: expected"),
        (["--space={bad}", *FLAGS], "bad.toml: mask: expected one of beta_bernoulli"),
        (["--space={epochs}", *FLAGS, "--tuner=hyperband"], "--space: expected no epochs"),
    ],
)
def test_errors(commands, space, tmp_path, flags, message):
    bad = tmp_path / "bad.toml"
    bad.write_text('[mask]\nchoices = ["no_such_mask"]')
    epochs = tmp_path / "epochs.toml"
    epochs.write_text("[epochs]\nchoices = [1, 2]")
    flags = [flag.format(space=space, bad=bad, epochs=epochs) for flag in flags]
    outcome = commands.run("tune", f"--workdir={tmp_path / 'run'}", *flags)
    assert outcome.code == 2, outcome.err
    assert outcome.err.count("\n") == 1
    assert message in outcome.err
    assert not (tmp_path / "run").exists()
