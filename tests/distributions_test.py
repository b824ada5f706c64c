"""Posteriors against SciPy and NumPy in float64."""

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp

from anp_tf.distributions import (
    MAX_LOGIT,
    beta_logits,
    kumaraswamy_logits,
    log1mexp,
    relaxed_bernoulli,
)

tfd = tfp.distributions

# a, b, alpha
PAIRS = [
    pytest.param(0.3133, 1.0, 1e-4, id="lenet-start"),
    pytest.param(2.127, 1.0, 1e-4, id="vgg-start"),
    pytest.param(0.5, 3.0, 0.1, id="sparse"),
    pytest.param(5.0, 0.2, 2.0, id="dense"),
    pytest.param(0.8, 0.7, 0.3, id="bathtub"),
    pytest.param(30.0, 40.0, 1.0, id="narrow"),
]
# a, b
SHAPES = [
    pytest.param(0.3133, 1.0, id="lenet-start"),
    pytest.param(2.127, 1.0, id="vgg-start"),
    pytest.param(0.7, 3.0, id="sparse"),
    pytest.param(5.0, 0.5, id="dense"),
    pytest.param(6.0, 20.0, id="narrow"),
]


def kl(a, b, alpha, beta=1.0):
    return tfd.kl_divergence(tfd.Kumaraswamy(a, b), tfd.Beta(alpha, beta))


def log_ratio(u, a, b, alpha):
    """log q(x)/p(x) at the Kumaraswamy quantile x = (1 - u^(1/b))^(1/a), from the densities."""
    log_x = np.log1p(-(u ** (1 / b))) / a
    log_q = np.log(a * b) + (a - 1) * log_x + (b - 1) * np.log(u) / b
    log_p = np.log(alpha) + (alpha - 1) * log_x
    return log_q - log_p


@pytest.mark.parametrize(("a", "b", "alpha"), PAIRS)
def test_kl_is_the_integral(a, b, alpha):
    expected, error = scipy.integrate.quad(log_ratio, 0, 1, args=(a, b, alpha), limit=500)
    assert error < 1e-5 * max(1.0, expected)
    np.testing.assert_allclose(kl(a, b, alpha), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("a", "b", "alpha"), PAIRS)
def test_kl_is_the_monte_carlo_mean(a, b, alpha):
    u = np.random.default_rng(0).random(400_000)
    ratios = log_ratio(u, a, b, alpha)
    standard_error = ratios.std() / np.sqrt(ratios.size)
    np.testing.assert_allclose(kl(a, b, alpha), ratios.mean(), rtol=0, atol=4 * standard_error)


def test_kl_of_equal_distributions_is_zero():
    alpha = np.array([1e-4, 0.1, 1.0, 3.0], np.float32)
    np.testing.assert_allclose(kl(alpha, 1.0, alpha), np.zeros(4), atol=1e-6)


def test_kl_broadcasts():
    assert kl(tf.ones([3, 1]), tf.ones([4]), 0.5).shape == (3, 4)


def test_kl_keeps_float64():
    result = kl(np.float64(0.7), np.float64(3.0), np.float64(0.1), np.float64(1.0))
    expected, _ = scipy.integrate.quad(log_ratio, 0, 1, args=(0.7, 3.0, 0.1), limit=500)
    assert result.dtype == tf.float64
    np.testing.assert_allclose(result, expected, rtol=1e-8)


@pytest.mark.parametrize("beta", [2.0, [1.0, 0.5]])
def test_kl_has_no_closed_form_for_other_priors(beta):
    with pytest.raises(ValueError, match="concentration0"):
        kl(0.5, 1.0, 0.1, beta)


# From far away to the smallest float32 that is not denormal.
EXPONENTS = -np.geomspace(1e-37, 80, 200).astype(np.float32)


def test_log1mexp_keeps_full_precision():
    x = EXPONENTS.astype(np.longdouble)
    expected = np.array([np.log(-np.expm1(v)) if v > -1 else np.log1p(-np.exp(v)) for v in x])
    np.testing.assert_allclose(log1mexp(EXPONENTS), expected.astype(np.float64), rtol=1e-6)


def test_log1mexp_gradient():
    x = tf.constant(EXPONENTS)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = log1mexp(x)
    expected = -1 / np.expm1(-EXPONENTS.astype(np.float64))
    np.testing.assert_allclose(tape.gradient(y, x), expected, rtol=1e-5)


def draw(kind, a, b, n=20_000):
    """Draws pi and their derivatives in a and b, as float64 NumPy."""
    a, b = tf.fill([n], a), tf.fill([n], b)
    with tf.GradientTape() as tape:
        tape.watch([a, b])
        if kind == "kumaraswamy":
            logits = kumaraswamy_logits(tf.random.stateless_uniform([n], [3, 4]), a, b)
        else:
            logits = beta_logits(a, b, tf.constant([3, 4]))
        pi = tf.sigmoid(logits)
    gradients = tape.gradient(pi, [a, b])
    return [np.asarray(t, np.float64) for t in (pi, *gradients)]


