"""Log-normal dropout against quadrature and SciPy; what masks share is in masks_test."""

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from anp_tf.layers import LogNormalDropout
from anp_tf.truncated_normal import mills_ratio

GRID = np.meshgrid(
    [-20.0, -19.5, -10.0, -1.0, -1e-3, 0.0, 1e-3, 0.5, 5.0],
    [-20.0, -10.0, -5.0, -3.0, -2.3, -1.7, -1.0, 0.0, 1.0, 2.0, 5.0],
)
MU, LOG_SIGMA = (values.ravel().astype(np.float32).astype(np.float64) for values in GRID)
SIGMA = np.exp(LOG_SIGMA)
NODES, WEIGHTS = np.polynomial.legendre.leggauss(16)


def quadrature(mu, sigma):
    """Moments of one unit by quadrature in x, the distance of h from the density's top.

    The scale is the density's own: sigma, or sigma^2 / mu where the top is the interval's end.
    Derivatives are covariances with those of the log density.
    """
    top = min(mu, 0.0)
    scale = min(sigma, sigma**2 / mu) if mu > 0 else sigma
    ends = max(-20.0 - top, -45 * scale) / scale, min(-top, 45 * scale) / scale
    edges = np.linspace(*ends, 201)
    half = np.diff(edges)[:, None] / 2
    x = scale * np.ravel(edges[:-1, None] + half * (1 + NODES))
    exponent = x * (x + 2 * (top - mu)) / (2 * sigma**2)
    density = np.exp(-exponent) * scale * np.ravel(half * WEIGHTS)
    integral = density.sum()
    density /= integral

    def mean(values):
        return density @ values

    def covariance(f, g):
        return mean((f - mean(f)) * (g - mean(g)))

    z = np.exp(top + x)
    return {
        "kl": np.log(20) - np.log(integral) - mean(exponent),
        "kl by mu": -covariance(exponent, x) / sigma**2,
        "kl by log sigma": -2 * covariance(exponent, exponent),
        "mean": mean(z),
        "mean by mu": covariance(z, x) / sigma**2,
        "mean by log sigma": 2 * covariance(z, exponent),
        "signal to noise": mean(z) / np.sqrt(max(covariance(z, z), 1e-300)),
    }


@pytest.fixture(scope="module")
def oracle():
    """The quadrature's results on the grid, by name."""
    rows = [quadrature(*point) for point in zip(MU, SIGMA, strict=True)]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def layer_with(mu, log_sigma, **kwargs):
    layer = LogNormalDropout(**kwargs)
    layer.build((None, len(mu)))
    layer.mu.assign(mu)
    layer.log_sigma.assign(log_sigma)
    return layer


@pytest.fixture
def grid():
    """A layer with a unit for every point of the grid."""
    return layer_with(MU, LOG_SIGMA)


def test_mills_ratio_and_its_gradient():
    x = np.concatenate([np.linspace(0, 60, 241), np.geomspace(60, 1e10, 40)])
    with tf.GradientTape() as tape:
        x_tensor = tf.constant(x)
        tape.watch(x_tensor)
        ratio = mills_ratio(x_tensor)
    log_ratio = scipy.stats.norm.logsf(x) - scipy.stats.norm.logpdf(x)
    exact = x < 1e4  # beyond, SciPy's logarithms cancel
    np.testing.assert_allclose(ratio[exact], np.exp(log_ratio[exact]), rtol=1e-7)
    np.testing.assert_allclose(ratio[~exact], 1 / x[~exact], rtol=1e-7)
    # R' = x R - 1, which lies between -1/(x^2 + 1) and -1/(x^2 + 3).
    gradient = tape.gradient(ratio, x_tensor)
    np.testing.assert_allclose(gradient[x < 20], (x * ratio - 1)[x < 20], rtol=1e-9)
    far = x > 20
    assert np.all(gradient[far] >= -(1 + 1e-10) / (x[far] ** 2 + 1))
    assert np.all(gradient[far] <= -(1 - 1e-10) / (x[far] ** 2 + 3))


