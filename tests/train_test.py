"""The command `python -m anp_tf.train`, as processes: what it leaves, and going on after a stop."""

import json
import os
import re
import shutil
import signal
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing import event_accumulator

from anp_tf import layers  # noqa: F401 - registers the mask layers for loading
from anp_tf.intervals import with_interval
from anp_tf.models import lenet5_caffe
from anp_tf.settings import Settings
from anp_tf.train import command
from anp_tf.workdir import Workdir

METRICS = {
    "epoch",
    "step",
    "loss",
    "accuracy",
    "val_loss",
    "val_accuracy",
    "learning_rate",
    "seconds",
    "core_seconds",
}
ATTACKED = {
    "adversarial_loss",
    "adversarial_accuracy",
    "vulnerability",
    "val_adversarial_loss",
    "val_adversarial_accuracy",
    "val_vulnerability",
}
MASKED = {"kl", "sparsity", "mask_learning_rate"}
COLUMNS = {
    "dataset",
    "architecture",
    "method",
    "clean_accuracy",
    "white_box_accuracy",
    "black_box_accuracy",
    "white_box_vulnerability",
    "black_box_vulnerability",
    "memory_percent",
    "flops_reduction",
    "sparsity_percent",
}


def epochs(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def weights(workdir):
    network = keras.saving.load_model(workdir / "network.keras", compile=False)
    return [(v.name, v.numpy()) for v in network.weights]


def newest(workdir):
    return max((workdir / "checkpoints").iterdir(), key=lambda path: path.name)


def assert_same_run(workdir, reference):
    """Weights, metrics and the chosen epoch are the same, bit for bit."""
    for (name, value), (other, expected) in zip(weights(workdir), weights(reference), strict=True):
        assert name == other
        np.testing.assert_array_equal(value, expected, err_msg=name)
    ours, theirs = epochs(workdir), epochs(reference)
    for record in ours + theirs:
        del record["seconds"], record["core_seconds"]
    assert ours == theirs
    ours, theirs = (newest(w) for w in (workdir, reference))
    assert (ours / "meta.json").read_text() == (theirs / "meta.json").read_text()
    ours, theirs = (tf.train.load_checkpoint(str(path / "state")) for path in (ours, theirs))
    assert ours.get_variable_to_shape_map() == theirs.get_variable_to_shape_map()
    for name in ours.get_variable_to_shape_map().keys() - {"_CHECKPOINTABLE_OBJECT_GRAPH"}:
        np.testing.assert_array_equal(ours.get_tensor(name), theirs.get_tensor(name), err_msg=name)


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def one_line(outcome, code):
    """The message of a command that ended by an error."""
    assert "Traceback" not in outcome.err
    assert len(outcome.err.splitlines()) == 1, outcome.err
    assert outcome.err.startswith("anp_tf.train: ")
    assert outcome.code == code, outcome.err
    return outcome.err


# ------------------------------------------------------------------------- what a run leaves


def test_full_run_succeeds_and_is_silent_on_stderr(finished):
    assert finished.outcome.code == 0, finished.outcome.err
    assert finished.outcome.err == ""


@pytest.mark.parametrize(
    ("method", "count", "expected"),
    [("standard", 2, METRICS), ("anp_vs", 3, METRICS | ATTACKED | MASKED)],
)
def test_metrics_have_a_line_an_epoch(finished, method, count, expected):
    records = epochs(finished.path / method)
    assert [record["epoch"] for record in records] == list(range(1, count + 1))
    assert [record["step"] for record in records] == [4 * k for k in range(1, count + 1)]
    first = {"standard": 1, "anp_vs": 3}[method]  # after the warm-ups
    for record in records:
        scored = {"selection_score"} if record["epoch"] >= first else set()
        assert record.keys() == expected | scored
        assert all(np.isfinite(value) for value in record.values())


@pytest.mark.parametrize("method", ["standard", "anp_vs"])
def test_workdir_is_complete(finished, method):
    workdir = finished.path / method
    names = {"config.cfg", "metrics.jsonl", "checkpoints", "tensorboard", "network.keras"}
    names |= {"results.json", "run.json", "labels.json"}
    assert {path.name for path in workdir.iterdir()} == names
    row = json.loads((workdir / "results.json").read_text())
    assert row.keys() >= COLUMNS
    assert row["method"] == method
    assert row["test_examples"] == 50
    assert 0 < len(list((workdir / "checkpoints").iterdir())) <= 3
    assert weights(workdir)


def test_tensorboard_shows_scalars_histograms_and_adversarial_images(finished):
    workdir = finished.path / "anp_vs"
    events = event_accumulator.EventAccumulator(str(workdir / "tensorboard"))
    events.Reload()
    read = {
        tag: {event.step: tf.make_ndarray(event.tensor_proto) for event in events.Tensors(tag)}
        for tag in events.Tags()["tensors"]
    }
    for record in epochs(workdir):
        for name in record.keys() - {"epoch", "step", "seconds"}:
            assert read[name][record["step"]] == np.float32(record[name]), name
    masks = ("conv1", "conv2", "flatten", "dense1")
    for name, units in zip(masks, (2, 5, 80, 50), strict=True):
        buckets = read[f"expected_mask/{name}_mask"][12]
        assert buckets[:, 2].sum() == units
    width, height, *images = read["adversarial"][12]
    assert (int(width), int(height), len(images)) == (28, 28, 8)
    picture = tf.io.decode_png(images[0]).numpy()
    assert picture.shape == (28, 28, 1)
    border = picture[:3] / 255  # black in a clean digit
    assert 0.1 < border.max() <= 0.3 + 1 / 255
    assert np.mean(border > 0.01) > 0.2


def test_table_compares_the_methods(finished):
    rows = [
        json.loads((finished.path / m / "results.json").read_text()) for m in ("standard", "anp_vs")
    ]
    lines = finished.outcome.out.splitlines()
    for label, column, form in [
        ("clean accuracy, %", "clean_accuracy", None),
        ("accuracy under PGD-2, ε = 0.3, %", "white_box_accuracy", None),
        ("vulnerability", "white_box_vulnerability", "{:.4f}"),
        ("sparsity (units pruned), %", "sparsity_percent", "{:.1f}"),
        ("FLOPs reduction, x", "flops_reduction", "{:.2f}"),
    ]:
        (line,) = (line.strip() for line in lines if line.strip().startswith(label + " "))
        shown = line.removeprefix(label).split()
        values = [row[column] for row in rows]
        texts = [form.format(value) if form else with_interval(value, 50) for value in values]
        assert shown == " ".join(texts).split(), label


def test_export_loads_as_the_last_line_says(finished):
    last = finished.outcome.out.splitlines()[-1]
    call = last[last.index("tf.saved_model.load(") :]
    loaded = eval(call, {"tf": tf})
    pixels = np.random.default_rng(0).random((3, 28, 28, 1), np.float32)
    logits = loaded.signatures["serving_default"](pixels=tf.constant(pixels))["logits"]
    path = finished.path / "anp_vs" / "network.keras"
    network = keras.saving.load_model(path, compile=False)
    np.testing.assert_allclose(logits, network(pixels), atol=1e-5)


def test_method_starts_from_the_standard_network_before_it(finished):
    config = (finished.path / "anp_vs" / "config.cfg").read_text()
    assert f"--init_from={finished.path / 'standard'}\n" in config


# --------------------------------------------------------------------------- the same run again


@pytest.mark.slow
def test_finished_run_started_again_only_prints(finished, commands):
    before = contents(finished.path)
    again = commands.run("train", *finished.flags)
    assert again.code == 0, again.err
    assert finished.outcome.out.endswith(again.out)
    assert again.out.strip().startswith("mnist, 50 test images")
    assert contents(finished.path) == before


def config(finished, workdir, *flags):
    """The flags that repeat the run of `anp_vs` elsewhere."""
    return [f"--flagfile={finished.path / 'anp_vs' / 'config.cfg'}", f"--workdir={workdir}", *flags]


@pytest.mark.slow
def test_config_repeats_the_run_bit_for_bit(finished, commands, tmp_path):
    outcome = commands.run("train", *config(finished, tmp_path / "again"))
    assert outcome.code == 0, outcome.err
    assert_same_run(tmp_path / "again", finished.path / "anp_vs")
    ours, theirs = (
        json.loads((w / "results.json").read_text())
        for w in (tmp_path / "again", finished.path / "anp_vs")
    )
    for row in (ours, theirs):
        for name in ("latency_milliseconds", "core_minutes", "seconds", "date", "command"):
            del row[name]
    assert ours == theirs


@pytest.mark.slow
def test_operations_on_one_thread_of_several(finished, commands, tmp_path):
    flags = config(finished, tmp_path / "one", "--op_threads=1")
    outcome = commands.run("train", *flags, before="import os\nos.cpu_count = lambda: 3")
    assert outcome.code == 0, outcome.err
    ours, theirs = epochs(tmp_path / "one"), epochs(finished.path / "anp_vs")
    for record, other in zip(ours, theirs, strict=True):
        assert record["adversarial_loss"] == pytest.approx(other["adversarial_loss"], rel=0.01)


@pytest.mark.slow
def test_flags_after_the_flagfile_override_it(finished, commands, tmp_path):
    changed = ("--method=standard", "--epochs=1", "--seed=3", "--nodeterministic")
    outcome = commands.run("train", *config(finished, tmp_path / "run", *changed))
    assert outcome.code == 0, outcome.err
    lines = (tmp_path / "run" / "config.cfg").read_text().splitlines()
    assert {*changed, f"--workdir={tmp_path / 'run'}"} <= set(lines)
    assert len(epochs(tmp_path / "run")) == 1
    assert len(weights(tmp_path / "run")) == len(weights(finished.path / "standard"))


# ----------------------------------------------------------------------------------- kill -9

# The network that is attacked is made anew as soon as there is something to cut.
OFTEN = "from anp_tf.methods.slimming import FollowPruning; FollowPruning.every = 2"


def wait_for(condition):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def units_cut(checkpoint):
    """How many units are cut out of the network that is attacked."""
    layout = json.loads((checkpoint / "meta.json").read_text())["layout"]
    reader = tf.train.load_checkpoint(str(checkpoint / "state"))
    return sum(
        int(reader.get_tensor(f"state/{index}/.ATTRIBUTES/VARIABLE_VALUE").sum())
        for index, (name, *_) in enumerate(layout)
        if name.endswith("_cut")
    )


@pytest.mark.slow
def test_killed_at_any_moment_the_same_command_goes_on(finished, commands, tmp_path):
    flags = ["--checkpoint_seconds=0", "--keep_checkpoints=99"]
    whole = tmp_path / "whole"
    outcome = commands.run("train", *config(finished, whole, *flags), before=OFTEN)
    assert outcome.code == 0, outcome.err
    # After step 4 the attacked network is made anew.
    cut = [units_cut(path) for path in sorted((whole / "checkpoints").iterdir())]
    assert cut[:3] == [0] * 3
    assert cut[3] > 0

    workdir = tmp_path / "run"
    checkpoints = workdir / "checkpoints"
    command = ["train", *config(finished, workdir, *flags)]

    def killed(at):
        outcome = commands.run(*command, kill_at=at, before=OFTEN)
        assert outcome.code == -signal.SIGKILL, outcome.err

    # Right after the start.
    process = commands.start(*command, before=OFTEN)
    wait_for((workdir / "config.cfg").exists)
    process.signal(signal.SIGKILL)
    assert process.wait().code == -signal.SIGKILL
    # With the attacked network made anew, but no checkpoint that says so; then with one.
    for step in (4, 5):
        killed(f"0000000{step}:1")
        assert newest(workdir).name == f"0000000{step - 1}"
    # In the middle of writing a checkpoint within the second epoch.
    killed("00000007:1")
    assert newest(workdir).name == "00000006"
    assert list(checkpoints.glob(".tmp-00000007-*"))
    # After the second epoch's line in metrics.jsonl, before the checkpoint that covers it.
    killed("epoch:1")
    assert len(epochs(workdir)) == 2
    assert newest(workdir).name == "00000007"
    assert not list(checkpoints.glob(".tmp-*"))
    # When all is trained and the network is written, but not in place.
    killed("network.keras:1")
    assert newest(workdir).name == "00000012"
    assert not (workdir / "network.keras").exists()

    outcome = commands.run(*command, before=OFTEN)
    assert outcome.code == 0, outcome.err
    assert_same_run(workdir, whole)


# ----------------------------------------------------------------------------------- SIGTERM


@pytest.fixture(scope="module")
def stopped(finished, commands, tmp_path_factory):
    """A workdir with checkpoints of steps 4 and 6, and how the run was stopped."""
    workdir = tmp_path_factory.mktemp("stopped") / "run"
    flags = config(finished, workdir)
    return workdir, commands.run("train", *flags, kill_at="step:6:SIGTERM")


@pytest.fixture
def copy(stopped, tmp_path):
    return shutil.copytree(stopped[0], tmp_path / "run")


def test_sigterm_saves_and_exits_with_75(stopped):
    workdir, outcome = stopped
    assert "stopped after step 6; the same command goes on" in one_line(outcome, 75)
    names = sorted(path.name for path in (workdir / "checkpoints").iterdir())
    assert names == ["00000004", "00000006"]
    assert not (workdir / "network.keras").exists()


def test_sigterm_before_the_training_exits_with_75(finished, commands, tmp_path):
    flags = config(finished, tmp_path / "run")
    outcome = commands.run("train", *flags, kill_at="examples:1:SIGTERM")
    assert "the same command goes on" in one_line(outcome, 75)


def test_sigterm_while_restoring_is_no_damaged_checkpoint(finished, commands, copy):
    checkpoints = contents(copy / "checkpoints")
    outcome = commands.run("train", *config(finished, copy), kill_at="restore:1:SIGTERM")
    assert "the same command goes on" in one_line(outcome, 75)
    assert contents(copy / "checkpoints") == checkpoints


@pytest.mark.slow
def test_full_disk_is_one_line_and_leaves_what_was_saved(finished, commands, copy):
    # A limit on the size of files stands in for a full disk: writing beyond it fails as there.
    limit = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (2**14, 2**14))"
    saved = contents(copy / "checkpoints")
    assert max(map(len, saved.values())) > 2**14
    flags = config(finished, copy, "--checkpoint_seconds=0")
    message = one_line(commands.run("train", *flags, before=limit), 2)
    assert "cannot write a checkpoint in" in message
    assert contents(copy / "checkpoints") == saved
    # With space again, the same command ends as if nothing had happened.
    outcome = commands.run("train", *flags)
    assert outcome.code == 0, outcome.err
    assert_same_run(copy, finished.path / "anp_vs")


