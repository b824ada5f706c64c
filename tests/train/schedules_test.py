"""Rates over a run, against NumPy."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anp_tf.methods import METHODS
from anp_tf.settings import Settings
from anp_tf.train.build import _mask_freeze_step
from anp_tf.train.schedules import PiecewiseLinear, schedules


def rates(schedule, steps):
    return np.array([float(schedule(step)) for step in steps])


@given(
    st.lists(
        st.tuples(st.floats(1, 1e4), st.floats(0, 1)), min_size=1, max_size=5, unique_by=lambda p: int(p[0])  # noqa: E501
    ).map(sorted),
    st.lists(st.integers(0, 12_000), min_size=1, max_size=5),
)  # fmt: skip
def test_piecewise_linear_is_numpys_interpolation(points, steps):
    xs, ys = zip(*points, strict=True)
    if len(xs) > 1 and np.diff(xs).min() < 0.1:
        return
    expected = np.interp(steps, xs, ys)
    np.testing.assert_allclose(rates(PiecewiseLinear(xs, ys), steps), expected, atol=2e-3)


def test_piecewise_linear_at_and_between_its_points():
    schedule = PiecewiseLinear([10, 20, 40], [0.5, 1.0, 0.0])
    expected = [0.5, 0.5, 0.75, 1.0, 0.5, 0.0, 0.0]
    np.testing.assert_allclose(rates(schedule, [0, 10, 15, 20, 30, 40, 99]), expected, atol=1e-7)


@pytest.mark.parametrize(
    ("steps", "values"), [([0, 1], [1]), ([1, 0], [1, 1]), ([1, 1], [1, 1]), ([0], [])]
)
def test_piecewise_linear_errors(steps, values):
    with pytest.raises(ValueError, match=r"must have the same length.* Received: steps=\["):
        PiecewiseLinear(steps, values)


def test_piecewise_linear_is_saved_with_its_optimizer():
    schedule = PiecewiseLinear([0, 5], [1.0, 0.0])
    again = PiecewiseLinear.from_config(schedule.get_config())
    assert rates(again, range(7)).tolist() == rates(schedule, range(7)).tolist()


def test_paper_divides_both_rates_by_10_at_50_and_70_percent():
    weights, masks = schedules(Settings(), 200)
    steps = np.arange(200)
    factor = np.where(steps <= 100, 1, np.where(steps <= 140, 0.1, 0.01))
    np.testing.assert_allclose(rates(weights, steps), 1e-3 * factor, rtol=1e-6)
    np.testing.assert_allclose(rates(masks, steps), 1e-2 * factor, rtol=1e-6)


@pytest.mark.parametrize("total", [1, 2, 3, 7])
def test_paper_steps_of_a_very_short_run(total):
    weights, _ = schedules(Settings(), total)
    values = rates(weights, range(total))
    assert values[0] == np.float32(1e-3)
    assert np.all(np.diff(values) <= 0)


def test_no_decay():
    weights, masks = schedules(Settings(decay_at=()), 100)
    np.testing.assert_allclose(rates(weights, [0, 50, 99, 200]), 1e-3, rtol=1e-6)
    np.testing.assert_allclose(rates(masks, [0, 50, 99, 200]), 1e-2, rtol=1e-6)


def test_one_cycle():
    settings = Settings(
        schedule="one_cycle", learning_rate=4.0, mask_learning_rate=2.0, peak_at=0.25
    )
    weights, masks = schedules(settings, 100)
    steps = np.arange(101)
    np.testing.assert_allclose(
        rates(weights, steps), np.interp(steps, [0, 25, 100], [0, 4, 0]), atol=1e-6
    )
    np.testing.assert_allclose(rates(masks, steps), np.interp(steps, [80, 100], [2, 0]), atol=1e-6)


@pytest.mark.parametrize(
    ("options", "end"),
    [
        ({"mask_freeze_at": 0.2}, 20),
        ({"mask_freeze_at": 0.2, "method": "at"}, 0),
        ({"method": "magnitude", "prune_until": 0.2}, 20),
        ({"method": "magnitude", "prune_until": 0.001}, 0.1),
        ({}, 0),
    ],
)
def test_restart_is_a_cycle_up_to_the_end_of_the_pruning_and_another(options, end):
    settings = Settings(schedule="restart", learning_rate=2.0, peak_at=0.25, **options)
    weights, _ = schedules(settings, 100)
    steps = np.arange(101)
    points, values = [end, end + 0.25 * (100 - end), 100], [0.6 if end else 0.0, 2.0, 0.0]
    if end > 1:
        points, values = [0, 5, 19, *points], [0, 2, 0, *values]
    np.testing.assert_allclose(rates(weights, steps), np.interp(steps, points, values), atol=1e-5)


@pytest.mark.parametrize("name", ["step", "one_cycle"])
def test_optimizers_take_them(name):
    for schedule in schedules(Settings(schedule=name), 10):
        assert keras.optimizers.Adam(schedule).learning_rate >= 0


def test_the_masks_rate_is_0_where_they_are_fixed():
    settings = Settings(schedule="one_cycle", mask_decay_at=0.4, mask_freeze_at=0.6)
    weights, masks = schedules(settings, 100)
    expected = np.interp(np.arange(100), [40, 60], [1e-2, 0])
    np.testing.assert_allclose(rates(masks, np.arange(100)), expected, atol=1e-8)
    assert rates(weights, [80])[0] > 0
    _, masks = schedules(Settings(mask_freeze_at=0.6), 100)
    assert rates(masks, [50, 51, 59, 60, 99]) == pytest.approx([1e-2, 1e-3, 1e-3, 0, 0])


@pytest.mark.parametrize("name", ["step", "one_cycle", "restart"])
@pytest.mark.parametrize("share", [0.05, 0.48, 0.5, 0.52])
def test_no_step_changes_masks_that_are_fixed(name, share):
    settings = Settings(schedule=name, mask_freeze_at=share, decay_at=(0.45, 0.5))
    freeze = _mask_freeze_step(settings, METHODS["anp_vs"], 20)
    _, masks = schedules(settings, 20)
    found = rates(masks, np.arange(21))
    assert np.all(found[freeze:] == 0)
    assert np.all(found[:freeze] > 0)


def test_masks_that_are_fixed_before_their_rate_falls():
    settings = Settings(schedule="one_cycle", mask_decay_at=0.9, mask_freeze_at=0.5)
    _, masks = schedules(settings, 100)
    assert rates(masks, [0, 49, 50, 99]) == pytest.approx([1e-2, 1e-2, 0, 0])
