"""The straight-through gradient, on networks that round their pixels."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from anp_tf.attacks import PGD, input_gradient, straight_through


def linear(*front, seed=1):
    """A linear network behind some layers without weights."""
    keras.utils.set_random_seed(seed)
    flat = [keras.layers.Flatten(), keras.layers.Dense(3)]
    return keras.Sequential([keras.Input((4, 4, 1)), *front, *flat])


def rounding():
    return keras.layers.Lambda(lambda x: keras.ops.round(4 * x) / 4)


X = np.random.default_rng(0).random((20, 4, 4, 1)).astype(np.float32)


def test_gradient_and_logits():
    network, plain = linear(rounding()), linear()
    y = np.argmax(network(X), -1)
    passed = straight_through(network)
    np.testing.assert_allclose(passed(X), network(X), rtol=1e-5, atol=1e-6)
    expected = input_gradient(plain, tf.constant(np.round(4 * X) / 4), y)
    np.testing.assert_allclose(input_gradient(passed, X, y), expected, rtol=0.05, atol=1e-6)


def test_an_attack_finds_what_rounding_hides():
    network = linear(rounding())
    y = np.argmax(network(X), -1)
    options = {"epsilon": 0.3, "step_size": 0.1, "steps": 8}
    with pytest.raises(ValueError, match="does not depend on the pixels"):
        PGD(**options)(network, X, y)
    moved = PGD(**options)(straight_through(network), X, y, seed=[1, 2])
    assert np.mean(np.argmax(network(moved), -1) != y) > 0.8


@pytest.mark.parametrize("front", [[], [rounding()]], ids=["alone", "behind rounding"])
def test_a_gradient_that_is_0_everywhere_is_none(front):
    signs = keras.layers.Lambda(lambda x: keras.ops.sign(x - 0.5))
    passed = straight_through(linear(*front, signs))
    gradient = input_gradient(passed, tf.constant(X), np.zeros(len(X), int))
    assert np.mean(np.abs(gradient) > 0) > 0.9


class Rounding(keras.layers.Layer):
    """Rounds; with `passes`, by the identity as its gradient."""

    def __init__(self, passes):
        super().__init__()
        self.passes = passes

    def call(self, x):
        rounded = tf.round(8 * x) / 8
        return x + tf.stop_gradient(rounded - x) if self.passes else rounded


FRONTS = {
    "scaled": [keras.layers.Rescaling(5.0)],
    "inverted": [keras.layers.Rescaling(-1.0, 1.0)],
    "turned": [
        keras.layers.Lambda(lambda x: keras.ops.flip(keras.ops.transpose(x, (0, 2, 1, 3)), 1))
    ],
}


@pytest.mark.parametrize("front", FRONTS.values(), ids=FRONTS)
def test_what_has_a_gradient_keeps_it(front):
    network, expected = linear(*front, Rounding(False)), linear(*front, Rounding(True))
    y = np.argmax(network(X), -1)
    gradient = input_gradient(straight_through(network), X, y)
    np.testing.assert_allclose(gradient, input_gradient(expected, X, y), rtol=0.02, atol=1e-3)


def test_the_slope_of_what_has_none():
    """An operation that inverts and rounds in one, and pixels up to 255 that are made integers."""
    network = linear(keras.layers.Lambda(lambda x: 1 - keras.ops.round(x * 8) / 8))
    y = np.argmax(network(X), -1)
    expected = -input_gradient(linear(), tf.constant(1 - np.round(8 * X) / 8), y)
    gradient = input_gradient(straight_through(network), X, y)
    np.testing.assert_allclose(gradient, expected, rtol=0.02, atol=1e-3)
    inputs = keras.Input((4, 4, 1))
    x = keras.ops.cast(keras.ops.cast(inputs, "uint8"), "float32")
    x = keras.layers.Dense(3)(keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(x)))
    network = keras.Model(inputs, x)
    network.layers[-1].set_weights(linear().layers[-1].get_weights())
    pixels = np.round(255 * X)
    expected = input_gradient(linear(), tf.constant(pixels / 255), y) / 255
    gradient = input_gradient(straight_through(network, (0, 255)), pixels, y)
    np.testing.assert_allclose(gradient, expected, rtol=0.02, atol=1e-5)


def test_what_it_cannot_do():
    with pytest.raises(ValueError, match="needs a Keras model"):
        straight_through(lambda x, training: x)
    smaller = keras.layers.Lambda(lambda x: keras.ops.round(keras.ops.max_pool(x, 2)))
    with pytest.raises(ValueError, match="keep the number of values"):
        straight_through(linear(smaller))
    turned = keras.layers.Lambda(lambda x: keras.ops.round(4 * keras.ops.flip(x, 1)))
    with pytest.raises(ValueError, match="keep the places"):
        straight_through(linear(turned))
    with pytest.raises(ValueError, match="an operation that has no gradient"):
        straight_through(linear(keras.layers.Rescaling(2.0)))
    inputs = keras.Input((4, 4, 1))
    rounded = inputs - keras.ops.mod(inputs, 1 / 8)  # two readers
    network = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(rounded)))
    with pytest.raises(ValueError, match="in the chain before its first weights"):
        straight_through(network)
