"""Networks with random weights, of plain ones."""

import keras
import numpy as np
import pytest

from anp_tf.layers import BayesConv2D, bayes_layers, sampled_weights
from anp_tf.models.random_weights import with_fixed_weights, with_random_weights

layers = keras.layers


def own_network():
    x = pixels = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, activation="relu", name="conv")(x)
    x = layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = layers.BatchNormalization(name="norm")(x)
    twice = layers.Dense(4, name="shared")
    x = layers.Flatten()(twice(twice(x)))
    return keras.Model(pixels, layers.Dense(5, use_bias=False, name="logits")(x))


def test_there_and_back():
    network = own_network()
    for weight in network.weights:  # statistics included
        weight.assign(np.random.default_rng(0).uniform(0.1, 1, weight.shape))
    random, others = with_random_weights(network, prior_scale=0.5, initial_rho=-2.0)
    assert others == ["depthwise"]
    assert [layer.name for layer in bayes_layers(random)] == ["conv", "norm", "shared", "logits"]
    conv = random.get_layer("conv")
    assert isinstance(conv, BayesConv2D)
    assert (conv.prior_scale, conv.initial_rho) == (0.5, -2.0)
    pixels = np.random.default_rng(1).random((4, 8, 8, 3), np.float32)
    expected = network(pixels)
    np.testing.assert_allclose(random(pixels), expected, rtol=1e-5)
    with sampled_weights():
        assert not np.allclose(random(pixels), expected, rtol=1e-2)
    fixed = with_fixed_weights(random)
    assert not bayes_layers(fixed)
    assert [w.path for w in fixed.weights] == [w.path for w in network.weights]
    np.testing.assert_allclose(fixed(pixels), expected, rtol=1e-5)


def test_a_network_without_such_layers():
    pixels = keras.Input((8, 8, 3))
    network = keras.Model(pixels, layers.Flatten()(layers.DepthwiseConv2D(3)(pixels)))
    with pytest.raises(ValueError, match="a layer that is one of BatchNormalization, Conv2D, De"):
        with_random_weights(network)
