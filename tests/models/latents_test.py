"""The latent features are every ReLU output, and nothing else."""

import keras
import numpy as np
import pytest
from keras import layers

from anp_tf.layers import BetaBernoulliDropout
from anp_tf.models import lenet5_caffe, with_latents

X = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)


def sequence(*parts):
    """A functional network of layers in a row."""
    x = pixels = keras.Input((6,))
    for part in parts:
        x = part(x)
    return keras.Model(pixels, x, name="toy")


def layer_by_layer(network, x):
    outputs = []
    for layer in network.layers[1:]:
        x = layer(x)
        outputs.append(np.array(x))
    return outputs


def test_lenet():
    network = lenet5_caffe(lambda name: BetaBernoulliDropout(name=name), width_multiplier=0.1)
    x = np.random.default_rng(0).random((2, 28, 28, 1), np.float32)
    outputs = layer_by_layer(network, x)
    names = [layer.name for layer in network.layers[1:]]
    latents, logits = with_latents(network)(x)
    assert [z.shape for z in latents] == [(2, 24, 24, 2), (2, 8, 8, 5), (2, 50)]
    for z, name in zip(latents, ("relu1", "relu2", "relu3"), strict=True):
        np.testing.assert_allclose(z, outputs[names.index(name)], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(logits, network(x))


def test_shares_the_weights():
    network = sequence(layers.Dense(5), layers.ReLU(), layers.Dense(3))
    latent_network = with_latents(network)
    network.layers[1].kernel.assign(np.ones((6, 5)))
    latents, logits = latent_network(X)
    np.testing.assert_allclose(latents[0], np.maximum(X.sum(1, keepdims=True), 0) * np.ones(5))
    np.testing.assert_array_equal(logits, network(X))


def shared_relu():
    relu = layers.ReLU()
    return sequence(layers.Dense(5), relu, layers.Dense(4), relu, layers.Dense(3))


def test_relu_in_a_nested_model():
    inner = keras.Sequential([keras.Input((6,)), layers.Dense(5, activation="relu")])
    network = sequence(inner, layers.Dense(4), layers.ReLU(), layers.Dense(3))
    with pytest.raises(ValueError, match="inside the nested model"):
        with_latents(network)


NETWORKS = {
    "ReLU layer": (lambda: sequence(layers.Dense(5), layers.ReLU(), layers.Dense(3)), [5]),
    "activation": (lambda: sequence(layers.Dense(5, activation="relu"), layers.Dense(3)), [5]),
    "Activation layer": (
        lambda: sequence(layers.Dense(5), layers.Activation("relu"), layers.Dense(3)),
        [5],
    ),
    "both": (
        lambda: sequence(
            layers.Dense(5), layers.ReLU(), layers.Dense(4, activation="relu"), layers.Dense(3)
        ),
        [5, 4],
    ),
    "relu at the end": (
        lambda: sequence(layers.Dense(5, activation="relu"), layers.Dense(3, activation="relu")),
        [5],
    ),
    "other activations": (
        lambda: sequence(
            layers.Dense(5, activation="relu"), layers.Dense(4, activation="tanh"), layers.Dense(3)
        ),
        [5],
    ),
    "Sequential": (
        lambda: keras.Sequential(
            [keras.Input((6,)), layers.Dense(5), layers.ReLU(), layers.Dense(3)]
        ),
        [5],
    ),
    "one ReLU called twice": (shared_relu, [5, 4]),
    "operation": (lambda: sequence(layers.Dense(5), keras.ops.relu, layers.Dense(3)), [5]),
}


@pytest.mark.parametrize(("network", "widths"), NETWORKS.values(), ids=NETWORKS)
def test_every_hidden_relu_is_counted(network, widths):
    network = network()
    latents, logits = with_latents(network)(X)
    assert [z.shape[-1] for z in latents] == widths
    assert all(np.all(z >= 0) for z in latents)
    np.testing.assert_array_equal(logits, network(X))


@pytest.mark.parametrize(
    "network",
    [
        pytest.param(lambda: sequence(layers.Dense(3)), id="linear"),
        pytest.param(lambda: sequence(layers.Dense(5, activation="tanh")), id="tanh"),
        pytest.param(lambda: sequence(layers.Dense(3, activation="relu")), id="only at the end"),
    ],
)
def test_without_relu(network):
    with pytest.raises(ValueError, match=r"`toy` has no ReLU"):
        with_latents(network())
