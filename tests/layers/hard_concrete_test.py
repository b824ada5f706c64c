"""Hard concrete gates against the concrete density; what masks share is in masks_test."""

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import tensorflow as tf

from anp_tf.layers import HardConcrete
from anp_tf.layers.hard_concrete import hard_concrete

# log a, temperature, stretch
CASES = [
    pytest.param(0.0, 2 / 3, (-0.1, 1.1), id="default"),
    pytest.param(-2.5, 2 / 3, (-0.1, 1.1), id="mostly-zero"),
    pytest.param(2.0, 2 / 3, (-0.1, 1.1), id="mostly-one"),
    pytest.param(0.7, 1.5, (-0.3, 1.2), id="other"),
]


def layer_with(log_a, **kwargs):
    layer = HardConcrete(**kwargs)
    layer.build((None, len(log_a)))
    layer.log_a.assign(log_a)
    return layer


def concrete_density(s, log_a, temperature):
    """The density of the binary concrete distribution (Maddison et al. 2017, appendix)."""
    a, t = np.exp(log_a), temperature
    numerator = t * a * s ** (-t - 1) * (1 - s) ** (-t - 1)
    return numerator / (a * s**-t + (1 - s) ** -t) ** 2


def integral(function, log_a, temperature, low=0.0, high=1.0):
    """The mean of a function of s, where low < s < high."""
    return scipy.integrate.quad(
        lambda s: function(s) * concrete_density(s, log_a, temperature), low, high, limit=500
    )[0]


def shares_and_mean(log_a, temperature, stretch):
    """P(z = 0), P(z = 1) and E[z], by integration."""
    width, low = stretch[1] - stretch[0], stretch[0]
    ends = (-low / width, (1 - low) / width)
    zero = integral(lambda s: 1.0, log_a, temperature, high=ends[0])
    one = integral(lambda s: 1.0, log_a, temperature, low=ends[1])
    return zero, one, one + integral(lambda s: width * s + low, log_a, temperature, *ends)


@pytest.mark.parametrize(("log_a", "temperature", "stretch"), CASES)
def test_penalty_is_the_expected_number_of_nonzero_units(log_a, temperature, stretch):
    layer = layer_with([log_a] * 3, temperature=temperature, stretch=stretch, unit_cost=25.0)
    zero, _, _ = shares_and_mean(log_a, temperature, stretch)
    np.testing.assert_allclose(layer.keep_probabilities(), [1 - zero] * 3, rtol=1e-5)
    np.testing.assert_allclose(layer.kl(), 3 * 25.0 * (1 - zero), rtol=1e-5)


@pytest.mark.parametrize(("log_a", "temperature", "stretch"), CASES)
def test_draws_and_their_gradient(log_a, temperature, stretch):
    n = 100_000
    layer = layer_with([log_a] * 4, temperature=temperature, stretch=stretch)
    with tf.GradientTape() as tape:
        draws = layer.training_mask(n // 4, tf.constant([1, 2]))
        total = tf.reduce_sum(draws)
    gradient = np.sum(tape.gradient(total, layer.log_a)) / n
    draws = np.array(draws, np.float64)
    zero, one, mean = shares_and_mean(log_a, temperature, stretch)
    for actual, share in ((draws == 0, zero), (draws == 1, one)):
        standard_error = np.sqrt(share * (1 - share) / n)
        np.testing.assert_allclose(actual.mean(), share, rtol=0, atol=4 * standard_error)
    np.testing.assert_allclose(draws.mean(), mean, rtol=0, atol=4 * draws.std() / np.sqrt(n))
    above, below = (shares_and_mean(log_a + h, temperature, stretch)[2] for h in (1e-4, -1e-4))
    # The derivative of a draw is at most its steepest, (high - low) / (4 temperature).
    bound = (stretch[1] - stretch[0]) / (4 * temperature)
    slope = (above - below) / 2e-4
    assert slope > 0.03
    np.testing.assert_allclose(gradient, slope, rtol=0, atol=4 * bound / np.sqrt(n))


def test_examples_and_units_have_their_own_draws():
    draws = np.array(layer_with([0.0] * 50).training_mask(400, tf.constant([1, 2])))
    open_gates = (draws > 0.5).astype(np.float64)
    for axis in (0, 1):
        # By chance alone, the means of 0 or 1 over an axis of length n have variance 1/(4 n).
        n = open_gates.shape[axis]
        np.testing.assert_allclose(open_gates.mean(axis).var(), 1 / (4 * n), rtol=0.6)


def test_inference_mask_and_what_is_pruned():
    border = np.log(1 / 11)
    log_a = [-30.0, np.log(0.01), border - 1e-3, border + 1e-3, 0.0, 1.0, np.log(100), 30.0]
    layer = layer_with(log_a)
    values = np.clip(1.2 * scipy.special.expit(log_a) - 0.1, 0, 1)
    np.testing.assert_allclose(layer.inference_mask(), values, atol=1e-6)
    np.testing.assert_array_equal(layer.active_units(), [False] * 3 + [True] * 5)
    assert np.all(np.array(layer.inference_mask())[[-2, -1]] == 1.0)
    x = np.full((2, 8), np.float32(1e30))
    assert np.all(np.array(layer(x))[:, :3] == 0.0)


@pytest.mark.parametrize("uniform", [0.0, 1e-42, 2.0**-24, 0.5, 1 - 2.0**-24, 1.0])
@pytest.mark.parametrize("temperature", [0.05, 2 / 3, 10.0])
def test_finite_for_every_uniform(uniform, temperature):
    log_a = tf.constant([np.log(0.01), 0.0, np.log(100)], tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(log_a)
        z = hard_concrete(tf.constant(uniform, tf.float32), log_a, temperature, (-0.1, 1.1))
    inside = np.clip(np.float32(uniform), np.float32(2.0**-24), np.float32(1 - 2.0**-24))
    s = scipy.special.expit((scipy.special.logit(np.float64(inside)) + log_a) / temperature)
    np.testing.assert_allclose(z, np.clip(1.2 * s - 0.1, 0, 1), rtol=1e-4, atol=1e-6)
    assert np.all(np.isfinite(tape.gradient(z, log_a)))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.95])
def test_start(rate):
    layer = HardConcrete(initial_drop_rate=rate, seed=1)
    layer.build((None, 2000))
    start = np.array(layer.log_a)
    np.testing.assert_allclose(start.mean(), scipy.special.logit(1 - rate), atol=2e-3)
    np.testing.assert_allclose(start.std(), 0.01, rtol=0.1)
    assert np.all(layer.active_units()) == (rate < 10 / 11)


def test_stretch_from_a_list():
    layer = HardConcrete(stretch=[-0.2, 1.3])
    assert layer.get_config()["stretch"] == (-0.2, 1.3)
