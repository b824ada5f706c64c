"""Networks arranged for attacks: the same functions, computed in another way."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from anp_tf.attacks import PGD, input_gradient
from anp_tf.layers import UnitMask
from anp_tf.models import inference_form as module
from anp_tf.models import lenet5_caffe, resnet18, vgg16
from anp_tf.models.inference_form import inference_form
from anp_tf.models.pooled_convolution import pooled_convolution


@pytest.fixture(autouse=True)
def on_a_cpu(monkeypatch):
    devices = tf.config.list_physical_devices
    monkeypatch.setattr(
        tf.config, "list_physical_devices", lambda kind=None: [] if kind == "GPU" else devices(kind)
    )


def close(actual, expected):
    scale = np.abs(expected).max() + 1e-6
    np.testing.assert_allclose(actual, expected, atol=2e-5 * scale)


@settings(max_examples=25, deadline=None)
@given(
    outputs=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    kernel=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    channels=st.integers(1, 4),
    filters=st.integers(1, 5),
    biased=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_it_is_a_convolution_and_a_pooling(outputs, kernel, channels, filters, biased, seed):
    random = np.random.default_rng(seed)
    size = [2 * n + k - 1 for n, k in zip(outputs, kernel, strict=True)]
    x = tf.constant(random.normal(size=(2, *size, channels)).astype(np.float32))
    weights = random.normal(size=(*kernel, channels, filters)).astype(np.float32)
    bias = random.normal(size=filters).astype(np.float32) if biased else None
    upstream = random.normal(size=(2, *outputs, filters)).astype(np.float32)

    def in_two(x):
        pixels = tf.nn.conv2d(x, weights, 1, "VALID") + (0 if bias is None else bias)
        return tf.nn.max_pool2d(pixels, 2, 2, "VALID")

    results = []
    for function in (lambda x: pooled_convolution(x, weights, bias), in_two):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = function(x)
        results.append((value, tape.gradient(value, x, upstream)))
    for actual, expected in zip(*results, strict=True):
        assert actual.shape == expected.shape
        close(actual, expected)


def test_of_equal_outputs_the_first_gets_the_gradient():
    x = tf.zeros([1, 4, 4, 1])
    kernel = np.ones((1, 1, 1, 1), np.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = pooled_convolution(x, kernel, None)
    gradient = tape.gradient(value, x)[0, :, :, 0]
    np.testing.assert_array_equal(gradient, [[1, 0, 1, 0], [0, 0, 0, 0]] * 2)


def toy(between=(), before=(), shape=(12, 12, 1), pool=2, **convolution):
    keras.utils.set_random_seed(1)
    x = pixels = keras.Input(shape)
    for layer in before:
        x = layer(x)
    x = keras.layers.Conv2D(4, **{"kernel_size": 3, **convolution})(x)
    for layer in between:
        x = layer(x)
    x = keras.layers.MaxPooling2D(pool)(x)
    x = keras.layers.Dropout(0.5)(keras.layers.Flatten()(x))
    return keras.Model(pixels, keras.layers.Dense(3)(x))


FUSED = {
    "relu": toy([keras.layers.ReLU()]),
    "activation": toy([keras.layers.Activation("relu")]),
    "in the convolution": toy(activation="relu"),
    "leaky": toy([keras.layers.ReLU(negative_slope=0.1)]),
    "nothing": toy(),
    "same padding": toy(padding="same"),
    "even kernel, same padding": toy(padding="same", kernel_size=4),
    "no bias": toy(use_bias=False, kernel_size=(5, 3)),
    "rescaled pixels": toy(before=[keras.layers.Rescaling(2.0, -1.0)]),
    "colours": toy(shape=(8, 8, 3)),
    "nested": keras.Sequential([keras.Input((12, 12, 1)), toy(), keras.layers.Dense(3)]),
    "LeNet": lenet5_caffe(width_multiplier=0.2),
}


OTHERS = {
    "mask": toy([UnitMask()]),
    "tanh": toy([keras.layers.Activation("tanh")]),
    "tanh in the convolution": toy(activation="tanh"),
    "threshold": toy([keras.layers.ReLU(threshold=0.5)]),
    "strides": toy(strides=2),
    "dilation": toy(dilation_rate=2),
    "many channels": toy(shape=(12, 12, 5)),
    "groups": toy(shape=(12, 12, 2), groups=2),
    "odd": toy(shape=(13, 13, 1)),
    "other windows": toy(pool=3),
    "normalization": toy([keras.layers.BatchNormalization(), keras.layers.ReLU()]),
    "normalization without scale": toy(
        [keras.layers.BatchNormalization(scale=False, center=False)], use_bias=False
    ),
    "normalization after an activation": toy(
        [keras.layers.BatchNormalization()], activation="relu"
    ),
    "normalization twice": toy([keras.layers.BatchNormalization() for _ in range(2)]),
    "normalization of another axis": toy([keras.layers.BatchNormalization(axis=1)]),
    "lists": keras.Model(*(lambda network: (network.inputs, network.outputs))(toy())),
}
DEEP = {"VGG": vgg16(width_multiplier=0.05), "ResNet": resnet18(width_multiplier=0.05)}


def scatter(network):
    """Gives all weights, those of batch normalization too, values of their own."""
    random = np.random.default_rng(5)
    for weight in network.weights:
        if weight.dtype == "float32":
            weight.assign(np.array(weight) + 0.3 * random.random(weight.shape))
            if weight.name == "gamma":
                weight.assign(np.array(weight) * random.choice([-1, 1], weight.shape))
    return network


@pytest.mark.parametrize(
    "network",
    [
        *FUSED.values(),
        *OTHERS.values(),
        *(pytest.param(network, marks=pytest.mark.slow) for network in DEEP.values()),
    ],
    ids=[*FUSED, *OTHERS, *DEEP],
)
def test_it_computes_the_same(network):
    scatter(network)
    x = tf.constant(np.random.default_rng(0).random((5, *network.input_shape[1:]), np.float32))
    y = tf.constant([0, 1, 2, 0, 1])
    form = inference_form(network)
    close(form(x), network(x, training=False))
    gradient = tf.function(input_gradient)  # without that of the kernels, as in attacks
    close(gradient(form, x, y), gradient(network, x, y))
    assert inference_form(form) is form


@pytest.mark.parametrize("network", FUSED.values(), ids=FUSED)
def test_pooling_of_pixels_is_part_of_the_convolution(network, monkeypatch):
    calls = []
    original = module.pooled_convolution
    monkeypatch.setattr(
        module, "pooled_convolution", lambda *args: calls.append(args) or original(*args)
    )
    inference_form(network)(np.zeros((1, *network.input_shape[1:]), np.float32))
    assert calls


def test_images_of_unknown_size():
    pixels = keras.Input((None, None, 1))
    x = keras.layers.MaxPooling2D(2)(keras.layers.Conv2D(3, 3)(pixels))
    network = keras.Model(pixels, keras.layers.GlobalMaxPooling2D()(x))
    x = np.random.default_rng(0).random((2, 12, 12, 1), np.float32)
    form = tf.function(inference_form(network), input_signature=[tf.TensorSpec([None] * 3 + [1])])
    close(form(x), network(x))


def test_what_else_is_read_is_computed():
    """A convolution with a second reader keeps its outputs."""
    x = pixels = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(2, 3)(x)
    y = keras.layers.BatchNormalization()(x)
    pooled = keras.layers.Flatten()(keras.layers.MaxPooling2D(2)(y))
    network = scatter(keras.Model(pixels, [pooled, keras.layers.Flatten()(x)]))
    x = np.random.default_rng(0).random((2, 8, 8, 1), np.float32)
    for actual, expected in zip(inference_form(network)(x), network(x), strict=True):
        close(actual, expected)


def test_a_layer_that_is_called_twice():
    shared = keras.layers.Dense(4, activation="relu")
    x = pixels = keras.Input((4,))
    x = keras.layers.BatchNormalization()(shared(x))
    network = scatter(keras.Model(pixels, keras.layers.Dense(2)(shared(x))))
    x = np.random.default_rng(0).random((2, 4), np.float32)
    close(inference_form(network)(x), network(x))


def test_functions_and_subclasses_are_left_alone():
    class Own(keras.Model):
        def call(self, x):
            return x

    for network in (Own(), lambda x, training: x):
        assert inference_form(network) is network


def test_the_network_is_not_changed():
    network = toy()
    before = [len(layer._inbound_nodes) for layer in network.layers]
    x = np.random.default_rng(0).random((2, 12, 12, 1), np.float32)
    PGD(epsilon=0.1, step_size=0.1, steps=2)(network, x, np.array([0, 1]))
    assert [len(layer._inbound_nodes) for layer in network.layers] == before
    assert network.layers[1].output.shape == (None, 10, 10, 4)


def test_within_a_layer_that_trains_it_infers():
    """Dropout would make the gradient of an attack random."""
    network = toy()

    class Outer(keras.layers.Layer):
        def call(self, x, training=None):
            return inference_form(network)(x, training=False)

    x = np.random.default_rng(0).random((2, 12, 12, 1), np.float32)
    close(Outer()(x, training=True), network(x, training=False))


def test_bfloat16():
    network = lenet5_caffe(width_multiplier=0.2)
    half = keras.models.clone_model(
        network,
        clone_function=lambda layer: type(layer).from_config(
            {**layer.get_config(), "dtype": "mixed_bfloat16"}
        ),
    )
    half.set_weights(network.get_weights())
    x = np.random.default_rng(0).random((4, 28, 28, 1), np.float32)
    actual = inference_form(half)(x)
    assert actual.dtype == "bfloat16"
    np.testing.assert_allclose(tf.cast(actual, "float32"), network(x), atol=0.05)


def test_images_without_a_channel_axis():
    """Keras adds it."""
    network = lenet5_caffe(width_multiplier=0.1)
    x = np.random.default_rng(0).random((3, 28, 28), np.float32)
    close(inference_form(network)(x), network(x))
    assert (
        PGD(epsilon=0.1, step_size=0.1, steps=1)(network, x, np.array([0, 1, 2])).shape == x.shape
    )


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
def test_quantised_layers_are_called():
    network = toy()
    network.quantize("int8")
    x = np.random.default_rng(0).random((3, 12, 12, 1), np.float32)
    close(inference_form(network)(x), network(x))


def test_layers_called_by_keyword():
    pixels = keras.Input((4,))
    network = keras.Model(pixels, keras.layers.Dense(3)(inputs=pixels))
    x = np.random.default_rng(0).random((3, 4), np.float32)
    close(inference_form(network)(x), network(x))


def test_normalization_of_another_type():
    """It is not folded where that would change what is rounded."""
    x = pixels = keras.Input((6, 6, 5))
    x = keras.layers.Conv2D(4, 3, dtype="mixed_bfloat16")(x)
    x = keras.layers.BatchNormalization(dtype="float32")(x)
    network = scatter(keras.Model(pixels, x))
    x = np.random.default_rng(0).random((3, 6, 6, 5), np.float32)
    actual, expected = inference_form(network)(x), network(x)
    assert actual.dtype == expected.dtype == "float32"
    np.testing.assert_allclose(actual, expected, rtol=0.02, atol=0.02)


def test_a_call_of_its_own():
    class Scaled(type(toy())):
        def call(self, inputs, training=None, mask=None):
            return super().call(2 * inputs - 1, training=training, mask=mask)

    plain = toy()
    network = Scaled(plain.input, plain.output)
    assert inference_form(network) is network
    x = np.random.default_rng(0).random((3, 12, 12, 1), np.float32)
    pixels = keras.Input((12, 12, 1))
    outer = keras.Model(pixels, keras.layers.Dense(2)(network(pixels)))
    close(inference_form(outer)(x), outer(x))
