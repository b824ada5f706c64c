"""Runs over several devices of one process, and over two processes on this machine."""

import collections
import json
import re
import socket
import types

import numpy as np
import pytest
import tensorflow as tf

from anp_tf import data
from anp_tf.train import prepare
from anp_tf.train.cluster import SLURM, cluster
from anp_tf.train.distribution import Devices, devices_for
from anp_tf.workdir import Workdir

FLAGS = [
    "--width_multiplier=0.1",
    "--epochs=2",
    "--batch_size=32",
    "--limit_train_examples=160",
    "--limit_test_examples=20",
    "--attack_steps=1",
    "--validation_attack_steps=1",
    "--eval_attack_steps=1",
]
STEPS = [4, 8]  # at the ends of the epochs: 128 images are left for training
FILES = {
    "config.cfg",
    "metrics.jsonl",
    "checkpoints",
    "tensorboard",
    "network.keras",
    "results.json",
    "run.json",
    "labels.json",
}
TWO_CPUS = """
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
"""
# A network with batch normalization and dropout; says which variables differ between replicas.
NORMALIZED = """
import keras
from anp_tf.methods import TrainingModel
from anp_tf.models import NETWORKS
def network(input_shape, **options):
    L = keras.layers
    parts = [L.Conv2D(2, 5, strides=4), L.BatchNormalization(), L.ReLU()]
    x = pixels = keras.Input(input_shape)
    for part in [*parts, L.Flatten(), L.Dropout(0.5), L.Dense(10)]:
        x = part(x)
    return keras.Model(pixels, x)
fit = TrainingModel.fit
def shown_differences(self, *args, **kwargs):
    fit(self, *args, **kwargs)
    for variable in self.network.variables:
        first, second = self.distribute_strategy.experimental_local_results(variable.value)
        print("replicas", (first.numpy() == second.numpy()).all(), variable.path)
NETWORKS["lenet5_caffe"], TrainingModel.fit = network, shown_differences
"""
# Prints the seeds of each step's draws.
WATCH = """
import tensorflow as tf
from anp_tf.methods import training_model
seeds = training_model.seeds
def shown_seeds(seed, step):
    result = seeds(seed, step)
    if tf.is_tensor(step):  # not in the validation
        tf.print("seed", step, *result, output_stream=sys.stdout)
    return result
training_model.seeds = shown_seeds
"""


def start_workers(commands, *flags, of_each=((), ()), before="", kill_at=None):
    """Starts a command as a chief and a worker; whatever happens, they end after two minutes.

    `kill_at` is where the worker is to end.
    """
    sockets = [socket.socket() for _ in range(2)]
    for free in sockets:
        free.bind(("localhost", 0))
    addresses = [f"localhost:{free.getsockname()[1]}" for free in sockets]
    for free in sockets:
        free.close()
    processes = []
    for index in range(2):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        processes.append(
            commands.start(
                "train",
                *flags,
                "--distribution=multi_worker",
                "--op_threads=1",
                *of_each[index],
                env={"TF_CONFIG": json.dumps(config)},
                kill_at=kill_at if index else None,
                before=f"signal.alarm(120)\n{before}",
            )
        )
    return processes


def run_workers(*args, **kwargs):
    """The outcomes of the chief and of the worker."""
    return [process.wait() for process in start_workers(*args, **kwargs)]


def assert_same_metrics(path, reference):
    ours, theirs = Workdir(path).epochs(), Workdir(reference).epochs()
    assert [record["step"] for record in ours] == STEPS
    for record, expected in zip(ours, theirs, strict=True):
        assert record.keys() == expected.keys()
        for name in record.keys() - {"seconds", "core_seconds"}:
            np.testing.assert_allclose(record[name], expected[name], rtol=1e-4, err_msg=name)


@pytest.fixture(scope="module")
def alone(commands, tmp_path_factory):
    """The workdir of a run of `standard` on one device."""
    path = tmp_path_factory.mktemp("alone")
    outcome = commands.run("train", *FLAGS, "--method=standard", f"--workdir={path}")
    assert outcome.code == 0, outcome.err
    return path


# ------------------------------------------------------------------------------- one machine


@pytest.mark.slow
def test_mirrored_takes_the_steps_of_one_device(commands, alone, tmp_path):
    flags = [*FLAGS, "--method=standard", "--distribution=mirrored", f"--workdir={tmp_path}"]
    outcome = commands.run("train", *flags, before=TWO_CPUS)
    assert outcome.code == 0, outcome.err
    assert "on 2 CPUs\n" in outcome.out
    assert {path.name for path in tmp_path.iterdir()} == FILES
    assert_same_metrics(tmp_path, alone)


