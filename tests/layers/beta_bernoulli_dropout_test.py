"""Beta-Bernoulli dropout against SciPy; what it shares with other masks is in mask_test."""

import keras
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp

from anp_tf.layers import BetaBernoulliDropout

tfd = tfp.distributions
POSTERIORS = ["kumaraswamy", "beta"]


def unconstrained(value):
    """The inverse of softplus."""
    return np.log(np.expm1(value))


def concentrations(a_u, b_u):
    a = np.logaddexp(0, np.maximum(np.asarray(a_u, np.float64), -10))
    b = np.logaddexp(0, np.clip(np.asarray(b_u, np.float64), -10, 50))
    return a, b


def mean(posterior, a, b):
    if posterior == "beta":
        return a / (a + b)
    return np.exp(np.log(b) + scipy.special.betaln(1 + 1 / a, b))


def divergence(posterior, a, b, alpha):
    """KL(q || Beta(alpha, 1)) in float64."""
    psi = scipy.special.digamma
    if posterior == "beta":
        return (
            -scipy.special.betaln(a, b)
            + scipy.special.betaln(alpha, 1.0)
            + (a - alpha) * psi(a)
            + (b - 1) * psi(b)
            - (a + b - alpha - 1) * psi(a + b)
        )
    harmonic = -np.euler_gamma - psi(b) - 1 / b
    return (1 - alpha / a) * harmonic + np.log(a * b / alpha) - (b - 1) / b


def layer_with(a_u, b_u, **kwargs):
    layer = BetaBernoulliDropout(**kwargs)
    layer.build((None, len(a_u)))
    layer.a_u.assign(a_u)
    layer.b_u.assign(b_u)
    return layer


def repeated(a, b, units, **kwargs):
    return layer_with(np.full(units, unconstrained(a)), np.full(units, unconstrained(b)), **kwargs)


CORNERS = np.array([-30.0, -10.0, -1.0, 0.0, 2.0, 10.0, 60.0])
A_U, B_U = (grid.ravel() for grid in np.meshgrid(CORNERS, CORNERS))


@pytest.fixture(params=POSTERIORS)
def corners(request):
    """A layer with a unit for every pair of extreme parameters."""
    return layer_with(A_U, B_U, posterior=request.param)


def test_defaults_are_the_papers():
    layer = BetaBernoulliDropout()
    layer.build((None, 4))
    a, b = layer.concentrations()
    np.testing.assert_allclose(a, np.full(4, 0.3133), rtol=1e-3)
    np.testing.assert_allclose(b, np.ones(4), rtol=1e-3)
    assert (layer.alpha, layer.temperature, layer.threshold) == (1e-4, 0.1, 1e-3)
    assert layer.posterior == "kumaraswamy"


