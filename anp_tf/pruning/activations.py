"""Which factors a nonlinearity lets through."""

import keras
import numpy as np


def is_any(factor):
    return True


def is_not_negative(factor):
    return np.all(factor >= 0)


def is_zero_or_one(factor):
    return np.all((factor == 0) | (factor == 1))


def is_one(factor):
    return np.all(factor == 1)


# Activations with f(0) = 0, and the factors that pass them.
_PASSES = {
    keras.activations.linear: is_any,
    keras.activations.relu: is_not_negative,
    keras.activations.leaky_relu: is_not_negative,
} | dict.fromkeys(
    (
        keras.activations.elu,
        keras.activations.gelu,
        keras.activations.relu6,
        keras.activations.selu,
        keras.activations.silu,
        keras.activations.softsign,
        keras.activations.tanh,
    ),
    is_zero_or_one,
)
ELEMENTWISE = {*_PASSES, keras.activations.sigmoid, keras.activations.softplus}


def passes(layer):
    """The predicate of the factors that pass an activation layer; None if f(0) is not 0."""
    if isinstance(layer, keras.layers.Activation):
        return _PASSES.get(layer.activation)
    if layer.max_value is None and layer.threshold == 0:
        return is_not_negative
    return is_zero_or_one if layer.threshold * layer.negative_slope == 0 else None
