"""The information bottleneck against NumPy and SciPy; what masks share is in masks_test."""

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
import tensorflow as tf

from anp_tf.layers import InformationBottleneck


def layer_with(mu, logvar, **kwargs):
    layer = InformationBottleneck(**kwargs)
    layer.build((None, len(mu)))
    layer.mu.assign(mu)
    layer.logvar.assign(logvar)
    return layer


def divergence_from_the_best_prior(mu, variance):
    """min over v of KL(N(mu, variance) || N(0, v)), by search."""

    def divergence(log_v):
        return (log_v - np.log(variance) + (variance + mu**2) / np.exp(log_v) - 1) / 2

    return scipy.optimize.minimize_scalar(divergence, bounds=(-30, 30), method="bounded").fun


@pytest.mark.parametrize(
    ("mu", "logvar"), [(1.0, -9.0), (0.3, -2.0), (-2.0, 1.0), (0.05, 0.0), (0.0, -3.0), (9.0, 15.0)]
)
def test_divergence_is_that_from_the_best_prior(mu, logvar):
    expected = divergence_from_the_best_prior(mu, np.exp(logvar))
    layer = layer_with([mu] * 3, [logvar] * 3)
    np.testing.assert_allclose(layer.kl(), 3 * expected, rtol=1e-3, atol=1e-6)


def test_gradient_of_the_divergence():
    mu, logvar = np.array([1.0, -0.3, 2.0, 0.01]), np.array([-9.0, -1.0, 3.0, 0.0])
    layer = layer_with(mu, logvar)
    with tf.GradientTape() as tape:
        kl = layer.kl()
    in_mu, in_logvar = tape.gradient(kl, [layer.mu, layer.logvar])
    step = 1e-5

    def total(mu, logvar):
        pairs = zip(mu, np.exp(logvar), strict=True)
        return [divergence_from_the_best_prior(*pair) for pair in pairs]

    for actual, (by_mu, by_logvar) in ((in_mu, (step, 0)), (in_logvar, (0, step))):
        above = np.array(total(mu + by_mu, logvar + by_logvar))
        below = np.array(total(mu - by_mu, logvar - by_logvar))
        np.testing.assert_allclose(actual, (above - below) / (2 * step), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("mu", "logvar"), [(1.0, -9.0), (-0.5, 0.0), (0.2, 1.5)])
def test_draws_and_their_gradient(mu, logvar):
    n, units = 20_000, 4
    layer = layer_with([mu] * units, [logvar] * units)
    with tf.GradientTape(persistent=True) as tape:
        draws = layer.training_mask(n // units, tf.constant([1, 2]))
        first, second = tf.reduce_sum(draws), tf.reduce_sum(tf.square(draws))
    sigma = np.exp(logvar / 2)
    values = np.ravel(draws)
    assert scipy.stats.kstest(values, scipy.stats.norm(mu, sigma).cdf).pvalue > 1e-3
    assert len(np.unique(values)) > 0.9 * n  # examples and units have their own
    np.testing.assert_allclose(tape.gradient(first, layer.mu), [n / units] * units, rtol=1e-5)
    # E[z^2] = mu^2 + sigma^2, whose derivative in log sigma^2 is sigma^2; that of one draw is
    # z sigma eps.
    gradient = np.sum(tape.gradient(second, layer.logvar)) / n
    standard_error = np.std(values * (values - mu)) / np.sqrt(n)
    np.testing.assert_allclose(gradient, sigma**2, rtol=0, atol=4 * standard_error)


def test_inference_mask_and_what_is_pruned():
    mu = np.array([1.0, 1.0, 1.0, -0.1, -0.1, 0.0, 0.0])
    ratio = np.array([-1e-3, 0.0, 1e-3, -0.5, 0.5, -50.0, 0.0])
    logvar = np.log(mu**2 + 1e-8) + ratio
    logvar[1] = 0.0  # log(1 + 1e-8) in float32: at the threshold
    layer = layer_with(mu, logvar)
    np.testing.assert_allclose(layer.inference_mask(), [1, 0, 0, -0.1, 0, 0, 0], rtol=1e-6)
    np.testing.assert_array_equal(layer.active_units(), np.array([1, 0, 0, 1, 0, 0, 0], bool))
    strict = layer_with(mu, logvar, threshold=-0.6)
    assert not np.any(strict.active_units())
    lenient = layer_with(mu, logvar, threshold=0.6)
    np.testing.assert_array_equal(lenient.active_units(), np.array([1, 1, 1, 1, 1, 0, 0], bool))
    assert np.all(np.array(layer(np.full((2, 7), np.float32(1e30))))[:, [1, 2, 4, 5, 6]] == 0.0)


def test_start():
    layer = InformationBottleneck(initial_mean=0.5, initial_logvar=-3.0, seed=1)
    layer.build((None, 2000))
    for variable, mean in ((layer.mu, 0.5), (layer.logvar, -3.0)):
        np.testing.assert_allclose(np.mean(variable), mean, atol=2e-3)
        np.testing.assert_allclose(np.std(variable), 0.01, rtol=0.1)
    assert abs(np.corrcoef(layer.mu, layer.logvar)[0, 1]) < 0.1
    assert np.all(layer.active_units())
