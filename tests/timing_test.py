"""Latency is measured; no figure is asserted."""

import types

import keras
import pytest

from anp_tf import timing
from anp_tf.timing import median_latency


def network(units):
    return keras.Sequential([keras.Input((4, 4, 2)), keras.layers.Flatten(), keras.layers.Dense(units)])  # fmt: skip # noqa: E501


@pytest.mark.parametrize("batch_size", [1, 256])
def test_a_figure_for_each_network(batch_size):
    measured = median_latency({"large": network(30), "small": network(2)}, batch_size, repeats=3)
    assert list(measured) == ["large", "small"]
    assert all(isinstance(value, float) and 0 < value < 60_000 for value in measured.values())


def test_is_the_median_in_milliseconds_of_the_calls_that_count(monkeypatch):
    clock = iter([0, 100, 200, 300, 303, 400, 401, 500, 502])  # the first three do not count
    monkeypatch.setattr(timing, "time", types.SimpleNamespace(perf_counter=lambda: next(clock)))
    assert median_latency({"one": network(2)}, 1, repeats=3) == {"one": 2000}
    assert next(clock, None) is None