def distribution(kind, a, b):
    """The cumulative distribution function and the mean, as functions of SciPy."""
    if kind == "kumaraswamy":
        return (
            lambda x: 1 - (1 - x**a) ** b,
            lambda a, b: b * scipy.special.beta(1 + 1 / a, b),
        )
    return scipy.stats.beta(a, b).cdf, lambda a, b: a / (a + b)


@pytest.mark.parametrize("kind", ["kumaraswamy", "beta"])
@pytest.mark.parametrize(("a", "b"), SHAPES)
def test_draws_have_the_distribution(kind, a, b):
    cdf, _ = distribution(kind, a, b)
    pi, _, _ = draw(kind, a, b)
    assert scipy.stats.kstest(pi, cdf).pvalue > 1e-3


@pytest.mark.parametrize("kind", ["kumaraswamy", "beta"])
@pytest.mark.parametrize(("a", "b"), SHAPES)
def test_pathwise_gradients_are_those_of_the_mean(kind, a, b):
    _, mean = distribution(kind, a, b)
    h = 1e-5
    in_a = (mean(a + h, b) - mean(a - h, b)) / (2 * h)
    in_b = (mean(a, b + h) - mean(a, b - h)) / (2 * h)
    pi, *gradients = draw(kind, a, b)
    for gradient, expected in zip(gradients, (in_a, in_b), strict=True):
        standard_error = gradient.std() / np.sqrt(pi.size)
        assert abs(expected) > 10 * standard_error  # the sign, at least, is tested
        np.testing.assert_allclose(gradient.mean(), expected, rtol=0, atol=4 * standard_error)


def test_kumaraswamy_logits_are_the_quantiles():
    u, a, b = np.meshgrid([1e-6, 0.01, 0.5, 0.9, 0.999], [0.05, 1.0, 10.0], [0.1, 1.0, 30.0])
    log_pi = np.log1p(-(u ** (1 / b))) / a
    expected = log_pi - np.log(-np.expm1(log_pi))
    assert np.sum(expected > MAX_LOGIT) > 0
    assert np.sum(expected < -MAX_LOGIT) > 0
    logits = kumaraswamy_logits(*(value.astype(np.float32) for value in (u, a, b)))
    inside = np.abs(expected) < MAX_LOGIT
    np.testing.assert_allclose(logits[inside], expected[inside], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(logits[~inside], MAX_LOGIT * np.sign(expected[~inside]), atol=0.1)


UNIFORMS = {
    "zero": 0.0,
    "denormal": 1e-42,
    "tiny": np.finfo(np.float32).tiny,
    "half": 0.5,
    "below one": 1 - 2.0**-24,
    "one": 1.0,
}


@pytest.mark.parametrize("uniform", UNIFORMS.values(), ids=UNIFORMS)
def test_kumaraswamy_logits_are_finite_for_every_uniform(uniform):
    a, b = tf.meshgrid([4.5e-5, 0.31, 1.0, 10.0, 60.0], [4.5e-5, 0.31, 1.0, 10.0, 50.0])
    with tf.GradientTape() as tape:
        tape.watch([a, b])
        logits = kumaraswamy_logits(tf.fill(a.shape, np.float32(uniform)), a, b)
    assert np.all(np.abs(logits) <= MAX_LOGIT)
    for gradient in tape.gradient(logits, [a, b]):
        assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize("probability", [1e-3, 0.1, 0.5, 0.97])
@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_relaxed_bernoulli_has_the_concrete_distribution(probability, temperature):
    n = 100_000
    uniform = tf.random.stateless_uniform([n], seed=[1, 2])
    logit = scipy.special.logit(probability)
    z = np.asarray(relaxed_bernoulli(uniform, np.float32(logit), temperature))
    for threshold in (0.05, 0.5, 0.95):
        # P(z > t); at t = 1/2 it is the probability, whatever the temperature.
        share = scipy.special.expit(logit - temperature * scipy.special.logit(threshold))
        standard_error = np.sqrt(share * (1 - share) / n)
        np.testing.assert_allclose(np.mean(z > threshold), share, rtol=0, atol=4 * standard_error)


def test_relaxed_bernoulli_differs_from_tfp_only_where_its_gradient_is_nan():
    """When this fails because TFP's gradient is finite, our function can go."""
    n = 100_000
    uniform = tf.random.stateless_uniform([n], [5, 6], minval=np.finfo(np.float32).tiny)
    draws = [
        lambda logits: relaxed_bernoulli(uniform, logits, 0.1),
        lambda logits: tfd.RelaxedBernoulli(0.1, logits=logits).sample(seed=[5, 6]),
    ]
    values, gradients = [], []
    for draw in draws:
        logits = tf.zeros([n])
        with tf.GradientTape() as tape:
            tape.watch(logits)
            z = draw(logits)
        values.append(np.asarray(z))
        gradients.append(np.asarray(tape.gradient(z, logits)))
    ours, theirs = gradients
    finite = np.isfinite(theirs)
    assert 0 < np.sum(~finite) < n / 1000
    assert np.all(np.isfinite(ours))
    np.testing.assert_allclose(ours[finite], theirs[finite], rtol=1e-3, atol=1e-12)
    np.testing.assert_allclose(*values, rtol=1e-3, atol=1e-12)