@pytest.mark.slow
def test_mirrored_trains_one_method_after_the_other(commands, tmp_path):
    flags = [*FLAGS, "--method=standard,anp", "--distribution=mirrored", f"--workdir={tmp_path}"]
    outcome = commands.run("train", *flags, "--epochs=1", before=TWO_CPUS)
    assert outcome.code == 0, outcome.err


@pytest.mark.slow
def test_replicas_keep_the_same_statistics(commands, tmp_path):
    flags = [*FLAGS, "--method=standard", "--distribution=mirrored", f"--workdir={tmp_path}"]
    outcome = commands.run("train", *flags, before=TWO_CPUS + NORMALIZED)
    assert outcome.code == 0, outcome.err
    assert "batch_normalization/moving_variance" in outcome.out
    assert outcome.out.count("replicas True") == 9
    assert "replicas False" not in outcome.out


# ------------------------------------------------------------------------------ two processes


@pytest.fixture(scope="module")
def together(commands, tmp_path_factory):
    """Two methods by a chief and a worker, with a checkpoint after each step: path, outcomes."""
    path = tmp_path_factory.mktemp("together")
    flags = [*FLAGS, "--method=standard,anp_vs", "--checkpoint_seconds=0", f"--workdir={path}"]
    return path, run_workers(commands, *flags, "--verbosity=0", before=WATCH)


@pytest.mark.slow
def test_two_workers_finish_and_the_chief_writes(together):
    path, (chief, worker) = together
    assert (chief.code, worker.code) == (0, 0), chief.err + worker.err
    assert {folder.name for folder in path.iterdir()} == {"standard", "anp_vs"}
    for method in ("standard", "anp_vs"):
        assert {file.name for file in (path / method).iterdir()} == FILES
        assert len(list((path / method / "tensorboard").iterdir())) == 1
        names = {folder.name for folder in (path / method / "checkpoints").iterdir()}
        assert names == {"00000006", "00000007", "00000008"}
        assert f"{method}  from" in chief.out
    assert "on 2 CPUs of 2 workers\n" in chief.out
    assert "clean accuracy" in chief.out
    assert not re.findall("from|epoch|accuracy", worker.out)


@pytest.mark.slow
def test_two_workers_end_with_equal_weights(together):
    _, outcomes = together
    ours, theirs = (re.findall(r"SHA-256 of the weights: (\w+)", o.err) for o in outcomes)
    assert len(set(ours)) == 2  # methods
    assert ours == theirs


@pytest.mark.slow
def test_two_workers_take_the_steps_of_one_device(together, alone):
    assert_same_metrics(together[0] / "standard", alone)


@pytest.mark.slow
def test_two_workers_draw_differently(together):
    seeds = collections.defaultdict(list)
    for outcome in together[1]:
        for step, drawn in set(re.findall(r"seed (\d+) (.*)", outcome.out)):
            seeds[step].append(drawn)
    assert seeds.keys() == {str(step) for step in range(8)}
    for drawn in seeds.values():
        assert len(drawn) == len(set(drawn)) >= 2


@pytest.mark.slow
def test_a_job_that_is_stopped_and_then_loses_a_worker_goes_on(commands, alone, tmp_path):
    flags = [*FLAGS, "--method=standard", f"--workdir={tmp_path}"]
    for outcome in run_workers(commands, *flags, kill_at="step:2:SIGTERM"):
        assert outcome.code == 75
        assert outcome.err == (
            "anp_tf.train: stopped after step 2; the same command goes on from there\n"
        )
    chief, worker = run_workers(commands, *flags, kill_at="step:4")
    assert worker.code == -9
    assert chief.code == 75, chief.err
    assert chief.err == (
        "anp_tf.train: another worker has ended; the same command, on all workers, goes on "
        "from the last checkpoint\n"
    )
    assert "from step 2 on" in chief.out
    chief, worker = run_workers(commands, *flags)
    assert (chief.code, worker.code) == (0, 0), chief.err + worker.err
    assert "from step 4 on" in chief.out
    assert {path.name for path in tmp_path.iterdir()} == FILES
    assert_same_metrics(tmp_path, alone)


def test_workers_with_different_options(commands, tmp_path):
    flags = [*FLAGS, "--method=standard", f"--workdir={tmp_path}"]
    for outcome in run_workers(commands, *flags, of_each=(["--seed=1"], ["--seed=2"])):
        assert outcome.code == 2
        assert outcome.err == "anp_tf.train: --distribution: the workers have different options\n"


