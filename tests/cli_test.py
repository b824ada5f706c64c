"""Bad input to the commands: one line on stderr that says what is wrong, and exit code 2."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from anp_tf.models import lenet5_caffe
from anp_tf.train.command import ignored_flags

ROOT = pathlib.Path(__file__).parents[1]
QUICK = ("--width_multiplier=0.1", "--limit_train_examples=64", "--epochs=1", "--method=standard")


def message(outcome, command, code=2):
    """The one line of a command that failed."""
    assert "Traceback" not in outcome.err, outcome.err
    assert len(outcome.err.splitlines()) == 1, outcome.err
    assert outcome.err.startswith(f"anp_tf.{command}: ")
    assert len(outcome.err) < 500
    assert outcome.code == code
    assert outcome.out == ""
    return outcome.err


def cases(*table):
    return [pytest.param(flags, expected, id=name) for name, flags, expected in table]


# ------------------------------------------------------------------------------ values of flags


@pytest.mark.parametrize(
    ("flags", "expected"),
    cases(
        ("method", "--method=anpvs", "--method: expected one of standard, .*did you mean anp_vs"),
        ("one of two methods", "--method=standard,at_all", "--method: .* received 'at_all'"),
        ("no method", "--method=", "--method: expected one of"),
        ("a method twice", "--method=at,at", "--method: expected each method once, received at,at"),
        (
            "network",
            "--network=lenet",
            "--network: expected lenet5_caffe, vgg16, .*received 'lenet'",
        ),
        ("flag", "--epsilom=0.3", r"--epsilom: there is no such flag; did you mean --epsilon\?"),
        ("int", "--epochs=many", "--epochs: expected a whole number, received 'many'"),
        ("int as float", "--epochs=1.5", "--epochs: expected a whole number, received '1.5'"),
        (
            "float",
            "--epsilon=big",
            "--epsilon: expected a number such as 0.03 or 8/255, received 'big'",
        ),
        (
            "bool",
            "--deterministic=perhaps",
            "--deterministic: expected true or false, received 'perhaps'",
        ),
        ("list", "--decay_at=half", "--decay_at: expected numbers, received half"),
        ("value missing", "--epochs", "Missing value for flag --epochs"),
        ("epsilon 0", "--epsilon=0", r"--epsilon: expected a value in \(0, 1\].*received 0.0"),
        ("epsilon -1", "--epsilon=-1", r"--epsilon: expected a value in \(0, 1\].*received -1.0"),
        ("epsilon 1.5", "--epsilon=1.5", r"--epsilon: expected a value in \(0, 1\].*received 1.5"),
        ("epsilon nan", "--epsilon=nan", r"--epsilon: expected a value in \(0, 1\].*received nan"),
        ("rate", "--learning_rate=-1e-3", "--learning_rate: expected a value above 0, received"),
        ("mask rate", "--mask_learning_rate=-1", "--mask_learning_rate: expected a value above 0"),
        (
            "infinite",
            "--kl_warmup_epochs=inf",
            "--kl_warmup_epochs: expected a value at least 0 and finite, received inf",
        ),
        ("seed", "--seed=99999999999", r"--seed: expected a value in \[0, 2\*\*31\)"),
        ("limit", "--limit_test_examples=0", "--limit_test_examples: expected a value at least 1"),
        ("standard epochs", "--standard_epochs=x", "--standard_epochs: expected a whole number"),
    ),
)
def test_train_with_a_bad_value(commands, tmp_path, flags, expected):
    outcome = commands.run("train", f"--workdir={tmp_path / 'run'}", flags)

    assert re.search(expected, message(outcome, "train"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("command", "flags", "expected"),
    [
        ("train", [], "--workdir: expected the folder of a run, received none"),
        ("train", ["--workdir="], "--workdir: expected the folder of a run, received none"),
        ("evaluate", [], "--workdir: expected the folder of a run, received none"),
        ("export", [], "--workdir: expected the folder of a run, received none"),
        ("train", ["--workdir=run", "mnist"], "unexpected argument 'mnist'; flags start with --"),
        ("evaluate", ["--workdir=run", "x"], "unexpected argument 'x'"),
        ("export", ["run"], "unexpected argument 'run'"),
        ("train", ["--flagfile=missing.cfg"], "--flagfile: Unable to open flagfile"),
        ("train", ["--flagfile=."], "Is a directory"),
        (
            "evaluate",
            ["--epochs=3"],
            "--epochs: there is no such flag",
        ),
        (
            "evaluate",
            ["--workdir=nothing"],
            "--workdir: expected a place that exists",
        ),
        (
            "export",
            ["--workdir=nothing"],
            "--workdir: expected a place that exists",
        ),
        (
            "export",
            ["--workdir=nothing", "--version=one"],
            "--version: expected a whole number, received 'one'",
        ),
        ("evaluate", ["--model=no.keras"], "--model: expected a place that exists"),
        ("tune", ["--space=none.toml"], "--space: expected a place that exists"),
        ("benchmark", ["--json=no/x.json"], "--json: there is no folder for no/x.json"),
        ("benchmark", ["--zoo=ResNet"], "--zoo: expected some of ConvNeXtTiny"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_flags_that_are_missing_or_too_many(commands, tmp_path, command, flags, expected):
    outcome = commands.run(command, *flags, cwd=tmp_path)
    assert expected in message(outcome, command)
    assert not list(tmp_path.iterdir())


def test_flagfile_that_is_no_text(commands, tmp_path):
    (tmp_path / "config.cfg").write_bytes(b"--epochs=3\n\xff\xfe\x00")
    outcome = commands.run("train", f"--flagfile={tmp_path / 'config.cfg'}")
    assert "--flagfile: expected a file of text, with a flag a line" in message(outcome, "train")


def test_unknown_flag_in_a_flagfile(commands, tmp_path):
    (tmp_path / "config.cfg").write_text("--epochs=3\n--momentum=0.9\n")
    outcome = commands.run("train", f"--flagfile={tmp_path / 'config.cfg'}")
    assert "--momentum: there is no such flag" in message(outcome, "train")


def test_a_closed_stderr():
    script = f"exec {sys.executable} -m anp_tf.train --epochs=0 --workdir=run 2>&-"
    outcome = subprocess.run(["sh", "-c", script], stdout=subprocess.PIPE, check=False)
    assert (outcome.returncode, outcome.stdout) == (2, b"")


@pytest.mark.parametrize(
    ("command", "flags"),
    [
        ("train", ("workdir", "epsilon", "standard_epochs", "export", "decay_at")),
        ("evaluate", ("workdir", "source", "epsilon")),
        ("export", ("workdir", "output", "version")),
    ],
)
def test_help_lists_the_flags(commands, command, flags):
    outcome = commands.run(command, "--help")
    assert outcome.err == ""
    for flag in flags:
        assert re.search(rf"^  --{flag}\b", outcome.out, re.MULTILINE)
    assert outcome.code == 0


# -------------------------------------------------------------------------------------- places


AS_NOBODY = "import os\nif os.geteuid() == 0: os.seteuid(65534)"


@pytest.mark.parametrize(
    ("methods", "flags", "expected"),
    [
        (["at"], ["--beta=3", "--mask=log_normal", "--epochs=2"], ["--beta", "--mask"]),
        (["at"], ["--attack_steps=2", "-trades_beta", "2"], ["--trades_beta"]),
        (["standard", "anp_vs"], ["--beta=3", "--standard_epochs=2", "--nofresh"], []),
        (
            ["anp_vs"],
            ["--flagfile=configs/mnist.cfg", "--standard_epochs=2"],
            ["--standard_epochs"],
        ),
    ],
)
def test_flags_without_effect_are_named(methods, flags, expected):
    assert ignored_flags(methods, flags) == expected


def test_workdir_that_is_a_file(commands, tmp_path):
    (tmp_path / "run").write_text("notes")
    outcome = commands.run("train", "--workdir=run", *QUICK, cwd=tmp_path)
    assert "--workdir: expected a folder" in (said := message(outcome, "train"))
    assert "run is a file: name another place" in said
    assert (tmp_path / "run").read_text() == "notes"


def test_workdir_in_a_file(commands, tmp_path):
    (tmp_path / "file").touch()
    outcome = commands.run("train", "--workdir=file/run", *QUICK, cwd=tmp_path)
    assert "received file/run, where file is a file" in message(outcome, "train")


def read_by_all(path):
    """Whether every user can read what is under the path."""
    return all(place.stat().st_mode & 0o005 == 0o005 for place in (path, *path.parents))


@pytest.mark.skipif(
    os.geteuid() == 0 and not read_by_all(ROOT / "anp_tf"),
    reason="the checkout is not for other users, and root may write everywhere",
)
@pytest.mark.parametrize("exists", [True, False], ids=["exists", "to be made"])
def test_workdir_that_is_not_writable(commands, exists):
    # Under /tmp itself: another user must be able to look into the folder.
    folder = pathlib.Path("/tmp") / f"anp_tf_read_only_{os.getpid()}"
    folder.mkdir()
    try:
        folder.chmod(0o555)
        workdir = folder if exists else folder / "run"
        outcome = commands.run("train", f"--workdir={workdir}", *QUICK, before=AS_NOBODY)
        assert "Permission denied" in message(outcome, "train")
        assert not list(folder.iterdir())
    finally:
        shutil.rmtree(folder)


def test_workdir_of_another_configuration(finished, commands):
    workdir = finished.path / "standard"
    outcome = commands.run("train", f"--workdir={workdir}", *QUICK)
    assert "is of another configuration: " in message(outcome, "train")
    assert "give another --workdir" in outcome.err


# ---------------------------------------------------------------------------------------- data


@pytest.mark.slow
def test_unknown_dataset_then_the_right_one(commands, tmp_path):
    flags = [f"--workdir={tmp_path / 'run'}", *QUICK, "--eval_attack_steps=1"]
    outcome = commands.run("train", *flags, "--dataset=mnits")
    assert "unknown data set 'mnits'" in message(outcome, "train")
    assert "did you mean mnist" in outcome.err
    # The folder is not taken for one of another configuration now.
    outcome = commands.run("train", *flags, "--limit_test_examples=10")
    assert outcome.code == 0, outcome.err


def test_data_dir_whose_parent_is_missing(commands, tmp_path):
    flags = ["--workdir=run", *QUICK, "--data_dir=no/such/place"]
    outcome = commands.run("train", *flags, cwd=tmp_path)
    expected = "the data directory no/such/place does not exist, nor does no/such"
    assert expected in message(outcome, "train")


@pytest.mark.parametrize("damage", ["shard", "info"])
def test_damaged_data_directory(commands, small_data_dir, tmp_path, damage):
    directory = shutil.copytree(small_data_dir, tmp_path / "data")
    (version,) = directory.glob("mnist/*")
    if damage == "info":
        (version / "dataset_info.json").write_text("{")
    else:
        (shard,) = version.glob("*-train.tfrecord-*")
        shard.write_bytes(shard.read_bytes()[:-100])
    outcome = commands.run("train", "--workdir=run", *QUICK, "--data_dir=data", cwd=tmp_path)
    assert str(pathlib.Path("data", "mnist")) in message(outcome, "train")
    assert "delete" in outcome.err


# ------------------------------------------------------------------------------------- networks


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """A folder with networks of other shapes, and one that is damaged."""
    folder = tmp_path_factory.mktemp("networks")
    lenet5_caffe(width_multiplier=0.2).save(folder / "wide.keras")
    lenet5_caffe(width_multiplier=0.1, input_shape=(32, 32, 3)).save(folder / "colour.keras")
    lenet5_caffe(width_multiplier=0.1, num_classes=7).save(folder / "seven.keras")
    content = (folder / "wide.keras").read_bytes()
    (folder / "damaged.keras").write_bytes(content[: len(content) // 2])
    (folder / "empty").mkdir()
    return folder


CANNOT_START = "cannot start from `lenet5_caffe`"


@pytest.mark.parametrize(
    ("flag", "source", "expected"),
    [
        ("init_from", "missing", "missing has no network.keras: train it first"),
        ("init_from", "missing.keras", "there is no network at"),
        ("init_from", "empty", "empty has no network.keras: train it first"),
        ("init_from", "damaged.keras", "cannot load a network from"),
        ("init_from", "wide.keras", f"{CANNOT_START}: layer conv1 has weights of shapes"),
        ("init_from", "colour.keras", f"{CANNOT_START}: layer conv1 has weights of shapes"),
        ("init_from", "seven.keras", f"{CANNOT_START}: layer logits has weights of shapes"),
        ("teacher", "missing", "missing has no network.keras: train it first"),
        (
            "teacher",
            "colour.keras",
            "--teacher: expected a network with inputs of shape (None, 28, 28, 1)",
        ),
        ("teacher", "seven.keras", "--teacher: expected a network with logits of shape (None, 10)"),
    ],
)
def test_networks_that_a_run_needs(commands, networks, tmp_path, flag, source, expected):
    flags = [f"--workdir={tmp_path / 'run'}", *QUICK, f"--{flag}={networks / source}"]
    assert expected in message(commands.run("train", *flags), "train")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("missing", "--source: expected a place that exists"),
        ("empty", "--source: "),
        ("damaged.keras", "cannot load a network from"),
        ("colour.keras", "it has inputs and outputs ((32, 32, 3), (10,)), the data set ((28"),
        ("seven.keras", "it has inputs and outputs ((28, 28, 1), (7,)), the data set ((28"),
    ],
)
def test_source(commands, networks, finished, tmp_path, source, expected):
    flags = [f"--workdir={finished.path / 'standard'}", f"--output={tmp_path / 'row.json'}"]
    outcome = commands.run("evaluate", *flags, f"--source={networks / source}")
    assert expected in message(outcome, "evaluate")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["evaluate", "export"])
def test_workdir_whose_training_has_not_finished(commands, finished, tmp_path, command):
    workdir = shutil.copytree(finished.path / "standard", tmp_path / "run")
    (workdir / "network.keras").unlink()
    outcome = commands.run(command, f"--workdir={workdir}")
    assert "run has no network.keras: train it first" in message(outcome, command)


@pytest.mark.parametrize("command", ["train", "evaluate", "export"])
def test_damaged_network(commands, finished, tmp_path, command):
    workdir = shutil.copytree(finished.path / "standard", tmp_path / "run")
    network = workdir / "network.keras"
    network.write_bytes(network.read_bytes()[:5000])
    flags = [f"--workdir={workdir}"]
    if command == "train":
        flags = [f"--flagfile={workdir / 'config.cfg'}", *flags]
    outcome = commands.run(command, *flags)
    assert f"cannot load a network from {network}" in message(outcome, command)


# ------------------------------------------------------------------------------- as from a shell


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["anp_tf.train", "--workdir=run", "--epsilon=2"],
            "anp_tf.train: --epsilon: expected a value",
        ),
        pytest.param(
            ["anp_tf.evaluate", "--workdir=run"],
            "anp_tf.evaluate: --workdir: expected a place that exists, received run",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["anp_tf.export", "--speed=2"],
            "anp_tf.export: --speed: there is no such flag",
            marks=pytest.mark.slow,
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_nothing_else_is_printed(tmp_path, arguments, expected):
    """The whole process, imports included."""
    process = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 2
    assert process.stdout == ""
    assert process.stderr.startswith(expected)
    assert len(process.stderr.splitlines()) == 1


def test_interrupt_from_the_keyboard(commands, tmp_path):
    flags = [f"--workdir={tmp_path / 'run'}", *QUICK]
    outcome = commands.run("train", *flags, kill_at="examples:1:SIGINT")
    assert "interrupted" in message(outcome, "train", code=75)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["commands"], "anp_tf.benchmark: stopped"),
        (
            ["networks", "--rows=rows.json"],
            "anp_tf.benchmark: stopped; the same command goes on from there",
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_a_stopped_benchmark_says(commands, tmp_path, flags, expected):
    """Rows alone are kept in a file as it goes."""
    stopping = """
import os, signal
from anp_tf.benchmark import command
command.BENCHMARKS = dict.fromkeys(
    command.BENCHMARKS, lambda given: os.kill(os.getpid(), signal.SIGTERM)
)
"""
    outcome = commands.run("benchmark", *flags, cwd=tmp_path, before=stopping)
    assert message(outcome, "benchmark", code=75).strip() == expected
