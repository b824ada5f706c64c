"""The function of a SavedModel as attacks compute it: the same logits and gradients."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import op_def_registry

from anp_tf.models.frozen_form import KNOWN, RENAMED, frozen_form


def normalized(x):
    layer = keras.layers.BatchNormalization()
    y = layer(x)
    random = np.random.default_rng(1)
    layer.set_weights([random.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
    return y


def network(kind):
    keras.utils.set_random_seed(2)
    x = start = keras.Input((14, 14, 2))
    if kind == "pooled":
        x = keras.layers.Conv2D(4, 3, activation="relu")(x)
        x = keras.layers.MaxPooling2D()(x)
        x = keras.layers.Conv2D(5, 3, strides=2, padding="same", use_bias=False)(x)
        x = keras.layers.ReLU()(normalized(x))
    else:
        x = normalized(keras.layers.Conv2D(4, 3, padding="same")(keras.layers.Rescaling(2.0)(x)))
        left = keras.layers.Conv2D(4, 3, padding="same", activation="tanh")(x)
        x = keras.layers.MaxPooling2D(3, strides=2)(keras.layers.Add()([x, left]))
    x = keras.layers.Flatten()(x)
    x = keras.layers.Lambda(lambda t: tf.gather(t, [*range(1, 40), 3], axis=-1))(x)
    return keras.Model(start, keras.layers.Dense(3)(keras.layers.Dense(6, activation="relu")(x)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pooled", "other"])
def test_logits_and_gradients_are_those_of_the_function(kind):
    model = network(kind)

    @tf.function(input_signature=[tf.TensorSpec([None, 14, 14, 2])])
    def function(pixels):
        tf.debugging.assert_less_equal(pixels, 1.0)
        return {"other": pixels, "logits": model(pixels, training=False)}

    x = tf.constant(np.random.default_rng(0).random((5, 14, 14, 2)), tf.float32)
    form = frozen_form(function.get_concrete_function(), "logits")
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        expected, logits = function(x)["logits"], tf.function(form)(x)
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    gradient = tape.gradient(expected, x)
    assert np.abs(gradient).max() > 0
    np.testing.assert_allclose(tape.gradient(logits, x), gradient, atol=1e-5)


def test_pixels_that_are_averaged_summed_or_expanded():
    ops = keras.ops

    @tf.function(input_signature=[tf.TensorSpec([None, 6, 6, 2])])
    def function(pixels):
        parts = [ops.mean(pixels, (1, 2)), ops.max(pixels, (1, 2)), ops.sum(pixels, (1, 2))]
        return {"logits": ops.prod(ops.expand_dims(ops.concatenate(parts, -1), 1), 1)}

    x = tf.constant(np.random.default_rng(0).random((5, 6, 6, 2)), tf.float32)
    form = frozen_form(function.get_concrete_function(), "logits")
    np.testing.assert_allclose(tf.function(form)(x), function(x)["logits"], atol=1e-6)


@pytest.mark.parametrize("kind", sorted(KNOWN))
def test_what_operations_read_has_the_name_of_python(kind):
    names = {RENAMED.get(each.name, each.name) for each in op_def_registry.get(kind).input_arg}
    assert names <= inspect.signature(getattr(tf.raw_ops, kind)).parameters.keys()


def test_a_function_of_other_operations_is_left_alone():
    draw = tf.function(lambda x: {"logits": x + tf.random.uniform([3])})
    assert frozen_form(draw.get_concrete_function(tf.TensorSpec([None, 3])), "logits") is None


def test_none_where_there_is_a_loop():
    """A variable in the body of a loop is none that can be frozen."""
    module = tf.Module()
    module.weight = tf.Variable(tf.ones([3, 2]))

    @tf.function
    def looped(x):
        rows = tf.map_fn(lambda row: tf.linalg.matvec(module.weight, row, True), x)
        return {"logits": tf.ensure_shape(rows, [None, 2])}

    function = looped.get_concrete_function(tf.TensorSpec([None, 3]))
    assert frozen_form(function, "logits") is None


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_precisions(dtype):
    keras.utils.set_random_seed(3)
    x = start = keras.Input((6, 6, 2), dtype=dtype)
    for layer in (
        keras.layers.Conv2D(3, 3, activation="relu", dtype=dtype),
        keras.layers.Flatten(dtype=dtype),
        keras.layers.Dense(4, dtype=dtype),
    ):
        x = layer(x)
    model = keras.Model(start, x)
    function = tf.function(lambda pixels: {"logits": model(pixels, training=False)})
    concrete = function.get_concrete_function(tf.TensorSpec([None, 6, 6, 2], dtype))
    pixels = tf.cast(np.random.default_rng(0).random((5, 6, 6, 2)), dtype)
    logits = frozen_form(concrete, "logits")(pixels)
    assert logits.dtype == dtype
    expected = tf.cast(model(pixels), tf.float64)
    np.testing.assert_allclose(tf.cast(logits, tf.float64), expected, atol=0.02)
