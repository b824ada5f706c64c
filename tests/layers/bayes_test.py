"""What holds for every Bayes-by-backprop layer, against NumPy in float64 and plain Keras layers."""

import threading

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from anp_tf.layers import (
    BayesBatchNormalization,
    BayesConv2D,
    BayesDense,
    BayesLayer,
    bayes_layers,
    sampled_weights,
)

tfd = tfp.distributions


class Dense:
    """The dense layer, a plain one, and its output and gradient in NumPy."""

    bayes, plain, arguments, shape = BayesDense, keras.layers.Dense, (3,), (5, 4)

    @staticmethod
    def features(layer, x):
        """What the weights multiply; squared, it multiplies their variances."""
        return x

    @staticmethod
    def output(features, kernel, bias):
        return features @ kernel + bias

    @staticmethod
    def gradient(features, upstream):
        return features.T @ upstream, upstream.sum(0)


class Conv2D:
    bayes, plain, arguments, shape = BayesConv2D, keras.layers.Conv2D, (3, 2), (5, 4, 4, 2)

    @staticmethod
    def features(layer, x):
        return np.moveaxis(np.lib.stride_tricks.sliding_window_view(x, (2, 2), (1, 2)), 3, -1)

    @staticmethod
    def output(features, kernel, bias):
        return np.einsum("nhwabi,abio->nhwo", features, kernel) + bias

    @staticmethod
    def gradient(features, upstream):
        return np.einsum("nhwabi,nhwo->abio", features, upstream), upstream.sum((0, 1, 2))


class BatchNormalization:
    bayes, plain = BayesBatchNormalization, keras.layers.BatchNormalization
    arguments, shape = (), (5, 4, 4, 3)

    @staticmethod
    def features(layer, x):
        variance = np.array(layer.moving_variance, np.float64) + layer.epsilon
        return (x - np.array(layer.moving_mean)) / np.sqrt(variance)

    @staticmethod
    def output(features, gamma, beta):
        return features * gamma + beta

    @staticmethod
    def gradient(features, upstream):
        return (features * upstream).sum((0, 1, 2)), upstream.sum((0, 1, 2))


CASES = [Dense, Conv2D, BatchNormalization]


@pytest.fixture(params=CASES, ids=lambda case: case.__name__)
def case(request):
    return request.param


def layer_of(case, randomise=True, **kwargs):
    """A built layer whose means, rhos and moving averages are all different."""
    layer = case.bayes(*case.arguments, **{"seed": 1, **kwargs})
    layer.build(case.shape)
    if randomise:
        rng = np.random.default_rng(0)
        for weight in layer.weights:
            low, high = (-2.0, 1.0) if weight.name.endswith("rho") else (0.2, 1.5)
            weight.assign(rng.uniform(low, high, weight.shape))
    return layer


def inputs(case, seed=0):
    return np.random.default_rng(seed).normal(size=case.shape).astype(np.float32)


def posterior(layer):
    """Means, standard deviations and sigmoid(rho) of the two weights, in float64."""
    means = [np.array(getattr(layer, name), np.float64) for name in layer.random_weights]
    rhos = [np.array(getattr(layer, f"{name}_rho"), np.float64) for name in layer.random_weights]
    return means, [np.logaddexp(0, rho) for rho in rhos], [1 / (1 + np.exp(-rho)) for rho in rhos]


def noise(layer, seed=1):
    """The noise of the first draw of a layer with this seed."""
    generator = keras.random.SeedGenerator(seed)
    means, *_ = posterior(layer)
    return [np.array(keras.random.normal(mean.shape, seed=generator)) for mean in means]


# The contract of a Keras layer.


def test_weights_are_the_means_then_the_rhos(case):
    plain = case.plain(*case.arguments)
    plain.build(case.shape)
    layer = layer_of(case, randomise=False, initial_rho=-5.0)
    names = list(layer.random_weights)
    trainable = names + [f"{name}_rho" for name in names]
    assert [weight.name for weight in layer.trainable_weights] == trainable
    assert [w.name for w in plain.weights] == [
        w.name for w in layer.weights if not w.name.endswith("rho")
    ]
    for name in names:
        np.testing.assert_array_equal(getattr(layer, f"{name}_rho"), -5.0)
        assert getattr(layer, f"{name}_rho").shape == getattr(plain, name).shape


