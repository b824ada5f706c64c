"""Both copies of a batch see the same draws: between equal images nothing differs."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from anp_tf.layers import BayesDense, BetaBernoulliDropout, seed_states
from anp_tf.methods.paired_forward import PairedForward

X = np.random.default_rng(0).random((6, 8, 8, 1), np.float32)


def rows(layer):
    """Applies a layer to the rows of an image."""

    def apply(x):
        x = layer(layers.Reshape((8, 8))(x))
        return layers.Reshape((8, -1, 1))(x)

    return apply


def attention(x):
    return layers.MultiHeadAttention(2, 4, dropout=0.5)(x, x)


class Noisy(layers.Layer):
    """A user's random layer, with its generator in a layer of its own."""

    def __init__(self):
        super().__init__()
        self.inner = layers.GaussianNoise(1.0)

    def call(self, x, training=False):
        return 2 * self.inner(x, training=training)


RANDOM = {
    "Dropout": (lambda: layers.Dropout(0.5), 1),
    "Dropout of 0": (lambda: layers.Dropout(0.0), 0),
    "GaussianNoise": (lambda: layers.GaussianNoise(1.0), 1),
    "RandomFlip": (layers.RandomFlip, 1),
    "RandomTranslation": (lambda: layers.RandomTranslation(0.3, 0.3), 1),
    "RandomBrightness": (lambda: layers.RandomBrightness(0.5, value_range=(0, 1)), 1),
    "LSTM": (lambda: rows(layers.LSTM(8, dropout=0.5, return_sequences=True)), 1),
    "MultiHeadAttention": (lambda: rows(attention), 1),
    "of a user": (Noisy, 1),
}


@pytest.mark.parametrize(("layer", "generators"), RANDOM.values(), ids=RANDOM)
def test_equal_images_have_equal_features(layer, generators):
    pixels = keras.Input((8, 8, 1))
    x = layers.Conv2D(4, 3, activation="relu")(layer()(pixels))
    network = keras.Model(pixels, layers.Dense(2)(layers.Flatten()(x)))
    paired = PairedForward(network)
    assert (len(paired.seeds), paired.one_pass) == (generators, not generators)
    draws = []
    for _ in range(2):
        (clean, logits), (moved, other_logits) = paired(tf.constant(X), tf.constant(X), {}, True)
        np.testing.assert_array_equal(clean[0], moved[0])
        np.testing.assert_array_equal(logits, other_logits)
        (clean, _), (moved, _) = paired(tf.constant(X[:4]), tf.constant(X), {}, True)
        np.testing.assert_allclose(clean[0], moved[0][:4], rtol=1e-5, atol=1e-6)
        draws.append(np.asarray(clean[0]))
    assert np.array_equal(*draws) == (not generators)  # each step draws anew


class Centred(keras.layers.Layer):
    """A user's layer, of the statistics of its batch."""

    def call(self, x, training=False):
        return x - tf.reduce_mean(x, 0) if training else x


@pytest.mark.parametrize("layer", [Centred(), layers.Lambda(lambda x: x - tf.reduce_mean(x, 0))])
def test_layers_of_a_user_see_one_kind_of_images(layer):
    pixels = keras.Input((5,))
    network = keras.Model(pixels, layers.Dense(2)(layers.ReLU()(layer(pixels))))
    x = np.random.default_rng(0).random((6, 5)).astype(np.float32)
    (_, clean), (_, moved) = PairedForward(network)(tf.constant(x), tf.constant(x**2), {}, True)
    np.testing.assert_allclose(clean, network(x, training=True), atol=1e-6)
    np.testing.assert_allclose(moved, network(x**2, training=True), atol=1e-6)


def test_masks_and_random_weights_go_through_as_one_batch():
    pixels = keras.Input((5,))
    x = BetaBernoulliDropout()(BayesDense(4, activation="gelu")(pixels))
    network = keras.Model(pixels, BayesDense(2)(x))
    paired = PairedForward(network)
    assert paired.one_pass
    assert len(seed_states(network)) == 2


def test_no_latent_features_are_needed_where_nothing_counts_them():
    pixels = keras.Input((5,))
    paired = PairedForward(keras.Model(pixels, layers.Dense(2)(pixels)), required=False)
    (latents, logits), _ = paired(tf.ones([3, 5]), tf.ones([3, 5]), {}, True)
    assert latents == []
    assert logits.shape == (3, 2)