def test_divergence(grid, oracle):
    with tf.GradientTape() as tape:
        kl = grid.posterior().kl_uniform()
    np.testing.assert_allclose(kl, oracle["kl"], rtol=1e-9)
    np.testing.assert_allclose(grid.kl(), oracle["kl"].sum(), rtol=1e-6)
    by_mu, by_log_sigma = tape.gradient(kl, [grid.mu, grid.log_sigma])
    # In units of sigma, since the scale of the gradient in mu is 1 / sigma.
    np.testing.assert_allclose(by_mu * SIGMA, oracle["kl by mu"] * SIGMA, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(by_log_sigma, oracle["kl by log sigma"], rtol=1e-5, atol=1e-7)
    pushed = MU / SIGMA > 40  # an exponential distribution, of rate mu / sigma^2
    np.testing.assert_allclose(by_mu[pushed], 1 / MU[pushed], rtol=2e-3)


def test_expected_mask(grid, oracle):
    with tf.GradientTape() as tape:
        mean = tf.math.exp(grid.posterior().log_moment(1.0))
    np.testing.assert_allclose(mean, oracle["mean"], rtol=1e-6)
    by_mu, by_log_sigma = tape.gradient(mean, [grid.mu, grid.log_sigma])
    np.testing.assert_allclose(by_mu, oracle["mean by mu"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(by_log_sigma, oracle["mean by log sigma"], rtol=1e-5, atol=1e-7)
    ratio = np.minimum(oracle["signal to noise"], 1e4)
    np.testing.assert_allclose(np.minimum(grid.signal_to_noise(), 1e4), ratio, rtol=1e-5)
    pruned = ratio <= 1
    assert 5 < pruned.sum() < pruned.size - 5
    np.testing.assert_array_equal(grid.active_units(), ~pruned)
    mask = np.array(grid.inference_mask())
    assert np.all(mask[pruned] == 0.0)
    np.testing.assert_allclose(mask[~pruned], oracle["mean"][~pruned], rtol=1e-6)


def test_formulas_of_the_paper():
    """The textbook forms of the divergence and of E[z], where they do not cancel."""
    mu, sigma = np.array([-3.0, -0.5, 0.0, 1.0]), np.array([2.0, 0.3, 1.0, 0.8])
    layer = layer_with(mu, np.log(sigma))
    normal = scipy.stats.norm
    A, B = (-20 - mu) / sigma, -mu / sigma
    Z = normal.cdf(B) - normal.cdf(A)
    kl = np.log(20) - np.log(2 * np.pi * np.e) / 2 - np.log(sigma) - np.log(Z)
    kl -= (A * normal.pdf(A) - B * normal.pdf(B)) / (2 * Z)
    np.testing.assert_allclose(layer.posterior().kl_uniform(), kl, rtol=1e-6)
    mean = np.exp(mu + sigma**2 / 2) * (normal.cdf(B - sigma) - normal.cdf(A - sigma)) / Z
    np.testing.assert_allclose(np.exp(layer.posterior().log_moment(1.0)), mean, rtol=1e-6)
    frozen = scipy.stats.truncnorm(A, B, mu, sigma)
    np.testing.assert_allclose(frozen.entropy(), np.log(20) - kl, rtol=1e-6)


def test_threshold():
    layer = layer_with([0.0, -1.0, -3.0], [-2.0, 0.0, 1.0])
    low, middle, high = np.sort(layer.signal_to_noise())
    for threshold, kept in ((low * 0.9, 3), (middle * 0.99, 2), (middle, 1), (high, 0)):
        layer.threshold = float(threshold)
        assert np.count_nonzero(layer.active_units()) == kept


@pytest.mark.parametrize(
    ("mu", "sigma"), [(0.0, 0.5), (-3.0, 2.0), (-19.0, 3.0), (0.4, 0.1), (3.0, 4.0)]
)
def test_draws_have_the_distribution(mu, sigma):
    layer = layer_with([mu] * 5000, [np.log(sigma)] * 5000)
    z = np.array(layer.training_mask(1, tf.constant([1, 2])))[0]
    frozen = scipy.stats.truncnorm((-20 - mu) / sigma, -mu / sigma, mu, sigma)
    assert scipy.stats.kstest(np.log(z), frozen.cdf).pvalue > 1e-3


def test_pathwise_gradients_are_those_of_the_mean(grid, oracle):
    """Averaged over an even grid of u, for every point of the parameter grid."""
    uniform = ((np.arange(4000) + 0.5) / 4000).astype(np.float32)[:, None]
    with tf.GradientTape() as tape:
        mean = tf.reduce_mean(tf.math.exp(grid.posterior().quantile(uniform)), axis=0)
    by_mu, by_log_sigma = tape.gradient(mean, [grid.mu, grid.log_sigma])
    np.testing.assert_allclose(mean, oracle["mean"], rtol=1e-3, atol=2e-5)
    np.testing.assert_allclose(by_mu, oracle["mean by mu"], rtol=1e-3, atol=2e-5)
    np.testing.assert_allclose(by_log_sigma, oracle["mean by log sigma"], rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize(("mu", "sigma"), [(-2.0, 1.5), (0.3, 0.2), (-19.0, 4.0), (2.0, 50.0)])
def test_quantiles_and_their_gradients(mu, sigma):
    uniform = np.array([1e-4, 0.1, 0.5, 0.9, 0.999], np.float32)

    def quantile(mu, sigma):
        bounds = (-20 - mu) / sigma, -mu / sigma
        return scipy.stats.truncnorm(*bounds, mu, sigma).ppf(np.float64(uniform))

    layer = layer_with([mu] * 5, [np.log(sigma)] * 5)
    with tf.GradientTape() as tape:
        h = layer.posterior().quantile(uniform)
    np.testing.assert_allclose(h, quantile(mu, sigma), rtol=1e-5)
    step = 1e-5
    by_mu = (quantile(mu + step, sigma) - quantile(mu - step, sigma)) / (2 * step)
    above, below = (quantile(mu, sigma * np.exp(s)) for s in (step, -step))
    by_log_sigma = (above - below) / (2 * step)
    actual = tape.gradient(h, [layer.mu, layer.log_sigma])
    np.testing.assert_allclose(actual[0], by_mu, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(actual[1], by_log_sigma, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("uniform", [0.0, 1e-42, 2.0**-24, 0.5, 1 - 2.0**-24, 1.0])
def test_finite_for_every_uniform(grid, uniform):
    with tf.GradientTape() as tape:
        h = grid.posterior().quantile(tf.fill(MU.shape, np.float32(uniform)))
    assert np.all((h >= -20) & (h <= 0))
    by_mu, by_log_sigma = tape.gradient(h, [grid.mu, grid.log_sigma])
    # A shift of mu moves h by at most as much, and never the other way.
    assert np.all((by_mu >= -1e-6) & (by_mu <= 1 + 1e-6))
    assert np.all(np.abs(by_log_sigma) <= 20)


def test_a_batch_shares_its_draw():
    layer = layer_with([-1.0] * 6, [0.0] * 6)
    draws = np.array(layer.training_mask(5, tf.constant([1, 2])))
    assert draws.shape == (5, 6)
    np.testing.assert_array_equal(draws, draws[:1] + np.zeros((5, 1), np.float32))
    assert len(np.unique(draws[0])) == 6
    assert np.all(draws != layer.training_mask(5, tf.constant([3, 4])))


def test_start():
    layer = LogNormalDropout()
    layer.build((None, 3))
    np.testing.assert_array_equal(layer.mu, np.zeros(3))
    np.testing.assert_array_equal(layer.log_sigma, np.full(3, -5.0))
    half_normal = 1 - np.exp(-5) * np.sqrt(2 / np.pi)
    np.testing.assert_allclose(layer.inference_mask(), [half_normal] * 3, rtol=1e-4)