def test_config_round_trip(case):
    arguments = {"prior_scale": 0.5, "initial_rho": -4.0, "kl_weight": 0.25, "seed": 7}
    layer = case.bayes(*case.arguments, name="mine", **arguments)
    copy = case.bayes.from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()
    assert {name: getattr(copy, name) for name in arguments} == arguments
    assert copy.name == "mine"


def test_keras_file_round_trip(case, tmp_path):
    layer = layer_of(case)
    model = keras.Sequential([keras.Input(case.shape[1:]), layer])
    model.save(tmp_path / "model.keras")
    copy = keras.saving.load_model(tmp_path / "model.keras")
    (copied,) = copy.layers
    assert type(copied) is case.bayes
    for value, expected in zip(copied.weights, layer.weights, strict=True):
        np.testing.assert_array_equal(value, expected)
    np.testing.assert_array_equal(copy(inputs(case)), model(inputs(case)))
    np.testing.assert_array_equal(copied.kl(), layer.kl())


def test_symbolic_shape(case):
    plain, layer = case.plain(*case.arguments), case.bayes(*case.arguments)
    x = keras.Input(case.shape[1:])
    assert layer(x).shape == plain(x).shape
    assert layer.compute_output_shape(case.shape) == plain.compute_output_shape(case.shape)


@pytest.mark.parametrize(
    "policy", ["float16", "bfloat16", "float64", "mixed_float16", "mixed_bfloat16"]
)
@pytest.mark.parametrize("training", [False, True])
def test_dtype_policies(case, policy, training):
    reference = layer_of(case, kl_weight=0.5)
    layer = layer_of(case, kl_weight=0.5, dtype=policy)
    assert {weight.dtype for weight in layer.weights} == {"float32"}
    x = tf.cast(inputs(case), layer.compute_dtype)
    y = layer(x, training=training)
    assert y.dtype == layer.compute_dtype
    expected = reference(tf.cast(x, tf.float32), training=training)
    tolerance = {"float16": 1e-2, "bfloat16": 1e-1, "float64": 1e-5}[layer.compute_dtype]
    np.testing.assert_allclose(tf.cast(y, tf.float32), expected, rtol=0, atol=tolerance)
    assert len(layer.losses) == training
    for loss, of_float32 in zip(layer.losses, reference.losses, strict=True):
        assert loss.dtype == tf.float32
        assert loss == of_float32


def test_weights_are_drawn_in_float32():
    """A standard deviation far below the precision of bfloat16 next to its mean."""
    layer = BayesDense(1, use_bias=False, dtype="mixed_bfloat16", seed=1)
    layer.build((None, 1))
    layer.kernel.assign([[1.0]])
    layer.kernel_rho.assign([[-7.0]])
    (kernel, bias) = layer.call_weights(True, tf.float32)
    (drawn,) = np.array(kernel)[0]
    assert drawn != 1
    assert drawn != np.array(tf.cast(drawn, tf.bfloat16), np.float32)
    assert bias is None


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("prior_scale", 0.0),
        ("prior_scale", -1.0),
        ("prior_scale", float("inf")),
        ("prior_scale", float("nan")),
        ("prior_scale", "a"),
        ("initial_rho", float("nan")),
        ("initial_rho", -float("inf")),
        ("initial_rho", -80.0),
        ("kl_weight", -1e-9),
        ("kl_weight", float("nan")),
        ("kl_weight", None),
    ],
)
def test_invalid_arguments(case, argument, value):
    with pytest.raises(ValueError, match=f"argument `{argument}`.*Received: {argument}="):
        case.bayes(*case.arguments, **{argument: value})


def test_lora_quantization_and_renorm_are_refused():
    for kind in (BayesDense, BayesConv2D):
        arguments = (3,) if kind is BayesDense else (3, 2)
        with pytest.raises(NotImplementedError, match="low-rank adaptation is not supported"):
            kind(*arguments, lora_rank=2)
    with pytest.raises(NotImplementedError, match="quantize"):
        BayesDense(3, dtype="int8_from_float32")
    layer = layer_of(Dense)
    with pytest.raises(NotImplementedError, match="low-rank"):
        layer.enable_lora(2)
    with pytest.raises(NotImplementedError, match="quantize"):
        layer.quantize("int8")
    if hasattr(keras.layers.BatchNormalization(), "renorm"):  # since Keras 3.14
        with pytest.raises(ValueError, match=r"argument `renorm`.*Received: renorm=True"):
            BayesBatchNormalization(renorm=True)


# Inference.