@pytest.mark.slow
def test_damaged_checkpoint_is_passed_over_with_a_warning(finished, commands, copy):
    data = copy / "checkpoints" / "00000006" / "state.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-1000])
    outcome = commands.run("train", *config(finished, copy))
    assert outcome.code == 0, outcome.err
    assert len(outcome.err.splitlines()) == 1, outcome.err
    assert f"checkpoint {data.parent} is damaged and passed over" in outcome.err
    assert_same_run(copy, finished.path / "anp_vs")


def test_all_checkpoints_damaged(finished, commands, copy):
    for meta in copy.glob("checkpoints/*/meta.json"):
        meta.write_text(meta.read_text()[:50])
    outcome = commands.run("train", *config(finished, copy))
    *warnings, last = outcome.err.splitlines(keepends=True)
    assert len(warnings) == 2
    assert all("is damaged and passed over" in line for line in warnings)
    outcome.err = last
    assert "all 2 checkpoints in" in one_line(outcome, 2)


def test_other_configuration_in_the_workdir(finished, commands, copy):
    before = contents(copy)
    flags = config(finished, copy, "--width_multiplier=0.2", "--seed=1")
    message = one_line(commands.run("train", *flags), 2)
    assert "another configuration: --width_multiplier=0.1 (now 0.2), --seed=0 (now 1)" in message
    assert contents(copy) == before


