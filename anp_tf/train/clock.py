"""Counts the time that a run's training takes."""

import time

import keras

# By their names in an epoch's logs: time on the wall, and that of the processor.
CLOCKS = {"seconds": time.perf_counter, "core_seconds": time.process_time}


class Clock(keras.callbacks.Callback):
    """Counts the seconds of an epoch, and those of processor time on all cores.

    Unlike the time on the wall, that of the processor does not depend on what else the machine
    does. What is counted is training and validation, of the steps that made the network: those
    after a checkpoint that a run did not go on from do not count. They are in an epoch's logs, as
    `seconds` and `core_seconds`.

    Attributes:
        choice: Dict of both within the epoch so far, part of the run's state.
        weights: Empty: no arrays are part of it.
    """

    def __init__(self):
        super().__init__()
        self.before, self.since, self.weights = dict.fromkeys(CLOCKS, 0.0), None, []

    @property
    def choice(self):
        return {name: round(value, 2) for name, value in self._within().items()}

    @choice.setter
    def choice(self, value):
        self.before, self.since = dict.fromkeys(CLOCKS, 0.0) | (value or {}), None

    def on_epoch_begin(self, epoch, logs=None):
        self.since = _now()

    def on_epoch_end(self, epoch, logs=None):
        logs |= self.choice
        self.choice = None

    def _within(self):
        now = _now()
        since = now if self.since is None else self.since
        return {name: self.before[name] + now[name] - since[name] for name in CLOCKS}


def _now():
    return {name: read() for name, read in CLOCKS.items()}
