"""The entrance of networks: all kinds of them give the logits that they mean."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from anp_tf.models import with_latents
from anp_tf.robustness import Interface, entered
from anp_tf.robustness.interface import ending

SHAPE, CLASSES = (4, 4, 1), 3
WEIGHTS = np.random.default_rng(0).normal(size=(16, CLASSES)).astype(np.float32)
X = np.random.default_rng(1).random((11, *SHAPE)).astype(np.float32)
EXPECTED = X.reshape(-1, 16) @ WEIGHTS


def dense(**kwargs):
    """The layer from flattened images to the logits."""

    def weights(shape, dtype):
        return tf.cast(WEIGHTS, dtype)

    return keras.layers.Dense(CLASSES, use_bias=False, kernel_initializer=weights, **kwargs)


def functional(before=(), batch=None, shape=SHAPE, dtype=None, heads=1, **kwargs):
    pixels = keras.Input(batch_shape=(batch, *shape), dtype=dtype)
    x = pixels
    for layer in before:
        x = layer(x)
    x = keras.layers.Flatten()(x)
    outputs = [dense(name=f"head{index}", **kwargs)(x) for index in range(heads)]
    return keras.Model(pixels, outputs[0] if heads == 1 else outputs)


def with_dict():
    pixels = keras.Input(SHAPE)
    x = keras.layers.Flatten()(pixels)
    return keras.Model(pixels, {"z": keras.layers.Dense(2)(x), "answer": dense()(x)})


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.flatten, self.dense = keras.layers.Flatten(), dense()

    def call(self, x):
        return self.dense(self.flatten(x))


def numpy_code(x):
    return tf.numpy_function(lambda a: a.reshape(-1, 16) @ WEIGHTS, [x], tf.float32)


def plain(x):
    return tf.reshape(x, [-1, 16]) @ WEIGHTS


KINDS = {
    "functional": (functional, {}),
    "sequential": (
        lambda: keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), dense()]),
        {},
    ),
    "subclassed": (Subclassed, {}),
    "function": (lambda: plain, {}),
    "function with training": (lambda: lambda x, training: plain(x), {}),
    "NumPy": (lambda: numpy_code, {}),
    "list of a function": (lambda: lambda x: [x, plain(x)], {"output_name": 1}),
    "dict of a function": (lambda: lambda x: {"a": x, "logits": plain(x)}, {}),
    "list of a model": (lambda: functional(heads=2), {"output_name": "head1"}),
    "index of a model": (lambda: functional(heads=2), {"output_name": "1"}),
    "dict of a model": (with_dict, {"output_name": "answer"}),
    "fixed batch": (lambda: functional(batch=4), {}),
    "batch of one": (lambda: functional(batch=1), {}),
    "0 to 255": (lambda: functional([keras.layers.Rescaling(1 / 255)]), {"pixels": (0, 255)}),
    "-1 to 1": (lambda: functional([keras.layers.Rescaling(0.5, 0.5)]), {"pixels": (-1, 1)}),
    "channels first": (
        lambda: functional([keras.layers.Permute((2, 3, 1))], shape=(1, 4, 4)),
        {"channels_first": True},
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_logits(kind):
    make, options = KINDS[kind]
    network = entered(make(), X, Interface(**options))
    np.testing.assert_allclose(network(X), EXPECTED, atol=1e-5)
    traced = tf.function(network, input_signature=[tf.TensorSpec([None, *SHAPE])])
    np.testing.assert_allclose(traced(X), EXPECTED, atol=1e-5)
    assert traced.get_concrete_function().structured_outputs.shape[-1] == CLASSES
    if kind == "NumPy":
        return
    with tf.GradientTape() as tape:
        pixels = tf.constant(X)
        tape.watch(pixels)
        logit = tf.reduce_sum(network(pixels, training=False)[:, 0])
    expected = np.tile(WEIGHTS[:, 0].reshape(SHAPE), [len(X), 1, 1, 1])
    np.testing.assert_allclose(tape.gradient(logit, pixels), expected, atol=1e-4)


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_becomes_float32(dtype):
    model = keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), dense(dtype=dtype)])
    found = entered(model, X)
    assert found(X).dtype == tf.float32
    assert isinstance(found, keras.Model)
    np.testing.assert_allclose(found(X), EXPECTED, rtol=0.1, atol=0.1)


def test_integer_pixels_are_rounded():
    model = functional([keras.layers.Rescaling(1 / 255)], dtype="uint8")
    found = entered(model, X)(X)
    expected = (np.round(X * 255) / 255).reshape(-1, 16) @ WEIGHTS
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_one_output_is_the_logit_of_class_1():
    def unknown(x):  # of unknown rank in a graph
        return tf.numpy_function(lambda x: np.array(plain(x))[:, 0], [x], tf.float32)

    for make in (lambda x: plain(x)[:, :1], lambda x: plain(x)[:, 0], unknown):
        network = tf.function(entered(make, X, Interface(binary=True)))
        np.testing.assert_allclose(network(X)[:, 1], EXPECTED[:, 0], atol=1e-5)
        np.testing.assert_array_equal(network(X)[:, 0], 0)


def test_a_keras_model_stays_one():
    """So that its latent features can be reached."""
    last = keras.layers.Dense(3, dtype="mixed_bfloat16")
    layers = [keras.layers.Flatten(), keras.layers.Dense(5, "relu"), last]
    network = entered(keras.Sequential([keras.Input(SHAPE), *layers]), X)
    latents, logits = with_latents(network)(X)
    assert len(latents) == 1
    assert logits.dtype == "float32"
    model = functional()
    assert entered(model, X) is model


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (lambda: functional(shape=(5, 4, 1)), {}, r"takes \[5, 4, 1\], they are \[4, 4, 1\]"),
        (
            lambda: keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]),
            {},
            r"takes rows \[3\], they are images \[4, 4, 1\]",
        ),
        (lambda: functional(shape=(1, 4, 4)), {}, "expected channels_first=True"),
        (functional, {"channels_first": True}, "expected channels_first=False"),
        (
            lambda: lambda x: x,
            {},
            r"must return logits \[batch, classes\].*\[11, 4, 4, 1\]",
        ),
        (lambda: lambda x: plain(x)[:, 0], {}, r"it returns \[11\]"),
        (lambda: lambda x: plain(x)[:, :1], {}, "expected binary if that is the logit"),
        (lambda: plain, {"binary": True}, "binary: expected a network of one output"),
        (lambda: lambda x: tf.sigmoid(plain(x)[:, :1]), {"binary": True}, "probabilities"),
        (with_dict, {}, "output_name: expected one of .*answer.* received None"),
        (
            lambda: functional(heads=2),
            {"output_name": "head7"},
            "expected one of head0, head1",
        ),
        (functional, {"output_name": "logits"}, "output_name: .* received logits"),
        (
            lambda: keras.Model(
                two := [keras.Input(SHAPE), keras.Input((3,))],
                keras.layers.concatenate([keras.layers.Flatten()(two[0]), two[1]]),
            ),
            {},
            "takes 2 inputs: expected one",
        ),
    ],
)
def test_what_is_refused_is_said_in_one_line(make, options, message):
    with pytest.raises(ValueError, match=message) as error:
        entered(make(), X, Interface(**options))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("pixels", [(1, 0), (0,), (0, np.nan), ()])
def test_pixels_are_a_range(pixels):
    with pytest.raises(ValueError, match="pixels: expected two numbers"):
        Interface(pixels=pixels)


def test_endings():
    softmax = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3, "softmax")])
    assert ending(softmax) == "softmax"
    assert ending(keras.Sequential([keras.Input((3,)), softmax])) == "softmax"
    assert ending(keras.Sequential([keras.Input((3,)), keras.layers.Softmax()])) == "softmax"
    pixels = keras.Input((3,))
    assert ending(keras.Model(pixels, keras.ops.sigmoid(pixels))) == "sigmoid"
    assert ending(functional()) is None
    assert ending(plain) is None


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_straight_through(dtype):
    """The answers are those of the rounded pixels; the gradient is that of the weights."""
    front = [keras.layers.Rescaling(1 / 255)] if dtype == "uint8" else [Rounding()]
    model = functional(front, dtype=dtype)
    network = entered(model, X, Interface(straight_through=True))
    plain = entered(model, X)
    np.testing.assert_allclose(network(X), plain(X), atol=1e-5)
    with tf.GradientTape() as tape:
        pixels = tf.constant(X)
        tape.watch(pixels)
        logit = tf.reduce_sum(network(pixels)[:, 0])
    expected = np.tile(WEIGHTS[:, 0].reshape(SHAPE), [len(X), 1, 1, 1])
    gradient = tape.gradient(logit, pixels)
    scaled, expected = (g / np.abs(g).max() for g in (gradient.numpy(), expected))
    np.testing.assert_allclose(scaled, expected, rtol=1e-5)


class Rounding(keras.layers.Layer):
    def call(self, x):
        return tf.round(x * 255) / 255
