"""The rules of activations, by layer, function and operation."""

import functools
import inspect

import keras
import numpy as np
import tensorflow as tf

from anp_tf.bounds.affine import Moves
from anp_tf.bounds.elementwise import Bent, Elementwise
from anp_tf.bounds.linear_layers import scaling

IDENTITY = Moves(lambda x: x)


def _lowest(function):
    """Where a function that falls and then rises, such as GELU, is lowest: by golden section."""
    low, high = -4.0, 0.0
    ratio = (np.sqrt(5.0) - 1) / 2
    for _ in range(80):
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        if function(a) < function(b):
            high = b
        else:
            low = a
    return (low + high) / 2


def _of_numbers(function):
    return lambda x: float(function(tf.constant(x, tf.float64)))


# By the name of the function in `keras.activations`: extrema, kinks and the bound on |f''|.
_SHAPES = {
    "celu": ((), (0.0,), 1.0),
    "elu": ((), (0.0,), 1.0),
    "exponential": ((), (), lambda lower, upper: tf.exp(upper)),
    "hard_shrink": ((), (), None),
    "hard_sigmoid": ((), (-3.0, 3.0), 0.0),
    "hard_silu": ((-1.5,), (-3.0, 3.0), 0.334),
    "hard_tanh": ((), (-1.0, 1.0), 0.0),
    "log_sigmoid": ((), (), 0.25),
    "relu6": ((), (0.0, 6.0), 0.0),
    "selu": ((), (0.0,), 1.76),
    "sigmoid": ((), (), 0.0963),
    "soft_shrink": ((), (-0.5, 0.5), 0.0),
    "softplus": ((), (), 0.25),
    "softsign": ((), (0.0,), 2.0),
    "sparse_plus": ((), (-1.0, 1.0), 0.501),
    "sparse_sigmoid": ((), (-1.0, 1.0), 0.0),
    "squareplus": ((), (), 0.25),
    "tanh": ((), (), 0.77),
    "tanh_shrink": ((), (), 0.77),
}
# Those with one minimum, and the bound on |f''|.
_DIPPING = {"gelu": 0.8, "mish": 0.7, "silu": 0.51}
NAMES = ("leaky_relu", "linear", "relu", *_SHAPES, *_DIPPING)


@functools.cache
def of_function(function):
    """The rule of a function of `keras.activations`, or None."""
    names = [name for name in NAMES if getattr(keras.activations, name) is function]
    return _of_name(names[0], function) if names else None


def _of_name(name, function):
    if name == "linear":
        return IDENTITY
    if name == "relu":
        return Bent(lambda dtype: 0.0)
    if name == "leaky_relu":
        return _leaky(0.2)
    if name in _DIPPING:
        lowest = _lowest(_of_numbers(function))
        return Elementwise(function, (lowest,), (), _DIPPING[name])
    return Elementwise(function, *_SHAPES[name])


def activation(node):
    return of_function(node.layer.activation)


def leaky_relu(node):
    return _leaky(node.layer.negative_slope)


def _leaky(slope):
    """The rule of a leaky ReLU: TensorFlow's slope is a float32 in float64 layers, too."""
    return Bent(lambda dtype: float(np.float32(slope)), ulps=2)


def prelu(node):
    layer = node.layer
    return Bent(lambda dtype: tf.cast(tf.convert_to_tensor(layer.alpha), dtype), ulps=2)


def elu(node):
    alpha = float(node.layer.alpha)
    if alpha < 0:
        return None
    # Rounding of exp(x) - 1 is multiplied by alpha.
    ulps = 16 * max(1.0, alpha)
    return Elementwise(lambda x: keras.activations.elu(x, alpha), (), (0.0,), alpha, ulps)


def relu(node):
    layer = node.layer
    slope, most, threshold = layer.negative_slope, layer.max_value, layer.threshold
    if most is None and threshold == 0:
        return _leaky(slope) if slope else Bent(lambda dtype: 0.0)
    if slope < 0 or threshold < 0 or (most is not None and most < threshold):
        return None  # it is not rising

    def function(x):
        return keras.activations.relu(x, slope, most, threshold)

    kinks = [threshold] if most is None else [threshold, most]
    return Elementwise(function, (), kinks, 0.0 if threshold == 0 else None)


def operation(node):
    """The rule of an operation of `keras.ops` on one tensor, and perhaps a number, or None."""
    name = type(node.layer).__name__
    rest = [x for x in keras.tree.flatten((node.args, node.kwargs)) if x is not node.inputs[0]]
    numbers = [x for x in rest if isinstance(x, int | float)]
    if name == "Take":
        return _take(node)
    if name == "Absolute":
        return Bent(lambda dtype: -1.0)
    if name == "Negative":
        return scaling(-1.0)
    if len(rest) == 1 and len(numbers) == 1:
        number = np.float64(numbers[0])  # a Python number would be taken for a float32
        return _with_a_number(name, number, node.args[0] is node.inputs[0])
    functions = {each.title().replace("_", ""): each for each in NAMES}
    plain = vars(node.layer).get("approximate", False) is False
    if rest or name not in functions or not plain:
        return None
    if name == "LeakyRelu":
        return _leaky(node.layer.negative_slope)
    if not _has_defaults(node.layer):
        return None
    return of_function(getattr(keras.activations, functions[name]))


def _has_defaults(layer):
    """Whether an operation has the arguments that the function of its name has by default."""
    parameters = inspect.signature(type(layer).__init__).parameters.values()
    return all(
        getattr(layer, each.name, each.default) == each.default
        for each in parameters
        if each.default is not each.empty and each.name not in ("name", "approximate")
    )


def _with_a_number(name, number, first):
    if name in ("Divide", "TrueDivide"):
        return scaling(1 / number) if first and number else None
    if name == "Subtract":
        return scaling(1.0, -number) if first else scaling(-1.0, number)
    return {"Add": scaling(1.0, number), "Multiply": scaling(number)}.get(name)


def _take(node):
    axis, indices = node.layer.axis, node.args[1] if len(node.args) > 1 else None
    shape = node.inputs[0].shape
    if indices is None or axis is None or axis % len(shape) == 0 or shape[axis] is None:
        return None
    # What counts from the end would be 0 on GPUs.
    indices = np.where(np.less(indices, 0), np.add(indices, shape[axis]), indices)
    return Moves(lambda x: tf.gather(x, tf.constant(indices), axis=axis))
