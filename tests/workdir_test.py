"""The folder of a run."""

import dataclasses
import json
import math

import numpy as np
import pytest

from anp_tf import data
from anp_tf.errors import WorkdirError
from anp_tf.layers import BetaBernoulliDropout
from anp_tf.models import lenet5_caffe
from anp_tf.options import MACHINE
from anp_tf.run_data import check_training_data
from anp_tf.settings import Settings
from anp_tf.workdir import Workdir, load_network


@pytest.fixture
def workdir(tmp_path):
    """A workdir of the default settings, with a checkpoint."""
    workdir = Workdir(tmp_path / "run")
    workdir.begin(workdir.start(Settings()))
    (workdir.checkpoints / "00000001").mkdir(parents=True)
    return workdir


def names(path):
    return sorted(p.name for p in path.iterdir())


# ------------------------------------------------------------------------------ configuration


def test_open_writes_what_settings_reads(tmp_path):
    workdir = Workdir(tmp_path / "deep" / "a run")
    settings = Settings(epsilon=0.1, data_dir="/data sets", decay_at=(), deterministic=True)
    workdir.begin(workdir.start(settings))
    assert workdir.settings() == settings
    assert names(workdir.path) == ["config.cfg"]
    lines = workdir.config.read_text().splitlines()
    assert f"# python -m anp_tf.train --flagfile={workdir.config}" in lines
    assert f"--workdir={workdir.path}" in lines


def test_open_accepts_the_same_run_and_what_may_change(workdir):
    workdir.begin(workdir.start(Settings()))
    changed = {
        "data_dir": "/elsewhere",
        "mixed_precision": "bfloat16",
        "jit": True,
        "op_threads": 1,
        "distribution": "mirrored",
        "checkpoint_seconds": 1.0,
        "keep_checkpoints": 7,
    }
    assert changed.keys() == set(Settings.names(MACHINE))
    workdir.begin(workdir.start(Settings(**changed)))
    assert workdir.settings() == Settings(**changed)


def test_open_names_every_difference(workdir):
    before = workdir.config.read_text()
    with pytest.raises(WorkdirError) as caught:
        workdir.begin(workdir.start(Settings(epsilon=0.1, seed=4)))
    message = str(caught.value)
    assert f"workdir {workdir.path} is of another configuration" in message
    assert "epsilon=0.3 (now 0.1), seed=0 (now 4)" in message
    assert workdir.config.read_text() == before


def test_a_configuration_that_never_ran_may_be_corrected(tmp_path):
    workdir = Workdir(tmp_path)
    workdir.begin(workdir.start(Settings(dataset="mnits")))
    workdir.begin(workdir.start(Settings(dataset="mnist")))
    assert workdir.settings().dataset == "mnist"


def test_what_is_used_in_place_of_what_was_asked_for(workdir):
    asked = Settings(batch_size=5000)
    workdir.begin(workdir.start(Settings(), overwrite=True))
    used = dataclasses.replace(asked, batch_size=64, network="vgg16")
    workdir.use(asked, used)
    (workdir.checkpoints / "00000001").mkdir(parents=True, exist_ok=True)
    assert workdir.settings() == used
    for again in (asked, used):
        assert workdir.start(again).settings == used
    with pytest.raises(WorkdirError, match=r"batch_size=64 \(now 32\)"):
        workdir.begin(workdir.start(dataclasses.replace(asked, batch_size=32)))


def test_more_epochs_go_on_and_other_options_overwrite(workdir):
    workdir.network.touch()
    workdir.begin(workdir.start(Settings(epochs=300)))
    assert not workdir.network.exists()
    assert workdir.settings().epochs == 300
    with pytest.raises(WorkdirError, match=r"epochs=300 \(now 200\)"):
        workdir.begin(workdir.start(Settings()))
    workdir.begin(workdir.start(Settings(), overwrite=True))
    assert names(workdir.path) == ["config.cfg"]


