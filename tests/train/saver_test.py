"""A run that is stopped and goes on is the run that was not stopped."""

import json
import os
import signal

import keras
import numpy as np
import pytest

from anp_tf import data
from anp_tf.errors import CheckpointError, Stopped
from anp_tf.methods import Standard
from anp_tf.train.best import BestEpoch
from anp_tf.train.checkpoints import Checkpoints
from anp_tf.train.saver import Saver
from anp_tf.workdir import Workdir

STEPS = 5  # in an epoch
EPOCHS = 3


def examples():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (STEPS * 8, 2, 2, 1), np.uint8)
    return data.Examples(images, rng.integers(0, 2, STEPS * 8).astype(np.int32), 2)


class Log(keras.callbacks.Callback):
    """Logs epochs to the workdir, and sends a signal after a step or in an epoch's validation."""

    def __init__(self, workdir, number=None, after=None, validating=None):
        super().__init__()
        self.workdir, self.number, self.after, self.validating = workdir, number, after, validating
        self.epoch = 0

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations) == self.after:
            os.kill(os.getpid(), self.number)

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch + 1

    def on_test_begin(self, logs=None):
        if self.epoch == self.validating:
            os.kill(os.getpid(), self.number)

    def on_epoch_end(self, epoch, logs=None):
        self.workdir.log_epoch({"epoch": epoch + 1, **{k: float(v) for k, v in logs.items()}})


def run(path, seconds=1e9, **interruption):
    """Trains, or goes on; returns the model, its saver and the step it went on from."""
    keras.utils.set_random_seed(1)
    network = keras.Sequential(
        [
            keras.Input((2, 2, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(6, activation="relu"),
            keras.layers.Dense(2),
        ]
    )
    model = Standard(network, STEPS * 8)
    model.compile(keras.optimizers.Adam(0.05))
    workdir = Workdir(path)
    workdir.path.mkdir(exist_ok=True)
    groups = [network.variables, model.optimizer.variables, model.metrics_variables]
    variables = {f"{i}/{j}": v for i, group in enumerate(groups) for j, v in enumerate(group)}
    best = BestEpoch()
    checkpoints = Checkpoints(workdir.checkpoints, variables, keep=100)
    saver = Saver(checkpoints, workdir, {"best": best}, STEPS, seconds)
    start = step = saver.restore(model)
    callbacks = keras.callbacks.CallbackList(
        [best, Log(workdir, **interruption), saver], add_history=True, model=model
    )
    with saver:
        while step < EPOCHS * STEPS:
            epoch, within = divmod(step, STEPS)
            until = epoch + 1 if within else EPOCHS
            model.fit(
                data.training_batches(examples(), 8, 0, start_step=step),
                validation_data=data.batches(examples(), 8),
                initial_epoch=epoch,
                epochs=until,
                steps_per_epoch=STEPS - within,
                callbacks=callbacks,
                shuffle=False,
                verbose=0,
            )
            step = until * STEPS
    return model, saver, start


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole")
    model, saver, _ = run(path)
    return model, saver, Workdir(path)


def steps(path):
    return sorted(int(p.name) for p in (path / "checkpoints").iterdir())


def test_saves_after_every_epoch(whole):
    assert steps(whole[2].path) == [5, 10, 15]


def test_saves_every_so_many_seconds(tmp_path):
    run(tmp_path, seconds=0)
    assert steps(tmp_path) == list(range(1, 16))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "interruption", "stopped_at"),
    [
        pytest.param(signal.SIGTERM, {"after": 3}, 3, id="first epoch"),
        pytest.param(signal.SIGINT, {"after": 8}, 8, id="second epoch"),
        pytest.param(signal.SIGTERM, {"after": 10}, 10, id="last step of an epoch"),
        pytest.param(signal.SIGINT, {"validating": 2}, 10, id="validation"),
    ],
)
def test_stopped_run_goes_on_as_if_it_was_not_stopped(
    whole, tmp_path, number, interruption, stopped_at
):
    model, saver, workdir = whole
    with pytest.raises(Stopped, match=f"stopped after step {stopped_at}; the same command goes"):
        run(tmp_path, number=number, **interruption)
    ours, our_saver, start = run(tmp_path)
    assert start == stopped_at
    for variable, expected in zip(ours.network.variables, model.network.variables, strict=True):
        np.testing.assert_array_equal(variable.numpy(), expected.numpy())
    # The means of the epoch's metrics count the steps before the stop.
    assert Workdir(tmp_path).epochs() == workdir.epochs()
    assert our_saver.saved_callbacks["best"].choice == saver.saved_callbacks["best"].choice
    for value, expected in zip(
        our_saver.saved_callbacks["best"].weights,
        saver.saved_callbacks["best"].weights,
        strict=True,
    ):
        np.testing.assert_array_equal(value, expected)


def test_handlers_are_put_back(tmp_path):
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(Stopped):
        run(tmp_path, number=signal.SIGTERM, after=1)
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == before


def test_lost_metrics_are_an_error(tmp_path):
    with pytest.raises(Stopped):
        run(tmp_path, number=signal.SIGTERM, after=7)
    (tmp_path / "metrics.jsonl").unlink()
    with pytest.raises(CheckpointError, match="has fewer epochs than the checkpoint"):
        run(tmp_path)


@pytest.mark.slow
def test_metrics_beyond_the_checkpoint_are_forgotten(whole, tmp_path):
    with pytest.raises(Stopped):
        run(tmp_path, number=signal.SIGTERM, after=7)
    Workdir(tmp_path).log_epoch({"epoch": 2, "loss": 99.0})
    run(tmp_path)
    assert Workdir(tmp_path).epochs() == whole[2].epochs()


def test_stopped_is_not_taken_for_an_error():
    assert not issubclass(Stopped, Exception)


def test_choice_is_in_the_checkpoint(whole):
    meta = json.loads((whole[2].checkpoints / "00000015" / "meta.json").read_text())
    assert meta["extra"]["best"] == whole[1].saved_callbacks["best"].choice


@pytest.fixture
def idle(tmp_path):
    return Saver(Checkpoints(tmp_path, {}), Workdir(tmp_path), {"best": BestEpoch()}, STEPS, 1e9)


def within(saver, *numbers, error=None):
    """Sends signals to this process inside the saver's block, then raises an error."""
    with saver:
        for number in numbers:
            os.kill(os.getpid(), number)
        if error is not None:
            raise error


def test_signal_after_the_last_step_is_heeded(idle):
    with pytest.raises(Stopped, match="after the last step"):
        within(idle, signal.SIGTERM)


def test_second_signal_stops_at_once(idle):
    with pytest.raises(Stopped, match="at once"):
        within(idle, signal.SIGINT, signal.SIGINT)


def test_an_error_is_not_hidden_by_a_signal(idle):
    with pytest.raises(ZeroDivisionError):
        within(idle, signal.SIGTERM, error=ZeroDivisionError())