def test_corners_concentrations(corners):
    for actual, expected in zip(corners.concentrations(), concentrations(A_U, B_U), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_corners_expected_mask(corners):
    expected = mean(corners.posterior, *concentrations(A_U, B_U))
    np.testing.assert_allclose(corners.keep_probabilities(), expected, rtol=1e-4, atol=1e-6)
    pruned = expected <= 1e-3
    assert 0 < pruned.sum() < pruned.size
    np.testing.assert_array_equal(corners.active_units(), ~pruned)
    np.testing.assert_allclose(corners.inference_mask(), np.where(pruned, 0, expected), rtol=1e-4)
    assert np.all(np.asarray(corners.inference_mask())[pruned] == 0.0)


def test_corners_divergence(corners):
    expected = divergence(corners.posterior, *concentrations(A_U, B_U), 1e-4)
    actual = tfd.kl_divergence(corners.posterior_distribution(), tfd.Beta(1e-4, 1.0))
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(corners.kl(), expected.sum(), rtol=1e-5)


@pytest.mark.parametrize("quantity", ["kl", "keep_probabilities", "draws"])
def test_corners_have_finite_gradients(corners, quantity):
    variables = corners.trainable_variables
    with tf.GradientTape() as tape:
        if quantity == "draws":
            values = corners.training_mask(200, tf.constant([1, 2]))
        else:
            values = getattr(corners, quantity)()
    assert np.all(np.isfinite(values))
    for gradient in tape.gradient(values, variables):
        assert np.all(np.isfinite(gradient))


def test_corners_gradient_of_the_divergence(corners):
    """Against finite differences in float64, where the parameters are not clipped."""
    with tf.GradientTape() as tape:
        kl = corners.kl()
    inside = (A_U > -10) & (B_U > -10) & (B_U < 50)
    for index, gradient in enumerate(tape.gradient(kl, [corners.a_u, corners.b_u])):
        step_a, step_b = 1e-4 * np.eye(2)[index]
        above, below = (
            divergence(corners.posterior, *concentrations(*point), 1e-4)
            for point in ((A_U + step_a, B_U + step_b), (A_U - step_a, B_U - step_b))
        )
        expected = (above - below) / 2e-4
        np.testing.assert_allclose(gradient[inside], expected[inside], rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_many_draws_have_no_nan(posterior):
    """At temperature 0.1, TFP's relaxed Bernoulli gives a NaN gradient once in 7,000 draws."""
    layer = repeated(1.0, 1.0, 200, posterior=posterior, seed=1)
    for seed in range(5):
        with tf.GradientTape() as tape:
            draws = layer.training_mask(1000, tf.constant([seed, 0]))
        assert np.all((draws >= 0) & (draws <= 1))
        for gradient in tape.gradient(draws, [layer.a_u, layer.b_u]):
            assert np.all(np.isfinite(gradient))
            assert np.any(gradient != 0)


@pytest.mark.parametrize("posterior", POSTERIORS)
@pytest.mark.parametrize(("a", "b"), [(0.3133, 1.0), (2.127, 1.0), (0.8, 5.0), (12.0, 0.4)])
def test_expected_mask_and_divergence_are_integrals(posterior, a, b):
    layer = repeated(a, b, 2, posterior=posterior, alpha=0.1)

    def density(x):
        if posterior == "beta":
            return scipy.stats.beta.pdf(x, a, b)
        return a * b * x ** (a - 1) * (1 - x**a) ** (b - 1)

    def integral(function):
        return scipy.integrate.quad(lambda x: density(x) * function(x), 0, 1, limit=500)[0]

    kept = integral(lambda x: x)
    kl = integral(lambda x: np.log(density(x)) - scipy.stats.beta.logpdf(x, 0.1, 1.0))
    np.testing.assert_allclose(layer.keep_probabilities(), [kept, kept], rtol=1e-4)
    np.testing.assert_allclose(layer.inference_mask(), [kept, kept], rtol=1e-4)
    np.testing.assert_allclose(layer.kl(), 2 * kl, rtol=1e-3)


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_threshold_prunes_exactly(posterior):
    layer = layer_with([-3.0, 0.0, 3.0], [0.5413] * 3, posterior=posterior)
    low, middle, high = mean(posterior, *concentrations([-3.0, 0.0, 3.0], [0.5413] * 3))
    assert low < middle < high
    layer.threshold = middle * 1.001
    np.testing.assert_array_equal(layer.active_units(), [False, False, True])
    np.testing.assert_allclose(layer.inference_mask(), [0.0, 0.0, high], rtol=1e-5)
    layer.threshold = middle * 0.999
    np.testing.assert_array_equal(layer.active_units(), [False, True, True])
    layer.threshold = float(layer.keep_probabilities()[1])  # E[pi] = threshold: pruned
    np.testing.assert_array_equal(layer.active_units(), [False, False, True])
    x = np.full((2, 3), np.float32(1e30))
    assert np.all(np.array(layer(x))[:, :2] == 0.0)


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_pi_is_drawn_once_per_call(posterior):
    """The share of ones among a unit's draws is its pi, and the pi of the units spread like q."""
    a, b = 2.0, 3.0
    layer = repeated(a, b, 400, posterior=posterior, temperature=0.1)
    shares = np.mean(np.array(layer.training_mask(2000, tf.constant([1, 2]))) > 0.5, axis=0)
    cdf = scipy.stats.beta(a, b).cdf if posterior == "beta" else lambda x: 1 - (1 - x**a) ** b
    assert scipy.stats.kstest(shares, cdf).pvalue > 1e-3
    again = np.mean(np.array(layer.training_mask(2000, tf.constant([3, 4]))) > 0.5, axis=0)
    assert np.abs(again - shares).mean() > 0.1


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_examples_have_their_own_draws(posterior):
    layer = repeated(5.0, 5.0, 50, posterior=posterior)
    ones = np.array(layer.training_mask(400, tf.constant([1, 2]))) > 0.5
    # Given pi, the examples are independent: neighbours agree as often as chance has it.
    pi = ones.mean(axis=0)
    agree = np.mean(ones[1:] == ones[:-1])
    np.testing.assert_allclose(agree, np.mean(pi**2 + (1 - pi) ** 2), atol=0.02)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_expected_value_of_a_draw(temperature):
    """E[z] by integration over pi and over the logistic noise."""
    a, b, units = 1.5, 1.2, 20_000
    layer = repeated(a, b, units, temperature=temperature)
    draws = np.array(layer.training_mask(4, tf.constant([7, 8])), np.float64)
    u = (np.arange(2000) + 0.5) / 2000
    pi = (1 - (1 - u) ** (1 / b)) ** (1 / a)
    z = scipy.special.expit(np.add.outer(*scipy.special.logit([pi, u])) / temperature)
    by_unit = draws.mean(axis=0)
    standard_error = by_unit.std() / np.sqrt(units)
    np.testing.assert_allclose(by_unit.mean(), z.mean(), rtol=0, atol=4 * standard_error)
    ones = np.mean(draws > 0.5, axis=0)
    expected = mean("kumaraswamy", a, b)
    np.testing.assert_allclose(ones.mean(), expected, atol=4 * ones.std() / np.sqrt(units))


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("alpha", 0.0),
        ("alpha", -1e-4),
        ("alpha", float("nan")),
        ("temperature", 0.0),
        ("temperature", -0.1),
        ("threshold", -0.1),
        ("threshold", 1.0),
        ("threshold", float("nan")),
        ("posterior", "gamma"),
        ("posterior", None),
        ("kl_weight", -1.0),
    ],
)
def test_invalid_arguments(argument, value):
    with pytest.raises(ValueError, match=f"argument `{argument}`.*Received: {argument}="):
        BetaBernoulliDropout(**{argument: value})