def test_a_run_stays_until_the_one_in_its_place_has_all_it_needs(finished, commands, copy):
    before = contents(copy)
    flags = config(finished, copy, "--overwrite", "--seed=5", "--init_from=nowhere.keras")
    assert "there is no network at nowhere.keras" in one_line(commands.run("train", *flags), 2)
    assert contents(copy) == before


def test_checkpoints_of_another_network(finished, commands, copy):
    text = (copy / "config.cfg").read_text()
    text = re.sub("--(width_multiplier|init_from)=.*", r"--\1=", text)
    text = text.replace("--width_multiplier=", "--width_multiplier=0.2")
    (copy / "config.cfg").write_text(text)
    before = contents(copy / "checkpoints")
    flags = config(finished, copy, "--width_multiplier=0.2", "--init_from=")
    message = one_line(commands.run("train", *flags), 2)
    assert "is of another network: it has network/0/kernel [5, 5, 1, 2]" in message
    assert contents(copy / "checkpoints") == before


# ------------------------------------------------------------------------------------- NaN


@pytest.mark.slow
def test_divergence_names_the_step_and_the_last_good_checkpoint(finished, commands, tmp_path):
    flags = ["--learning_rate=1e30", "--checkpoint_seconds=0", "--init_from="]
    outcome = commands.run("train", *config(finished, tmp_path / "run", *flags))
    message = one_line(outcome, 3)
    checkpoint = newest(tmp_path / "run")
    step = int(checkpoint.name) + 1
    assert f"not finite at step {step}; the last good checkpoint is {checkpoint}" in message
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        reader = tf.train.load_checkpoint(str(path / "state"))
        for name in reader.get_variable_to_shape_map():
            value = reader.get_tensor(name)
            assert isinstance(value, bytes) or np.all(np.isfinite(value)), name
    assert not (tmp_path / "run" / "network.keras").exists()


