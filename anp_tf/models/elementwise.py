"""What an activation computes, whatever it is called: is it a function of each number by itself?"""

import dataclasses
import functools
import warnings
from collections.abc import Hashable

import keras
import numpy as np
import tensorflow as tf

# Where functions are compared: around 0, far from it, and the numbers they bend at.
_SIZES = [*np.geomspace(1e-3, 1e4, 29), 0.5, 1.0, 2.0, 3.0, 6.0]
NUMBERS = np.array([0.0, *_SIZES, *(-size for size in _SIZES)], np.float32)
FEW = 20  # of them, with another mean, deviation, minimum and maximum
TOLERANCE = 1e-4
# Layers whose `activation` is not the last thing they compute.
INNER = (keras.layers.RNN,)
# Layers that are activations and have no function, and operations of `keras.ops` likewise.
LAYERS = (
    keras.layers.ELU,
    keras.layers.LeakyReLU,
    keras.layers.PReLU,
    keras.layers.ReLU,
)
OPERATIONS = (
    *("Celu", "Clip", "Elu", "Gelu", "HardShrink", "HardSigmoid", "HardSilu", "HardTanh"),
    *("LeakyRelu", "LogSigmoid", "Maximum", "Minimum", "Mish", "Relu", "Relu6", "Selu", "Sigmoid"),
    *("Silu", "SoftShrink", "Softplus", "Softsign", "SparsePlus", "SparseSigmoid", "Squareplus"),
    *("ReLU", "Tanh", "TanhShrink", "Threshold"),
)


@dataclasses.dataclass(frozen=True)
class Elementwise:
    """A function of each number by itself.

    Attributes:
        is_linear: Boolean, whether f(x) = x.
        is_affine: Boolean, whether f(x) = a x + b.
        zero_at_zero: Boolean, whether f(0) = 0.
        bent_at_zero: Boolean, whether f(a x) = a f(x) for all a >= 0.
        is_gate: Boolean, whether its values are within [0, 1] and get to both ends.
    """

    is_linear: bool
    is_affine: bool
    zero_at_zero: bool
    bent_at_zero: bool
    is_gate: bool


def elementwise(function):
    """What a function, a layer or an operation computes, as `Elementwise`.

    It is found by calling it on numbers, so that `tf.nn.relu`, `keras.ops.relu`, a `ReLU` layer and
    a user's lambda are the same.

    Args:
        function: Any function of a tensor. A layer is not built: one that has weights, or that is
            not built yet, is no such function.

    Returns:
        `Elementwise`, or None if it is not a function of each number by itself.
    """
    if function is None:
        function = keras.activations.linear
    if isinstance(function, keras.layers.Lambda):  # in full precision, whatever the layer's is
        return _found(functools.partial(function.function, **function.arguments))
    if isinstance(function, keras.layers.Activation):
        function = function.activation
    if isinstance(function, keras.Layer) and (function.variables or not function.built):
        return None
    return _known(function) if isinstance(function, Hashable) else _found(function)


def activation_of(node):
    """The activation that a call of a layer ends in, as `Elementwise`, or None.

    It is the layer itself where it is one, such as `ReLU` or an operation of `keras.ops`, or the
    `activation` of any other layer. What is affine, such as a `Rescaling`, is none.

    Args:
        node: `anp_tf.models.node.Node`.
    """
    layer = node.layer
    if not isinstance(layer, keras.Layer):
        single = len(node.inputs) == 1 and type(layer).__name__ in OPERATIONS
        found = _found(as_function(node)) if single else None
    elif isinstance(layer, keras.layers.Lambda):
        found = elementwise(layer)
    elif isinstance(layer, LAYERS):
        is_weighted = isinstance(layer, keras.layers.PReLU)
        found = _PRELU if is_weighted else elementwise(layer)
    elif isinstance(layer, INNER):
        found = None
    else:
        found = elementwise(getattr(layer, "activation", None))
    return None if found is None or found.is_affine else found


def as_function(node):
    """A call of a layer or an operation as a function of its first input."""
    (tensor, *_) = node.inputs

    def function(x):
        args, kwargs = keras.tree.map_structure(
            lambda leaf: x if leaf is tensor else leaf, (node.args, node.kwargs)
        )
        return node.layer(*args, **kwargs)

    return function


def _found(function):
    rows = [NUMBERS[None], NUMBERS[:, None], NUMBERS[None, None, None, ::-1], 2 * NUMBERS[None]]
    rows.append(NUMBERS[None, :FEW])
    try:
        # Numbers also while a graph is traced; and Keras warns of what a user never asked for.
        with tf.init_scope(), np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
            values, column, reverse, doubled, few = (_called(function, row) for row in rows)
    except Exception:
        return None  # not a function of one tensor of any shape
    others = (column.T, reverse[0, 0, :, ::-1], np.hstack([few, values[:, FEW:]]))
    if not all(_alike(values, other) for other in others):
        return None
    (values,), (doubled,) = values, doubled
    at_zero, at_one = values[0], values[NUMBERS == 1][0]
    line = at_zero + (at_one - at_zero) * NUMBERS.astype(np.float64)
    least, most = np.nan_to_num(values).min(), np.nan_to_num(values).max()
    return Elementwise(
        is_linear=_alike(values, NUMBERS),
        is_affine=_alike(values, line),
        zero_at_zero=bool(at_zero == 0),
        bent_at_zero=bool(at_zero == 0) and _alike(doubled, 2 * values),
        is_gate=bool(0 <= least < 0.01 and 0.99 < most <= 1 + TOLERANCE),
    )


_known = functools.lru_cache(maxsize=256)(_found)
_PRELU = Elementwise(False, False, True, True, False)


def _called(function, numbers):
    result = np.asarray(keras.ops.cast(function(keras.ops.convert_to_tensor(numbers)), "float32"))
    if result.shape != numbers.shape:
        raise ValueError("The shape has changed.")
    return result.astype(np.float64)


def _alike(values, others):
    return bool(np.allclose(values, others, rtol=TOLERANCE, atol=1e-6, equal_nan=True))
