"""Saves the state of a run in time, and brings it back."""

import itertools
import signal
import time

import keras

from anp_tf.errors import CheckpointError, Stopped
from anp_tf.interruption import passing
from anp_tf.train.distribution import Devices


class Saver(keras.callbacks.Callback):
    """Checkpoints after every epoch, every so many seconds, and when a signal asks to stop.

    It must come after the callbacks whose state it saves, and before those that print. As a context
    manager it handles SIGTERM and SIGINT: they end the run by `Stopped`, at the end of the step or,
    within a validation, of the epoch; a second one ends it at once, without saving. Of several
    workers all save when one has to, and all stop when one is asked to.

    Args:
        checkpoints: `Checkpoints` of all variables.
        workdir: `Workdir`, whose records are cut back to the restored epoch.
        saved_callbacks: Dict from a name to a callback that has, as part of the state, a `choice`,
            None or a dict, and `weights`, arrays: `BestEpoch` and others.
        steps_per_epoch: Integer.
        seconds: Float, at least 0, between checkpoints within an epoch.
        devices: `Devices` that the run trains on; None for one.
    """

    def __init__(
        self, checkpoints, workdir, saved_callbacks, steps_per_epoch, seconds, devices=None
    ):
        super().__init__()
        self.checkpoints = checkpoints
        self.workdir = workdir
        self.saved_callbacks = saved_callbacks
        self.steps_per_epoch = steps_per_epoch
        self.seconds = seconds
        self.devices = devices or Devices()
        self.saved_at = time.monotonic()
        self.stop_requested = False
        self.running_means = None
        self.handlers = {}

    def restore(self, model):
        """Restores the newest checkpoint.

        Returns:
            Integer, the number of steps done.

        Raises:
            CheckpointError: if there are checkpoints and none can be used.
            ValueError: if other workers restored other checkpoints.
        """
        restored = self.checkpoints.restore()
        step, extra, arrays = restored or (0, {}, [])
        self.devices.check_same("checkpoints: they need one --workdir, which all can read", step)
        arrays = iter(arrays)
        for name, callback in self.saved_callbacks.items():
            callback.choice = extra.get(name)
            callback.weights = list(itertools.islice(arrays, extra.get(f"{name}_arrays")))
        if step % self.steps_per_epoch:
            # `fit` resets the metrics at the start of what it takes for a whole epoch.
            self.running_means = [v.numpy() for v in model.metrics_variables]
        if self.devices.chief:
            self._cut_back_records(step // self.steps_per_epoch)
        return step

    def _cut_back_records(self, epochs):
        self.workdir.forget_epochs(epochs)
        if len(self.workdir.epochs()) < epochs:
            raise CheckpointError(
                f"{self.workdir.metrics} has fewer epochs than the checkpoint; remove "
                f"{self.checkpoints.directory} to start the run anew"
            )

    def __enter__(self):
        def request(signum, frame):
            if self.stop_requested:
                raise Stopped("stopped at once; the same command goes on from the last checkpoint")
            self.stop_requested = True

        for signum in (signal.SIGTERM, signal.SIGINT):
            self.handlers[signum] = signal.signal(signum, request)
        return self

    def __exit__(self, kind, error, traceback):
        for signum, handler in self.handlers.items():
            signal.signal(signum, handler)
        if self.stop_requested and error is None:
            raise Stopped("stopped after the last step; the same command goes on from there")

    def on_epoch_begin(self, epoch, logs=None):
        if self.running_means is not None:
            for variable, value in zip(
                self.model.metrics_variables, self.running_means, strict=True
            ):
                variable.assign(value)
            self.running_means = None

    def on_train_batch_end(self, batch, logs=None):
        passing("step")
        due = time.monotonic() - self.saved_at >= self.seconds
        if not self.devices.any(due or self.stop_requested):
            return
        # The last step of an epoch is saved with the epoch's records, after the validation.
        if int(self.model.optimizer.iterations.numpy()) % self.steps_per_epoch:
            self._save()

    def on_epoch_end(self, epoch, logs=None):
        passing("epoch")
        self._save()

    def _save(self):
        step = int(self.model.optimizer.iterations.numpy())
        extra, arrays = {}, []
        for name, callback in self.saved_callbacks.items():
            extra |= {name: callback.choice, f"{name}_arrays": len(callback.weights)}
            arrays += callback.weights
        self.checkpoints.save(step, extra, arrays)
        self.saved_at = time.monotonic()
        if self.devices.any(self.stop_requested):
            raise Stopped(f"stopped after step {step}; the same command goes on from there")
