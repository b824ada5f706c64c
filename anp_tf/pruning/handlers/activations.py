"""Activations: layers, functions and operations that work on each number by itself."""

import keras
import numpy as np

from anp_tf.pruning.handlers.base import (
    WHOLE,
    PerChannel,
    is_any,
    is_not_negative,
    is_one,
    is_zero_or_one,
)

_BENT_AT_0 = ("leaky_relu", "relu")  # f(a x) = a f(x) for a >= 0
_ZERO_AT_0 = (  # f(0) = 0
    *("celu", "elu", "gelu", "hard_shrink", "hard_silu", "hard_tanh", "mish", "relu6", "selu"),
    *("silu", "soft_shrink", "softsign", "tanh", "tanh_shrink"),
)
_OTHERS = (
    *("exponential", "hard_sigmoid", "log_sigmoid", "sigmoid", "softplus", "sparse_plus"),
    *("sparse_sigmoid", "squareplus"),
)
# The functions of `keras.activations` that work on each number by itself, and the factors that
# pass them; the names of the operations of `keras.ops` on one tensor, and likewise.
FUNCTIONS = {keras.activations.linear: is_any}
OPERATIONS = {"Absolute": is_not_negative, "Negative": is_any}
for _names, _passes in (
    (_BENT_AT_0, is_not_negative),
    (_ZERO_AT_0, is_zero_or_one),
    (_OTHERS, is_one),
):
    for _name in _names:
        FUNCTIONS[getattr(keras.activations, _name)] = _passes
        OPERATIONS[_name.title().replace("_", "")] = _passes
_WITH_A_NUMBER = ("Add", "Divide", "Maximum", "Minimum", "Multiply", "Power", "Subtract")
_MORE = ("Clip", "Cos", "Exp", "Expm1", "Log1p", "Sin", "Sqrt", "Square", "TrueDivide")
OPERATIONS |= dict.fromkeys((*_WITH_A_NUMBER, *_MORE), is_one)
MIXING = tuple(getattr(keras.activations, name) for name in ("log_softmax", "softmax", "sparsemax"))


def of_activation(node):
    """The handler of a `keras.layers.Activation`, or None."""
    function = node.layer.activation
    if function in MIXING:
        return WHOLE
    return PerChannel(FUNCTIONS[function]) if function in FUNCTIONS else None


def of_relu(node):
    """The handler of a `keras.layers.ReLU`, which may have a bound, a threshold and a slope."""
    bent_at_0 = node.layer.max_value is None and node.layer.threshold == 0
    return PerChannel(is_not_negative if bent_at_0 else is_one)


def of_operation(node):
    """The handler of an operation of `keras.ops` on a tensor, and perhaps a number, or None."""
    name = type(node.layer).__name__
    numbers = [x for x in keras.tree.flatten((node.args, node.kwargs)) if x is not node.inputs[0]]
    if name in OPERATIONS and all(np.ndim(number) == 0 for number in numbers):
        return PerChannel(OPERATIONS[name])
    return None


class PReLU(PerChannel):
    """A slope per feature, or per channel where the other axes share it."""

    def __init__(self):
        super().__init__(is_not_negative)

    def build(self, node, make, kept, constants, *sources):
        (source,) = sources
        if not is_not_negative(source.factor) or np.any(source.offset):
            source = source.plain()
        (alpha,) = node.layer.get_weights()
        if alpha.shape[-1] > 1:
            alpha = alpha[..., kept]
        tensor, _ = make(node, [source.tensor], [alpha])
        return source.passed(tensor)


class Scaling(PerChannel):
    """`keras.layers.Rescaling` and `Normalization`: numbers of the configuration, not weights."""

    def __init__(self):
        super().__init__(is_one)

    def knows(self, node):
        layer = node.layer
        if isinstance(layer, keras.layers.Rescaling):
            return all(np.ndim(value) <= 1 for value in (layer.scale, layer.offset))
        return all(
            value.shape in ((), (1,) * (value.ndim - 1) + value.shape[-1:])
            for value in (np.asarray(layer.mean), np.asarray(layer.variance))
        )

    def build(self, node, make, kept, constants, *sources):
        source, layer = sources[0].plain(), node.layer
        total = len(constants[0])

        def cut(value):
            value = np.ravel(np.asarray(value, np.float64))
            return [float(v) for v in (value[kept] if len(value) == total > 1 else value)]

        if isinstance(layer, keras.layers.Rescaling):
            changes = {
                name: cut(value) if np.ndim(value) else value
                for name, value in (("scale", layer.scale), ("offset", layer.offset))
            }
        else:
            mean, variance = cut(layer.mean), cut(layer.variance)
            single = len(mean) == 1
            changes = {
                "axis": None if single else -1,
                "mean": mean[0] if single else mean,
                "variance": variance[0] if single else variance,
            }
        tensor, _ = make(node, [source.tensor], **changes)
        return source.passed(tensor)
