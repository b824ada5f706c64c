"""Copies of layers: what they compute, and what they are made of."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from anp_tf.models.copies import copy_layer, copy_state

RANDOM = np.random.default_rng(0)


def adapted():
    layer = layers.Normalization()
    layer.adapt(RANDOM.normal(5, 3, (40, 4)).astype(np.float32))
    return layer


def words(layer):
    layer.adapt(np.array(["a", "b c", "b"]))
    return layer


def discretized():
    layer = layers.Discretization(num_bins=3)
    layer.adapt(RANDOM.random((50, 1)))
    return layer


def scale(x):
    return x * 2 - 1


FLOATS = RANDOM.normal(size=(3, 4)).astype(np.float32)
SEQUENCE = RANDOM.normal(size=(2, 5, 4)).astype(np.float32)
TEXT = tf.constant([["a"], ["b"], ["z"]])
LAYERS = {
    "Normalization": (adapted, FLOATS),
    "StringLookup": (lambda: words(layers.StringLookup(output_mode="one_hot")), TEXT),
    "TextVectorization": (lambda: words(layers.TextVectorization()), TEXT[:, 0]),
    "Discretization": (discretized, FLOATS),
    "Lambda": (lambda: layers.Lambda(scale, name="scale"), FLOATS),
    "lambda": (lambda: layers.Lambda(lambda x, by: by * x, arguments={"by": 3.0}), FLOATS),
    "lambda as activation": (lambda: layers.Dense(3, activation=lambda x: x**2), FLOATS),
    "tf.nn": (lambda: layers.Dense(3, activation=tf.nn.relu6), FLOATS),
    "layer as activation": (lambda: layers.Dense(3, activation=layers.LeakyReLU(0.3)), FLOATS),
    "weights in an activation": (lambda: layers.Dense(3, activation=layers.PReLU()), FLOATS),
    "LSTM": (lambda: layers.LSTM(3, recurrent_activation=scale), SEQUENCE),
    "Bidirectional": (lambda: layers.Bidirectional(layers.GRU(3)), SEQUENCE),
    "TimeDistributed": (lambda: layers.TimeDistributed(layers.Dense(3)), SEQUENCE),
    "BatchNormalization": (layers.BatchNormalization, FLOATS),
}


@pytest.mark.parametrize(("make", "inputs"), LAYERS.values(), ids=LAYERS)
def test_a_copy_computes_the_same(make, inputs):
    layer = make()
    expected = layer(inputs)
    if not isinstance(layer, layers.Normalization):
        for weight in layer.weights:
            if keras.backend.is_float_dtype(weight.dtype):
                weight.assign(RANDOM.uniform(0.1, 1.0, weight.shape))
        expected = layer(inputs)
    copy = copy_layer(layer, "another")
    copy(inputs)
    copy_state(layer, copy)
    np.testing.assert_array_equal(copy(inputs), expected)
    assert (copy.name, type(copy)) == ("another", type(layer))
    ours = {id(weight) for weight in layer.weights}
    assert ours.isdisjoint(map(id, copy.weights))


def test_a_copy_keeps_its_policy_and_changes_its_configuration():
    layer = layers.Dense(3, dtype="mixed_bfloat16")
    layer.dtype_policy = "mixed_float16"
    copy = copy_layer(layer, units=5)
    assert (copy.dtype_policy.name, copy.units, copy.name) == ("mixed_float16", 5, layer.name)


def bank(shape, dtype=None):
    return np.arange(12.0).reshape(3, 4)  # whatever the shape


@pytest.mark.parametrize("initializer", [keras.initializers.Constant(bank(None)), bank])
def test_a_copy_of_another_size_has_no_initializer_of_a_shape(initializer):
    bias = keras.initializers.Constant(0.5)
    layer = layers.Dense(4, kernel_initializer=initializer, bias_initializer=bias)
    layer.build((None, 3))
    copy = copy_layer(layer, resized=True, units=2)
    copy.build((None, 3))
    assert copy.kernel.shape == (3, 2)
    np.testing.assert_array_equal(copy.bias, [0.5, 0.5])
    assert type(copy.kernel_initializer) is keras.initializers.GlorotUniform
    copy = copy_layer(layer)
    copy.build((None, 3))
    np.testing.assert_array_equal(copy.kernel, bank(None))


def test_an_activation_with_weights_that_is_not_built_yet():
    layer = layers.Dense(4, activation=layers.PReLU("uniform"))
    layer(FLOATS)
    copy = copy_layer(layer)
    copy(keras.Input((4,)))
    copy_state(layer, copy)
    np.testing.assert_array_equal(copy(FLOATS), layer(FLOATS))


def test_an_operation_with_an_array_is_copied():
    clip = keras.ops.clip(keras.Input((4,)), 0.0, FLOATS[0] ** 2)._keras_history.operation
    copy = copy_layer(clip, "another")
    assert (copy.name, copy._inbound_nodes, len(clip._inbound_nodes)) == ("another", [], 1)
    np.testing.assert_array_equal(copy(FLOATS), clip(FLOATS))


class Twice(layers.Layer):
    """A layer that does not say of what it is made."""

    def __init__(self, by):
        super().__init__(name="twice")
        self.by = by


def test_what_cannot_be_copied_is_named():
    with pytest.raises(ValueError, match=r"^Layer `twice` \(Twice\) cannot be copied") as error:
        copy_layer(Twice(2.0))
    assert "\n" not in str(error.value)


class SaysMore(keras.layers.Dense):
    """Its configuration has what its constructor does not take."""

    def get_config(self):
        return {**super().get_config(), "num_channels": 3}


def test_a_configuration_that_says_more():
    layer = SaysMore(5)
    layer.build((None, 3))
    copy = copy_layer(layer)
    copy.build((None, 3))
    copy_state(layer, copy)
    x = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(copy(x), layer(x))
