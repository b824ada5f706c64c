"""The command `python -m anp_tf.tune`, its search space and its goal."""

import dataclasses
import json
import socket
import types

import pytest

from anp_tf.settings import Settings
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
    # The scores are what the runs recorded, the best one's options are in the flagfile.
    for trial, score in done.items():
        epochs = Workdir(folder / "trials" / trial).epochs()
        assert score == max(epoch["val_adversarial_accuracy"] for epoch in epochs)
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


def epoch(robust, sparsity):
    return {"val_adversarial_accuracy": robust, "sparsity": sparsity}


def test_goal():
    epochs = [epoch(0.9, 0.1), epoch(0.7, 0.6), epoch(0.6, 0.8)]
    assert Goal().of(epochs) == (0.9, epochs[0])
    assert Goal(min_sparsity=0.5).of(epochs) == (0.7, epochs[1])
    assert Goal(sparsity_weight=1.0).of(epochs) == (pytest.approx(1.4), epochs[2])
    score, found = Goal(min_sparsity=0.95).of(epochs)
    assert score == pytest.approx(-0.15)
    assert found == epochs[2]
    plain = [{"val_accuracy": 0.5}]
    assert Goal().of(plain) == (0.5, plain[0])


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
        (["--space={bad}", *FLAGS], "--mask"),
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