VARIANTS = [
    pytest.param(Dense, {"activation": "relu"}, (5, 4), id="dense relu"),
    pytest.param(Dense, {"use_bias": False}, (5, 4), id="dense without bias"),
    pytest.param(Dense, {}, (2, 3, 4), id="dense of a sequence"),
    pytest.param(Conv2D, {}, (2, 5, 5, 3), id="conv"),
    pytest.param(Conv2D, {"activation": "relu"}, (2, 5, 5, 3), id="conv relu"),
    pytest.param(Conv2D, {"use_bias": False}, (2, 5, 5, 3), id="conv without bias"),
    pytest.param(Conv2D, {"strides": 2, "padding": "same"}, (2, 5, 5, 3), id="conv strides"),
    pytest.param(Conv2D, {"dilation_rate": 2}, (2, 5, 5, 3), id="conv dilation"),
    pytest.param(Conv2D, {"groups": 3}, (2, 5, 5, 3), id="conv groups"),
    pytest.param(
        Conv2D,
        {"groups": 3, "data_format": "channels_first"},  # without groups, not on every CPU
        (2, 3, 5, 5),
        id="conv channels first",
    ),
    pytest.param(BatchNormalization, {"epsilon": 0.1}, (5, 4, 4, 3), id="batch norm"),
    pytest.param(BatchNormalization, {"center": False}, (5, 3), id="batch norm without beta"),
    pytest.param(BatchNormalization, {"scale": False}, (5, 3), id="batch norm without gamma"),
    pytest.param(BatchNormalization, {"axis": 1}, (5, 3, 4), id="batch norm axis"),
]


@pytest.mark.parametrize(("case", "arguments", "shape"), VARIANTS)
def test_inference_is_the_plain_layer_with_the_means(case, arguments, shape):
    plain = case.plain(*case.arguments, **arguments)
    layer = case.bayes(*case.arguments, **arguments)
    plain.build(shape)
    layer.build(shape)
    rng = np.random.default_rng(0)
    for weight in plain.weights:
        value = rng.uniform(0.2, 1.5, weight.shape)
        weight.assign(value)
        getattr(layer, weight.name).assign(value)
    x = rng.normal(size=shape).astype(np.float32)
    np.testing.assert_allclose(layer(x), plain(x), rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(layer(x, training=False), layer(x))
    drawn = layer(x, training=True)
    assert drawn.shape == plain(x).shape
    assert np.any(drawn != plain(x, training=True))


# Draws.


def test_output_of_a_known_draw(case):
    layer, x = layer_of(case), inputs(case)
    means, scales, _ = posterior(layer)
    with sampled_weights():
        y = layer(x)
    drawn = [m + s * e for m, s, e in zip(means, scales, noise(layer), strict=True)]
    expected = case.output(case.features(layer, x), *drawn)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def test_moments_of_many_draws(case):
    layer, x, draws = layer_of(case), inputs(case), 3000

    @tf.function
    def outputs():
        with sampled_weights():
            return tf.map_fn(lambda _: layer(x), tf.range(draws), fn_output_signature=tf.float32)

    y = np.array(outputs(), np.float64)
    means, scales, _ = posterior(layer)
    features = case.features(layer, x)
    mean = case.output(features, *means)
    variance = case.output(features**2, *(scale**2 for scale in scales))
    # The outputs are Gaussian; 5 standard errors.
    error = np.abs(y.mean(0) - mean) / np.sqrt(variance / draws)
    assert np.max(error) < 5
    error = np.abs(y.var(0, ddof=1) / variance - 1) / np.sqrt(2 / draws)
    assert np.max(error) < 5


def test_training_draws_as_well(case):
    layer, reference, x = layer_of(case), layer_of(case), inputs(case)
    if case is BatchNormalization:
        reference.moving_mean.assign(x.mean((0, 1, 2)))
        reference.moving_variance.assign(x.var((0, 1, 2)))
    with sampled_weights():
        expected = reference(x)
    np.testing.assert_allclose(layer(x, training=True), expected, rtol=1e-4, atol=1e-5)


def test_the_batch_shares_a_draw(case):
    layer, x = layer_of(case), inputs(case)
    x[1:] = x[:1]
    with sampled_weights():
        y = np.array(layer(x))
    np.testing.assert_allclose(y[1:], y[:1] + 0 * y[1:], rtol=1e-6)
    assert np.all(y != layer(x))


def test_calls_differ_and_follow_the_seed(case):
    x = inputs(case)
    first, second, other = layer_of(case), layer_of(case), layer_of(case, seed=2)
    one, two = first(x, training=True), first(x, training=True)
    assert np.all(one != two)
    np.testing.assert_array_equal(second(x, training=True), one)
    np.testing.assert_array_equal(second(x, training=True), two)
    assert np.all(other(x, training=True) != one)


def test_gradient_of_a_known_draw(case):
    """dL/dmu = dL/dw, and dL/drho = dL/dw eps sigmoid(rho)."""
    layer, x = layer_of(case), inputs(case)
    with tf.GradientTape() as tape, sampled_weights():
        y = layer(x)
        upstream = np.random.default_rng(1).normal(size=y.shape)
        loss = tf.reduce_sum(y * upstream.astype(np.float32))
    gradients = tape.gradient(loss, layer.trainable_variables)
    by_weight = case.gradient(case.features(layer, x), upstream)
    _, _, slopes = posterior(layer)
    by_rho = [g * e * s for g, e, s in zip(by_weight, noise(layer), slopes, strict=True)]
    for gradient, expected in zip(gradients, [*by_weight, *by_rho], strict=True):
        np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-4)


