"""The time that a run's training takes, over its stops."""

import pytest

from anp_tf.train import clock


def test_an_epoch_that_was_stopped_counts_what_was_before(monkeypatch):
    now = {"seconds": 100.0, "core_seconds": 7.0}
    readers = {name: lambda name=name: now[name] for name in now}
    monkeypatch.setattr(clock, "CLOCKS", readers)

    def passes(seconds, core_seconds):
        now["seconds"] += seconds
        now["core_seconds"] += core_seconds

    first = clock.Clock()
    first.on_epoch_begin(0)
    passes(5, 9)
    state = first.choice  # as a checkpoint has it
    passes(50, 90)  # in steps after the checkpoint, which are made again
    again = clock.Clock()
    again.choice = state
    now.update(seconds=1000.0, core_seconds=1.0)  # in another process
    passes(20, 30)  # between the start and the epoch
    again.on_epoch_begin(0)
    passes(2, 3)
    logs = {"loss": 1.0}
    again.on_epoch_end(0, logs)
    assert logs == pytest.approx({"loss": 1.0, "seconds": 7.0, "core_seconds": 12.0})
    assert again.choice == {"seconds": 0.0, "core_seconds": 0.0}
    again.on_epoch_begin(1)
    passes(1, 2)
    again.on_epoch_end(1, logs)
    assert logs == pytest.approx({"loss": 1.0, "seconds": 1.0, "core_seconds": 2.0})