@pytest.mark.slow
def test_nan_in_the_weights_at_the_start(finished, commands, tmp_path):
    network = keras.saving.load_model(finished.path / "standard" / "network.keras", compile=False)
    kernel = network.get_layer("conv2").kernel.numpy()
    kernel[0, 0, 0, 0] = np.nan
    network.get_layer("conv2").kernel.assign(kernel)
    network.save(tmp_path / "planted.keras")
    flags = config(finished, tmp_path / "run", f"--init_from={tmp_path / 'planted.keras'}")
    message = one_line(commands.run("train", *flags), 3)
    assert "not finite at step 1; there is no checkpoint yet" in message
    assert not list((tmp_path / "run" / "checkpoints").iterdir())


@pytest.mark.slow
def test_export_is_of_the_network_that_is_there(tmp_path, capsys):
    """A version is written once, and again when the network is a newer one."""
    workdir = Workdir(tmp_path / "run")
    workdir.path.mkdir()
    workdir.begin(workdir.start(Settings(method="standard")))
    workdir.save_network(lenet5_caffe(width_multiplier=0.1))
    for seconds, versions in ((-60, {"1"}), (-60, {"1"}), (60, {"1", "2"})):
        os.utime(workdir.network, (time.time() + seconds,) * 2)
        command.export(workdir, tmp_path / "saved_model")
        folders = {path.name for path in (tmp_path / "saved_model").iterdir() if path.is_dir()}
        assert folders == versions
        assert f"saved_model/{len(versions)}" in capsys.readouterr().out


