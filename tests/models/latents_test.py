"""The latent features are the outputs of every activation, and nothing else."""

import keras
import numpy as np
import pytest
import tensorflow as tf
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


def nested():
    inner = keras.Sequential([keras.Input((6,)), layers.Dense(5, activation="relu")])
    return sequence(inner, layers.Dense(4), layers.ReLU(), layers.Dense(3))


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
        [5, 4],
    ),
    "Sequential": (
        lambda: keras.Sequential(
            [keras.Input((6,)), layers.Dense(5), layers.ReLU(), layers.Dense(3)]
        ),
        [5],
    ),
    "one ReLU called twice": (shared_relu, [5, 4]),
    "in a nested model": (nested, [5, 4]),
    "what is affine": (
        lambda: sequence(
            layers.Dense(5, activation="relu"),
            layers.Rescaling(2.0, offset=1.0),
            layers.Lambda(lambda x: 2 * x - 1),
            lambda x: x * 3.0,
            layers.Dense(3),
        ),
        [5],
    ),
}


@pytest.mark.parametrize(("network", "widths"), NETWORKS.values(), ids=NETWORKS)
def test_every_hidden_activation_is_counted(network, widths):
    network = network()
    latents, logits = with_latents(network)(X)
    assert [z.shape[-1] for z in latents] == widths
    np.testing.assert_array_equal(logits, network(X))


def of_name(name):
    return lambda: layers.Activation(name)


ACTIVATIONS = {
    **{
        name: of_name(name)
        for name in (
            *("gelu", "silu", "relu6", "leaky_relu", "elu", "selu", "hard_silu", "mish", "tanh"),
            *("sigmoid", "softplus", "celu", "hard_sigmoid", "log_sigmoid", "softsign"),
        )
    },
    "tf.nn.relu": lambda: layers.Activation(tf.nn.relu),
    "tf.nn.gelu": lambda: layers.Activation(tf.nn.gelu),
    "keras.ops.gelu": lambda: layers.Activation(keras.ops.gelu),
    "operation": lambda: keras.ops.silu,
    "operation with a number": lambda: lambda x: keras.ops.maximum(x, 0.0),
    "function": lambda: lambda x: keras.activations.relu(x, max_value=2.0),
    "of a user": lambda: layers.Activation(lambda x: keras.ops.square(keras.ops.relu(x))),
    "Lambda": lambda: layers.Lambda(lambda x: tf.nn.relu(x) ** 2),
    "LeakyReLU": layers.LeakyReLU,
    "PReLU": layers.PReLU,
    "ELU": layers.ELU,
    "ReLU6": lambda: layers.ReLU(6.0),
    "layer as a function": lambda: layers.Dense(5, activation=layers.LeakyReLU(0.2)),
}


@pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=ACTIVATIONS)
def test_an_activation_is_known_by_what_it_computes(activation):
    network = sequence(layers.Dense(5), activation(), layers.Dense(3))
    latents, logits = with_latents(network)(X)
    assert [z.shape[-1] for z in latents] == [5]
    x = network.layers[1](X)
    for operation in network.operations[2:-1]:
        x = operation(x, 0.0) if type(operation).__name__ == "Maximum" else operation(x)
    np.testing.assert_allclose(latents[0], x, rtol=1e-6)
    np.testing.assert_array_equal(logits, network(X))


def squeezed(activation):
    """A squeeze-and-excite block whose gate ends in an activation."""
    x = pixels = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, activation="silu", name="features")(x)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(2, 1, activation="silu", name="squeeze")(gate)
    gate = activation(layers.Conv2D(4, 1)(gate))
    x = layers.Flatten()(layers.Multiply()([x, gate]))
    return keras.Model(pixels, layers.Dense(3)(x))


GATES = {
    "sigmoid": keras.ops.sigmoid,
    "layer": lambda x: layers.Activation("hard_sigmoid")(x),
    "of ReLU6": lambda x: layers.ReLU(6.0)(x + 3.0) * (1.0 / 6.0),
    "dropped": lambda x: layers.Dropout(0.5)(layers.Activation("sigmoid")(x)),
}


@pytest.mark.parametrize("gate", GATES.values(), ids=GATES)
def test_gates_are_no_latent_features(gate):
    latents, _ = with_latents(squeezed(gate)).output
    assert [tuple(z.shape[1:]) for z in latents] == [(6, 6, 4), (1, 1, 2)]


def test_a_gated_linear_unit_and_a_product_of_two_activations():
    x = pixels = keras.Input((6,))
    x = layers.Dense(5)(x) * layers.Dense(5, activation="sigmoid")(x)
    a, b = layers.Dense(4, activation="relu")(x), layers.Dense(4, activation="gelu")(x)
    latents, _ = with_latents(keras.Model(pixels, layers.Dense(3)(a * b))).output
    assert [z.shape[-1] for z in latents] == [4, 4]


def test_latents_are_chosen_by_name():
    network = sequence(
        layers.Dense(5, name="first"),
        layers.ReLU(),
        layers.Dense(4, name="second"),
        layers.Dense(3),
    )
    latents, _ = with_latents(network, ["second", "first"])(X)
    assert [z.shape[-1] for z in latents] == [5, 4]
    np.testing.assert_allclose(latents[0], network.layers[1](X), rtol=1e-6)
    last = network.layers[-1].name
    with pytest.raises(ValueError, match=rf"between the input and the output. Received: {last}, x"):
        with_latents(network, ["x", "first", last])
    with pytest.raises(ValueError, match=r"`latents` must name layers .* Received: 3"):
        with_latents(network, 3)


@pytest.mark.parametrize(
    "network",
    [
        pytest.param(lambda: sequence(layers.Dense(3)), id="linear"),
        pytest.param(lambda: sequence(layers.Dense(3, activation="relu")), id="only at the end"),
    ],
)
def test_without_an_activation(network):
    with pytest.raises(ValueError, match=r"`toy` has no activation"):
        with_latents(network())