# --------------------------------------------------------------------------------- the batches


@pytest.mark.parametrize(("workers", "replicas"), [(2, 2), (2, 4), (3, 3)])
def test_replicas_share_the_batches_of_one_device(workers, replicas):
    strategy = types.SimpleNamespace(
        num_replicas_in_sync=replicas,
        distribute_datasets_from_function=lambda function: function(None),
    )
    images = np.arange(48, dtype=np.uint8).reshape(48, 1, 1, 1)
    examples = data.Examples(images, np.arange(48, dtype=np.int32), 48)
    batches = data.training_batches(examples, 12, 0)
    local = replicas // workers
    shares = [
        list(Devices(strategy, workers, index).share(batches).take(4 * local))
        for index in range(workers)
    ]
    for step, (pixels, labels) in enumerate(batches.take(4)):
        parts = [part for share in shares for part in share[step * local : (step + 1) * local]]
        assert [len(part[1]) for part in parts] == [12 // replicas] * replicas
        np.testing.assert_array_equal(tf.concat([part[0] for part in parts], 0), pixels)
        np.testing.assert_array_equal(tf.concat([part[1] for part in parts], 0), labels)


def three_replicas():
    return Devices(types.SimpleNamespace(num_replicas_in_sync=3))


def test_batches_that_cannot_be_divided():
    settings = types.SimpleNamespace(batch_size=32, distribution="mirrored")
    with pytest.raises(ValueError, match=r"batch_size: expected a multiple of 3.* received 32"):
        prepare.checked_batch_size(settings, 1000, three_replicas())
    settings.batch_size = 33
    assert prepare.checked_batch_size(settings, 1000, three_replicas()) == 33
    assert prepare.checked_batch_size(settings, 20, three_replicas()) == 18
    with pytest.raises(data.DataError, match="2 training examples for 3 replicas"):
        prepare.checked_batch_size(settings, 2, three_replicas())


def test_validation_is_in_equal_parts():
    examples = data.Examples(np.zeros((500, 1, 1, 1), np.uint8), np.zeros(500, np.int32), 1)
    batches = prepare.validation_batches(examples, three_replicas())
    assert [len(labels) for _, labels in batches] == [249, 249]
    assert prepare.validation_batches(examples.take(2), three_replicas()) is None


# ------------------------------------------------------------------------- who the workers are


@pytest.fixture
def environment(monkeypatch):
    for name in ("TF_CONFIG", *SLURM):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch.setenv


def test_chief_and_workers_of_tf_config(environment):
    addresses = {"chief": ["a:1"], "worker": ["b:1", "c:1"]}
    task = {"type": "worker", "index": 1}
    environment("TF_CONFIG", json.dumps({"cluster": addresses, "task": task}))
    assert cluster() == (addresses, "worker", 1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"cluster": {"worker": ["a:1"]}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "chief", "index": 0}}',
        '{"cluster": {"worker": ["a"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": [1]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"chief": ["a:1", "b:1"]}, "task": {"type": "chief", "index": 0}}',
    ],
)
def test_malformed_tf_config(environment, text):
    environment("TF_CONFIG", text)
    with pytest.raises(ValueError, match=r"distribution: expected a TF_CONFIG such as .*, recei"):
        cluster()


def test_slurm_tasks_in_the_order_of_their_ranks(environment):
    for name, value in zip(SLURM, ("2", "3", "n[9-10]", "2,1"), strict=True):
        environment(name, value)
    assert cluster() == ({"worker": ["n9:8888", "n9:8889", "n10:8888"]}, "worker", 2)


def test_malformed_slurm_variables(environment):
    for name, value in zip(SLURM, ("0", "2", "n[9-10]", "one"), strict=True):
        environment(name, value)
    with pytest.raises(ValueError, match="distribution: cannot read SLURM's variables"):
        cluster()


def test_no_workers_named(commands, environment, tmp_path):
    outcome = commands.run("train", "--distribution=multi_worker", f"--workdir={tmp_path / 'run'}")
    assert outcome.code == 2
    assert outcome.err.startswith(
        "anp_tf.train: --distribution: multi_worker expects TF_CONFIG, or "
    )
    assert len(outcome.err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_only_train_joins_other_workers():
    with pytest.raises(ValueError, match=r"distribution: .* for the command anp_tf.train only"):
        devices_for("multi_worker")
