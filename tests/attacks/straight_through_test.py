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
    np.testing.assert_allclose(input_gradient(passed, X, y), expected, rtol=1e-4, atol=1e-6)


def test_an_attack_finds_what_rounding_hides():
    network = linear(rounding())
    y = np.argmax(network(X), -1)
    options = {"epsilon": 0.3, "step_size": 0.1, "steps": 8}
    with pytest.raises(ValueError, match="does not depend on the pixels"):
        PGD(**options)(network, X, y)
    moved = PGD(**options)(straight_through(network), X, y, seed=[1, 2])
    assert np.mean(np.argmax(network(moved), -1) != y) > 0.8


def test_what_it_cannot_do():
    with pytest.raises(ValueError, match="needs a Keras model"):
        straight_through(lambda x, training: x)
    with pytest.raises(ValueError, match="keeps the number of values"):
        straight_through(linear(keras.layers.MaxPooling2D()))