def test_nothing_is_removed_before_a_run_begins(workdir):
    workdir.network.touch()
    before = names(workdir.path), workdir.config.read_text()
    assert workdir.start(Settings(epochs=300)).removes == "network"
    assert workdir.start(Settings(seed=1), overwrite=True).removes == "run"
    start = workdir.start(Settings())
    assert (start.removes, start.goes_on, start.finished) == ("", True, True)
    assert (names(workdir.path), workdir.config.read_text()) == before


def test_a_network_that_could_not_be_made_again_is_kept(workdir):
    workdir.network.touch()
    (workdir.checkpoints / "00000001").rmdir()
    with pytest.raises(WorkdirError, match="no checkpoint from which its 200 epochs could go on"):
        workdir.start(Settings(epochs=300))
    assert workdir.network.exists()


@pytest.mark.parametrize("name", ["network", "init_from", "teacher"])
def test_a_run_does_not_remove_what_it_starts_from(workdir, name):
    workdir.network.touch()
    for source in (workdir.path, workdir.network):
        settings = Settings(seed=1, **{name: str(source)})
        with pytest.raises(WorkdirError, match=f"{name}: .* is in workdir .* to be overwritten"):
            workdir.start(settings, overwrite=True)


def test_a_network_of_no_run_is_not_taken_for_a_trained_one(tmp_path):
    workdir = Workdir(tmp_path)
    workdir.network.touch()
    with pytest.raises(WorkdirError, match=r"has a network or checkpoints and no config\.cfg"):
        workdir.start(Settings())
    assert workdir.start(Settings(), overwrite=True).removes == "run"


def test_a_configuration_that_no_run_wrote_is_kept(tmp_path, caplog):
    workdir = Workdir(tmp_path)
    workdir.config.write_text("# mine\n--epochs=3\n")
    workdir.begin(workdir.start(Settings(epochs=3)))
    assert (tmp_path / "given.config.cfg").read_text() == "# mine\n--epochs=3\n"
    assert "given.config.cfg now" in caplog.text
    workdir.begin(workdir.start(Settings(epochs=3)))
    assert workdir.settings().epochs == 3


def test_each_configuration_that_no_run_wrote_has_a_place_of_its_own(tmp_path):
    workdir = Workdir(tmp_path)
    for text in ("# 1\n", "# 2\n", "# 3\n"):
        workdir.config.write_text(text)
        workdir.begin(workdir.start(Settings()))
    for number, name in enumerate(("given", "given_2", "given_3"), 1):
        assert (tmp_path / f"{name}.config.cfg").read_text() == f"# {number}\n"


@pytest.mark.parametrize("name", ["labels", "columns", "results", "origin", "metrics"])
def test_a_file_of_no_run_is_not_replaced(tmp_path, name):
    workdir = Workdir(tmp_path)
    path = getattr(workdir, name)
    path.write_text("mine")
    for _ in range(2):
        with pytest.raises(WorkdirError, match=f"has {path.name} and no config.cfg of a run"):
            workdir.start(Settings())
        workdir.config.write_text("# mine, too\n--dataset=mnist\n")
    workdir.begin(workdir.start(Settings(), overwrite=True))
    workdir.start(Settings())  # now it is of a run


def test_a_trained_network_without_checkpoints_is_of_its_configuration(tmp_path):
    workdir = Workdir(tmp_path)
    workdir.begin(workdir.start(Settings()))
    workdir.network.touch()
    with pytest.raises(WorkdirError, match="another configuration"):
        workdir.begin(workdir.start(Settings(seed=1)))


def test_settings_of_no_workdir(tmp_path):
    with pytest.raises(WorkdirError, match=r"is not the workdir of a run: cannot read config\.cfg"):
        Workdir(tmp_path / "nothing").settings()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"--dataset=mnist\n--epochs=ten\n", "in the line '--epochs=ten'"),
        (b"--dataset=mnist\n--speed=1\n", "unknown flag in the line '--speed=1'"),
        (b"\xff\xfe\x00", ""),
        (b"", "received no line --dataset="),
        (b"# Written by the run\n--workdir=run\n", "received no line --dataset="),
    ],
)
def test_settings_of_a_damaged_configuration(workdir, text, message):
    workdir.config.write_bytes(text)
    with pytest.raises(WorkdirError, match=rf"cannot read config\.cfg: .*{message}"):
        workdir.settings()