# sampled_weights.


def test_sampled_weights_nest_and_end_with_an_exception():
    layer, x = layer_of(Dense), inputs(Dense)
    mean = np.array(layer(x))
    with sampled_weights():
        with pytest.raises(RuntimeError, match="boom"), sampled_weights():
            raise RuntimeError("boom")
        assert np.all(layer(x) != mean)
    np.testing.assert_array_equal(layer(x), mean)


def test_sampled_weights_are_of_one_thread():
    layer, x, seen = layer_of(Dense), inputs(Dense), []
    mean = np.array(layer(x))
    with sampled_weights():
        thread = threading.Thread(target=lambda: seen.append(np.array(layer(x))))
        thread.start()
        thread.join()
    np.testing.assert_array_equal(seen[0], mean)


def test_sampled_weights_act_while_a_function_is_traced():
    layer, x = layer_of(Dense), inputs(Dense)

    @tf.function
    def sampled():
        with sampled_weights():
            return layer(x)

    first = sampled()
    assert np.all(first != sampled())
    plain = tf.function(lambda: layer(x))
    np.testing.assert_allclose(plain(), layer(x), rtol=1e-6)


# The divergence.


@pytest.mark.parametrize("prior_scale", [1.0, 0.1])
def test_kl_and_its_gradient(case, prior_scale):
    layer = layer_of(case, prior_scale=prior_scale)
    with tf.GradientTape() as tape:
        kl = layer.kl()
    assert (kl.dtype, kl.shape) == (tf.float32, ())
    expected, by_mean, by_rho = 0.0, [], []
    for name, mean, scale, slope in zip(layer.random_weights, *posterior(layer), strict=True):
        centre = 1.0 if name == "gamma" else 0.0
        prior = tfd.Normal(np.float64(centre), np.float64(prior_scale))
        expected += np.sum(tfd.kl_divergence(tfd.Normal(mean, scale), prior))
        by_mean.append((mean - centre) / prior_scale**2)
        by_rho.append((scale / prior_scale**2 - 1 / scale) * slope)
    np.testing.assert_allclose(kl, expected, rtol=1e-5)
    gradients = tape.gradient(kl, layer.trainable_variables)
    for gradient, by_hand in zip(gradients, by_mean + by_rho, strict=True):
        np.testing.assert_allclose(gradient, by_hand, rtol=1e-4, atol=1e-4)


def test_kl_is_zero_at_the_prior(case):
    start = np.log(np.expm1(0.5))
    layer = layer_of(case, randomise=False, prior_scale=0.5, initial_rho=start)
    for name in layer.random_weights:
        getattr(layer, name).assign(np.full(getattr(layer, name).shape, layer.prior_mean(name)))
    np.testing.assert_allclose(layer.kl(), 0.0, atol=1e-5)
    layer.trainable_weights[0].assign(layer.trainable_weights[0] + 1.0)
    assert layer.kl() > 1


def test_kl_without_a_bias():
    layer = layer_of(Dense, use_bias=False, randomise=False, initial_rho=-3.0)
    means, scale = np.array(layer.kernel, np.float64), np.logaddexp(0, -3.0)
    expected = np.sum((scale**2 + means**2 - 1) / 2 - np.log(scale))
    np.testing.assert_allclose(layer.kl(), expected, rtol=1e-5)
    assert len(layer.weights) == 2