def test_config_has_every_argument():
    arguments = {
        "alpha": 0.5,
        "temperature": 0.3,
        "threshold": 0.02,
        "posterior": "beta",
        "initial_a": 1.5,
        "initial_b": 0.25,
        "kl_weight": 0.125,
        "seed": 3,
    }
    layer = BetaBernoulliDropout(**arguments)
    copy = BetaBernoulliDropout.from_config(layer.get_config())
    assert {name: copy.get_config()[name] for name in arguments} == arguments
    copy.build((None, 2))
    np.testing.assert_array_equal(copy.a_u, [1.5, 1.5])
    np.testing.assert_array_equal(copy.b_u, [0.25, 0.25])
    assert (copy.temperature, copy.threshold, copy.seed) == (0.3, 0.02, 3)


@pytest.mark.slow
@pytest.mark.parametrize("posterior", POSTERIORS)
def test_users_model_in_six_lines(posterior):
    """Bayesian pruning with Keras alone: the divergence falls, and so does the loss."""
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).random((256, 6)).astype(np.float32)
    y = (x[:, 0] > x[:, 1]).astype(np.int32)

    inputs = keras.Input((6,))
    mask = BetaBernoulliDropout(posterior=posterior, initial_a=2.0, kl_weight=1 / len(x), seed=1)
    hidden = keras.layers.ReLU()(mask(keras.layers.Dense(16)(inputs)))
    model = keras.Model(inputs, keras.layers.Dense(2)(hidden))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.03), loss, metrics=["accuracy"])

    before = float(mask.kl())
    history = model.fit(x, y, epochs=20, verbose=0).history
    assert float(mask.kl()) < 0.9 * before
    assert history["loss"][-1] < history["loss"][0]
    # In evaluation the loss is the cross-entropy alone.
    cross_entropy, accuracy = model.evaluate(x, y, verbose=0)
    np.testing.assert_allclose(cross_entropy, loss(y, model(x)), rtol=1e-4)
    assert accuracy > 0.9