# ------------------------------------------------------------------------------------ metrics


def test_epochs_of_a_new_run(workdir):
    assert workdir.epochs() == []


def test_log_epoch_appends(workdir):
    records = [{"epoch": 1, "loss": 0.1 + 0.2}, {"epoch": 2, "loss": 1e-300}]
    for record in records:
        workdir.log_epoch(record)
    assert workdir.epochs() == records


def test_forget_epochs_cuts_what_no_checkpoint_covers(workdir):
    for epoch in (1, 2, 3):
        workdir.log_epoch({"epoch": epoch})
    with workdir.metrics.open("a") as file:
        file.write('{"epoch": 4, "lo')  # killed while it wrote
    assert [record["epoch"] for record in workdir.epochs()] == [1, 2, 3]
    workdir.forget_epochs(2)
    assert workdir.metrics.read_text() == '{"epoch": 1}\n{"epoch": 2}\n'
    assert names(workdir.path) == ["checkpoints", "config.cfg", "metrics.jsonl"]


@pytest.mark.parametrize(
    "line", [b'{"my": 1}', b"5", b'{"epoch": "x"}', b'{"epoch": null}', b"\xff\xfe"]
)
def test_a_damaged_line_ends_the_epochs(workdir, line):
    workdir.log_epoch({"epoch": 1})
    with workdir.metrics.open("ab") as file:
        file.write(line + b'\n{"epoch": 2}\n')
    assert workdir.epochs() == [{"epoch": 1}]
    workdir.forget_epochs(2)
    assert workdir.metrics.read_text() == '{"epoch": 1}\n'


# --------------------------------------------------------------------------------------- data


def test_a_damaged_record_of_the_data_is_named(workdir):
    workdir.origin.write_text('{"data": "zz"}')
    examples = data.from_arrays(np.zeros((2, 3, 3)), [0, 1])
    with pytest.raises(WorkdirError, match=r"run\.json is damaged.* with training_examples"):
        check_training_data(workdir, examples)


# ------------------------------------------------------------------------------------ results


def test_results_round_trip(workdir):
    row = {"method": "bp", "clean_accuracy": 99.5, "black_box_accuracy": None}
    assert workdir.save_results(row) == workdir.results
    assert workdir.load_results() == row


def test_results_elsewhere(workdir, tmp_path):
    path = workdir.save_results({"seed": 1}, str(tmp_path / "row.json"))
    assert json.loads(path.read_text()) == {"seed": 1}
    assert not workdir.results.exists()


def test_results_that_cannot_be_written_leave_the_old_ones(workdir):
    workdir.save_results({"seed": 1})
    with pytest.raises(TypeError):
        workdir.save_results({"seed": object()})
    assert workdir.load_results() == {"seed": 1}
    assert names(workdir.path) == ["checkpoints", "config.cfg", "results.json"]


def test_damaged_results_are_named(workdir):
    workdir.results.write_text('{"seed": ')
    with pytest.raises(WorkdirError, match=f"{workdir.results} is damaged"):
        workdir.load_results()


# ------------------------------------------------------------------------------------ network


def masked():
    return lenet5_caffe(lambda name: BetaBernoulliDropout(name=name), width_multiplier=0.1)


def test_network_round_trip(workdir):
    network = masked()
    network.get_layer("conv1_mask").prune(1)
    workdir.save_network(network)
    pixels = np.random.default_rng(0).random((3, 28, 28, 1), np.float32)
    for loaded in (workdir.load_network(), load_network(workdir.path), load_network(workdir.network)):  # fmt: skip # noqa: E501
        np.testing.assert_array_equal(loaded(pixels), network(pixels))
    assert names(workdir.path) == ["checkpoints", "config.cfg", "network.keras"]