def test_kl_needs_weights():
    with pytest.raises(ValueError, match="`early` has no weights yet"):
        BayesDense(2, name="early").kl()


def test_kl_is_added_to_the_loss_in_training_only(case):
    layer, x = layer_of(case, kl_weight=0.25), inputs(case)
    layer(x, training=True)
    (loss,) = layer.losses
    np.testing.assert_allclose(loss, 0.25 * np.array(layer.kl()), rtol=1e-6)
    model = keras.Sequential([layer])
    with sampled_weights():
        model(x, training=False)
    assert model.losses == []
    silent = layer_of(case)
    silent(x, training=True)
    assert silent.losses == []


# Batch normalization.


@pytest.mark.parametrize(
    ("arguments", "shape"), [({"momentum": 0.7}, (5, 4, 4, 3)), ({"axis": 1}, (5, 3, 4))]
)
def test_moving_averages_are_those_of_keras(arguments, shape):
    plain = keras.layers.BatchNormalization(**arguments)
    layer = BayesBatchNormalization(**arguments)
    for seed in range(3):
        x = np.random.default_rng(seed).normal(seed, 2.0, shape).astype(np.float32)
        plain(x, training=True)
        layer(x, training=True)
        np.testing.assert_allclose(layer.moving_mean, plain.moving_mean, rtol=1e-6)
        np.testing.assert_allclose(layer.moving_variance, plain.moving_variance, rtol=1e-6)


def test_batch_statistics_of_masked_positions():
    x, mask = inputs(BatchNormalization)[:, :, 0], np.arange(20).reshape(5, 4) % 3 > 0
    plain, layer = keras.layers.BatchNormalization(), BayesBatchNormalization(initial_rho=-30.0)
    expected = plain(x, training=True, mask=mask)
    np.testing.assert_allclose(layer(x, training=True, mask=mask), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer.moving_mean, plain.moving_mean, rtol=1e-5)


def test_batch_normalization_that_is_not_trainable_is_in_inference_mode():
    layer, x = layer_of(BatchNormalization, kl_weight=1.0), inputs(BatchNormalization)
    layer.trainable = False
    before = np.array(layer.moving_mean)
    np.testing.assert_array_equal(layer(x, training=True), layer(x))
    np.testing.assert_array_equal(layer.moving_mean, before)
    assert layer.losses == []


# Models.


def test_bayes_layers_finds_nested_layers_in_order():
    first, second, third = BayesConv2D(2, 1), BayesBatchNormalization(), BayesDense(2)
    inner = keras.Sequential([keras.Input((3, 3, 2)), second, keras.layers.Dense(2)])
    model = keras.Sequential([keras.Input((3, 3, 1)), first, inner, keras.layers.Flatten(), third])
    assert bayes_layers(model) == [first, second, third]
    assert all(isinstance(layer, BayesLayer) for layer in bayes_layers(model))
    assert bayes_layers(keras.Sequential([keras.layers.Dense(2)])) == []


def test_mixed_precision_has_gradients_of_float32(case):
    layer, x = layer_of(case, dtype="mixed_bfloat16"), inputs(case)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(tf.cast(layer(x, training=True), tf.float32)))
    for gradient in tape.gradient(loss, layer.trainable_variables):
        assert gradient.dtype == tf.float32
        assert np.all(np.isfinite(gradient))
        assert np.any(gradient != 0)


@pytest.mark.slow
def test_a_model_learns():
    x = np.random.default_rng(0).normal(size=(128, 4, 4, 1)).astype(np.float32)
    y = (x[:, :2].mean((1, 2, 3)) > x[:, 2:].mean((1, 2, 3))).astype(np.int32)
    arguments = {"kl_weight": 1e-2 / len(x), "initial_rho": -5.0}
    model = keras.Sequential(
        [
            keras.Input((4, 4, 1)),
            BayesConv2D(8, 3, **arguments),
            BayesBatchNormalization(momentum=0.8, **arguments),
            keras.layers.ReLU(),
            keras.layers.Flatten(),
            BayesDense(2, **arguments),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.03), loss, jit_compile=False)
    before = model.get_weights()
    history = model.fit(x, y, epochs=20, batch_size=32, verbose=0).history["loss"]
    for value, start in zip(model.get_weights(), before, strict=True):
        assert np.any(value != start)
    assert history[-1] < history[0]
    assert np.mean(np.argmax(model(x), -1) == y) > 0.9