# ------------------------------------------------------------------------------- one's own data


@pytest.mark.slow
def test_a_folder_of_images_from_training_to_export(commands, tmp_path):
    rng = np.random.default_rng(0)
    for index, name in enumerate(["dark", "light"]):
        for number in range(30):
            size = (20, 24) if number % 2 else (16, 16)
            pixels = rng.integers(120 * index, 120 * index + 100, (*size, 3)).astype(np.uint8)
            path = tmp_path / "photos" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(tf.io.encode_png(pixels).numpy())
    flags = ["--dataset=photos", "--image_size=16,16", "--test_share=0.5", "--method=at"]
    flags += ["--network=lenet5_caffe", "--width_multiplier=0.2", "--epochs=6", "--batch_size=8"]
    flags += ["--epsilon=0.1", "--attack_steps=1", "--eval_attack_steps=2", "--workdir=run"]
    flags += ["--learning_rate=1e-2", "--epsilon_warmup_epochs=0", "--export"]
    outcome = commands.run("train", *flags, cwd=tmp_path)
    assert outcome.code == 0, outcome.err
    row = json.loads((tmp_path / "run" / "results.json").read_text())
    assert row["test_examples"] == 30
    assert row["clean_accuracy"] > 90
    exported = tf.saved_model.load(str(tmp_path / "run" / "saved_model" / "1"))
    classes = exported.signatures["classify"].structured_outputs["classes"]
    assert classes.dtype == tf.string
    assert (
        (tmp_path / "run" / "saved_model" / "README.md")
        .read_text()
        .startswith("# lenet5_caffe, photos, `at`")
    )
    outcome = commands.run("train", *flags[3:], "--dataset=nowhere.csv", cwd=tmp_path / "photos")
    assert "nowhere.csv" in one_line(outcome, 2)
