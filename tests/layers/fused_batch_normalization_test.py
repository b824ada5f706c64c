"""Fused batch normalization against Keras's own."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from anp_tf.layers import FusedBatchNormalization
from anp_tf.pruning import slim


def pair(shape, dtype="float32", **arguments):
    """Keras's layer and the fused one, with the same random weights."""
    random = np.random.default_rng(0)
    layers = [
        kind(dtype=dtype, **arguments)
        for kind in (keras.layers.BatchNormalization, FusedBatchNormalization)
    ]
    for layer in layers:
        layer.build((None, *shape[1:]))
    weights = [random.uniform(0.5, 2.0, weight.shape) for weight in layers[0].get_weights()]
    for layer in layers:
        layer.set_weights(weights)
    return layers


def images(shape, dtype=np.float32):
    return tf.cast(np.random.default_rng(1).normal(3.0, 2.0, shape), dtype)


def results(layer, x, training):
    """The output, the gradients of a random function of it, and the moving averages."""
    upstream = tf.constant(np.random.default_rng(2).normal(size=x.shape), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = layer(x, training=training)
        total = tf.reduce_sum(tf.cast(outputs, tf.float32) * upstream)
    gradients = tape.gradient(total, [x, *layer.trainable_variables])
    return [outputs, *gradients, *layer.non_trainable_variables]


def assert_equal(layers, x, training, tolerance):
    expected, received = (results(layer, x, training) for layer in layers)
    for a, b in zip(expected, received, strict=True):
        assert a.dtype == b.dtype
        a, b = (np.asarray(tf.cast(t, tf.float32)) for t in (a, b))
        np.testing.assert_allclose(b, a, atol=tolerance * max(1.0, np.abs(a).max()))


CASES = [{}, {"scale": False}, {"center": False}, {"momentum": 0.5, "epsilon": 0.1}]


@pytest.mark.parametrize("arguments", CASES, ids=str)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("channels", [3, 11, 16, 20])
def test_outputs_gradients_and_moving_averages(arguments, training, channels):
    shape = (6, 5, 4, channels)
    assert_equal(pair(shape, **arguments), images(shape), training, 2e-6)


@settings(deadline=None)
@given(st.tuples(*[st.integers(1, 4)] * 4), st.booleans())
def test_any_shape(shape, training):
    assert_equal(pair(shape), images(shape), training, 1e-5)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("channels", [3, 11])
def test_bfloat16(training, channels):
    shape = (6, 5, 4, channels)
    layers = pair(shape, "mixed_bfloat16")
    assert_equal(layers, images(shape, tf.bfloat16), training, 1e-2)


@pytest.mark.parametrize(
    ("shape", "arguments"),
    [((6, 3), {}), ((6, 5, 3), {}), ((6, 5, 4, 3), {"axis": 1}), ((6, 5, 4, 3), {"epsilon": 1e-7})],
    ids=str,
)
def test_what_the_kernel_cannot_do_is_done_by_keras(shape, arguments):
    layers = pair(shape, **arguments)
    assert_equal(layers, images(shape), True, 1e-6)


def test_images_take_the_fused_kernel():
    (_, layer) = pair((6, 5, 4, 3))

    @tf.function
    def call(x):
        return layer(x, training=True)

    graph = call.get_concrete_function(images((6, 5, 4, 3))).graph
    assert "FusedBatchNormV3" in {operation.type for operation in graph.get_operations()}


def test_a_mask_is_heeded():
    layers = pair((6, 5, 4, 3))
    mask = np.random.default_rng(3).random((6, 5, 4)) < 0.5
    outputs = [layer(images((6, 5, 4, 3)), training=True, mask=mask) for layer in layers]
    np.testing.assert_allclose(*outputs, rtol=1e-6)


def test_a_layer_that_is_not_trainable_uses_the_moving_averages():
    layers = pair((6, 5, 4, 3))
    for layer in layers:
        layer.trainable = False
    assert_equal(layers, images((6, 5, 4, 3)), True, 2e-6)


def small_network(kind):
    pixels = keras.Input((6, 6, 1))
    x = kind(name="bn")(keras.layers.Conv2D(3, 3, name="conv")(pixels))
    return keras.Model(pixels, keras.layers.Flatten()(x))


def test_keras_file_round_trip(tmp_path):
    network = small_network(FusedBatchNormalization)
    network.save(tmp_path / "network.keras")
    loaded = keras.models.load_model(tmp_path / "network.keras")
    assert type(loaded.get_layer("bn")) is FusedBatchNormalization
    np.testing.assert_array_equal(loaded(images((2, 6, 6, 1))), network(images((2, 6, 6, 1))))


def test_slim_makes_plain_layers():
    network = small_network(FusedBatchNormalization)
    slimmed = slim(network)
    assert type(slimmed.get_layer("bn")) is keras.layers.BatchNormalization
    x = images((2, 6, 6, 1))
    np.testing.assert_allclose(slimmed(x), network(x), atol=1e-6)
