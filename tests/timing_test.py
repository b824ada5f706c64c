"""Latency is measured in turns, and said to differ where it does."""

import types

import keras
import pytest

from anp_tf import timing
from anp_tf.timing import latencies, latency_names, latency_text, median_times


def network(units):
    return keras.Sequential([keras.Input((4, 4, 2)), keras.layers.Flatten(), keras.layers.Dense(units)])  # fmt: skip # noqa: E501


def test_a_figure_for_each_network():
    measured = latencies({"large": network(30), "small": network(2)}, 256, repeats=3)
    assert list(measured) == ["large", "large_quartiles", "small", "small_quartiles"]
    for name in ("large", "small"):
        low, high = measured[f"{name}_quartiles"]
        assert 0 < low <= measured[name] <= high < 60_000


@pytest.fixture
def clock(monkeypatch):
    """A list of the seconds that the next calls take; none are left after the last one."""
    seconds = []

    def ticks():
        now = 0.0
        while True:
            yield now
            now += seconds.pop(0)
            yield now

    ticking = ticks()
    monkeypatch.setattr(timing, "time", types.SimpleNamespace(perf_counter=lambda: next(ticking)))
    return seconds


def test_medians_and_quartiles_of_the_calls_that_count(clock):
    clock += [100.0] * timing.WARM_UPS + [5.0, 1.0, 3.0, 2.0, 4.0]
    assert latencies({"one": network(2)}, 1, repeats=5) == {
        "one": 3000,
        "one_quartiles": [2e3, 4e3],
    }
    assert not clock


def test_functions_take_turns_and_neither_is_always_first(clock):
    clock += [1.0] * 8
    turns = []
    calls = {name: lambda name=name: turns.append(name) for name in "ab"}
    assert median_times(calls, repeats=3, warm_ups=1) == {"a": 1000, "b": 1000}
    assert turns == [*"ba", *"ab", *"ba", *"ab"]


def row(dense, slim, flops=(10, 5), **quartiles):
    times = {"dense": dense, "slim": slim, **quartiles}
    return dict(zip(("dense_flops", "slim_flops"), flops, strict=True)) | {
        "latency_milliseconds": {"1": times}
    }


@pytest.mark.parametrize(
    ("row", "names"),
    [
        (row(2.71, 1.07, dense_quartiles=[2.5, 3], slim_quartiles=[1, 1.2]), ["dense", "slim"]),
        (row(1.07, 2.71, dense_quartiles=[1, 1.2], slim_quartiles=[2.5, 3]), ["dense", "slim"]),
        (row(2.71, 1.07, dense_quartiles=[1.1, 3], slim_quartiles=[1, 1.2]), ["slim"]),
        (row(1.07, 2.71, dense_quartiles=[1, 2.6], slim_quartiles=[2.5, 3]), ["slim"]),
        (row(2.71, 1.07, (5, 5), dense_quartiles=[2.5, 3], slim_quartiles=[1, 1.2]), ["slim"]),
        (row(2.71, 1.07), ["dense", "slim"]),  # a row of before spreads were measured
    ],
)
def test_two_figures_only_where_they_differ(row, names):
    assert latency_names(row, "1") == names


def test_a_latency_in_words():
    times = row(2.711, 1.0, dense_quartiles=[2.5, 3.0])["latency_milliseconds"]["1"]
    assert latency_text(times, "dense") == "2.71 ± 0.25"
    assert latency_text(times, "slim") == "1.00"