def test_network_that_cannot_be_written_leaves_the_old_one(workdir, monkeypatch):
    network = masked()
    workdir.save_network(network)
    before = workdir.network.read_bytes()

    def full(path):
        path.write_bytes(b"half a network")
        raise OSError("No space left on device")

    monkeypatch.setattr(network, "save", full)
    with pytest.raises(OSError, match="No space left"):
        workdir.save_network(network)
    assert workdir.network.read_bytes() == before
    assert names(workdir.path) == ["checkpoints", "config.cfg", "network.keras"]


def test_no_network_yet(workdir):
    with pytest.raises(WorkdirError, match=r"has no network\.keras: train it first"):
        workdir.load_network()


def test_no_network_at_a_path(tmp_path):
    with pytest.raises(WorkdirError, match=r"there is no network at .*network\.keras"):
        load_network(tmp_path / "network.keras")


@pytest.mark.parametrize("size", [0, 100, 0.5, 0.99])
def test_damaged_network(workdir, size):
    workdir.save_network(masked())
    content = workdir.network.read_bytes()
    workdir.network.write_bytes(
        content[: math.floor(size * len(content)) if size < 1 else int(size)]
    )
    with pytest.raises(WorkdirError, match=r"cannot load a network from .*network\.keras: .+") as e:
        workdir.load_network()
    assert len(str(e.value).splitlines()) == 1
    assert "not found" not in str(e.value)


# ------------------------------------------------------------------------------------- lock


def test_one_process_at_a_time(tmp_path):
    with (
        Workdir(tmp_path / "run").locked(),
        pytest.raises(WorkdirError, match="another process"),
        Workdir(tmp_path / "run").locked(),
    ):
        pass
    with Workdir(tmp_path / "run").locked():
        pass


@pytest.mark.parametrize("before", [None, "empty", "file"])
def test_an_error_leaves_no_empty_folder_of_its_own(tmp_path, before):
    folder = tmp_path / "run"
    if before == "empty":
        folder.mkdir()

    def fail():
        with Workdir(folder).locked():
            if before == "file":
                (folder / "config.cfg").touch()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert folder.exists() == (before is not None)


def test_init_from_is_compared_as_a_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    workdir = Workdir("run")
    workdir.begin(workdir.start(Settings(init_from="runs/standard")))
    (workdir.checkpoints / "00000001").mkdir(parents=True)
    workdir.begin(workdir.start(Settings(init_from=f"{tmp_path}/runs//standard")))
    with pytest.raises(WorkdirError, match="init_from"):
        workdir.begin(workdir.start(Settings(init_from="runs/other")))


def test_a_folder_that_moved_with_what_it_starts_from_goes_on(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    workdir = Workdir(old / "bp")
    workdir.begin(workdir.start(Settings(method="bp", init_from=str(old / "standard"))))
    workdir.network.write_text("")  # the run has begun
    old.rename(new)
    moved = Workdir(new / "bp")
    moved.begin(moved.start(Settings(method="bp", init_from=str(new / "standard"))))
    as_recorded_now = moved.start(Settings(method="bp", init_from=str(new / "standard")))
    moved.begin(as_recorded_now)
    with pytest.raises(WorkdirError, match="init_from"):
        moved.begin(moved.start(Settings(method="bp", init_from=str(new / "other"))))


def test_a_folder_of_runs_names_them(tmp_path):
    for name in ("b", "a"):
        Workdir(tmp_path / name).begin(Workdir(tmp_path / name).start(Settings()))
    with pytest.raises(WorkdirError, match=f"holds several: {tmp_path}/a, {tmp_path}/b$"):
        Workdir(tmp_path).settings()
    with pytest.raises(WorkdirError, match=r"init_from: .* holds several: "):
        load_network(tmp_path, "init_from")
    of_others = Workdir(tmp_path)
    of_others.begin(of_others.start(Settings()))
    assert Workdir(tmp_path).settings() == Settings()
