"""Counts the processor time that a run's training takes."""

import time

import keras


class Clock(keras.callbacks.Callback):
    """Counts the seconds of processor time that this process spends on an epoch, on all cores.

    Unlike the time on the wall it does not depend on what else the machine does. What is counted
    is training and validation, of the steps that made the network: those after a checkpoint that a
    run did not go on from do not count. An epoch's seconds are in its logs as `core_seconds`.

    Attributes:
        choice: Dict of the seconds `within` the epoch so far, part of the run's state.
        weights: Empty: no arrays are part of it.
    """

    def __init__(self):
        super().__init__()
        self.within, self.since, self.weights = 0.0, None, []

    @property
    def choice(self):
        return {"within": self.within + self._running()}

    @choice.setter
    def choice(self, value):
        self.within, self.since = (value or {}).get("within", 0.0), None

    def on_epoch_begin(self, epoch, logs=None):
        self.since = time.process_time()

    def on_epoch_end(self, epoch, logs=None):
        logs["core_seconds"] = round(self.within + self._running(), 2)
        self.within, self.since = 0.0, None

    def _running(self):
        return 0.0 if self.since is None else time.process_time() - self.since
