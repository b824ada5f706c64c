"""Convolutions of groups by other layers."""

import keras
import numpy as np
import pytest

from anp_tf.models.ungrouped import without_groups


def test_what_is_added_takes_no_name_of_a_layer():
    keras.utils.set_random_seed(0)
    pixels = keras.Input((6, 6, 4))
    x = keras.layers.Conv2D(8, 3, groups=2, name="conv", activation="relu")(pixels)
    for name in ("split", "concatenate", "activation", "conv_0"):
        x = keras.layers.ReLU(name=name)(x)
    model = keras.Model(pixels, keras.layers.Dense(3)(keras.layers.Flatten()(x)))
    keras.utils.clear_session()  # automatic names begin anew, as where it is loaded
    x = np.random.default_rng(0).random((3, 6, 6, 4), np.float32)
    np.testing.assert_allclose(without_groups(model)(x), model(x), atol=1e-6)


@pytest.mark.parametrize("padding", ["same", "causal"])
def test_depthwise_convolutions_of_series(padding):
    series = keras.Input((8, 6))
    x = keras.layers.Conv1D(12, 3, groups=6, padding=padding, activation="tanh")(series)
    model = keras.Model(series, x)
    x = np.random.default_rng(0).random((3, 8, 6), np.float32)
    np.testing.assert_allclose(without_groups(model)(x), model(x), atol=1e-6)


def test_an_initializer_of_the_whole_kernel():
    kernel = np.random.default_rng(0).normal(size=(3, 3, 2, 6))
    pixels = keras.Input((6, 6, 4))
    layer = keras.layers.Conv2D(
        6, 3, groups=2, kernel_initializer=keras.initializers.Constant(kernel)
    )
    model = keras.Model(pixels, layer(pixels))
    x = np.random.default_rng(1).random((3, 6, 6, 4), np.float32)
    np.testing.assert_allclose(without_groups(model)(x), model(x), atol=1e-6)
