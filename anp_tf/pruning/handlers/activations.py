"""Activations: layers, functions and operations that work on each number by itself."""

import keras
import numpy as np

from anp_tf.models.elementwise import elementwise
from anp_tf.pruning.handlers.base import (
    WHOLE,
    PerChannel,
    is_any,
    is_not_negative,
    is_one,
    is_zero_or_one,
)

# The names of the operations of `keras.ops` on one tensor, and the factors that pass them.
_PASSED = {
    is_any: ("Negative",),
    is_not_negative: ("Absolute", "LeakyRelu", "Relu"),
    is_zero_or_one: (
        *("Celu", "Elu", "Gelu", "HardShrink", "HardSilu", "HardTanh", "Mish", "Relu6", "Selu"),
        *("Silu", "SoftShrink", "Softsign", "Tanh", "TanhShrink"),
    ),
    is_one: (
        *("Add", "Clip", "Cos", "Divide", "Exp", "Expm1", "HardSigmoid", "Log1p", "LogSigmoid"),
        *("Ceil", "Equal", "Erf", "Floor", "Greater", "GreaterEqual", "Less", "LessEqual", "Log"),
        *("LogicalNot", "Maximum", "Minimum", "Multiply", "NotEqual", "Power", "ReLU"),
        *("Reciprocal", "Round", "Rsqrt", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus"),
        *("SparsePlus", "SparseSigmoid", "Sqrt", "Square", "Squareplus", "Subtract", "Threshold"),
        "TrueDivide",
    ),
}
OPERATIONS = {name: passes for passes, names in _PASSED.items() for name in names}


def factors_that_pass(function):
    """The predicate of the factors that an elementwise function passes; None: it is no such one."""
    found = elementwise(function)
    if found is None:
        return None
    if found.is_linear:
        return is_any
    if found.bent_at_zero:
        return is_not_negative
    return is_zero_or_one if found.zero_at_zero else is_one


def of_activation(node):
    """The handler of a `keras.layers.Activation`: what is not elementwise needs all channels."""
    passes = factors_that_pass(node.layer.activation)
    return WHOLE if passes is None else PerChannel(passes)


def of_lambda(node):
    """The handler of a `keras.layers.Lambda` of an elementwise function, or None.

    One that was told its output's shape has no other, so that no channel can be cut there.
    """
    if node.layer._output_shape is not None:
        return None
    passes = factors_that_pass(node.layer)
    return None if passes is None else PerChannel(passes)


def of_relu(node):
    """The handler of a `keras.layers.ReLU`, which may have a bound, a threshold and a slope."""
    bent_at_0 = node.layer.max_value is None and node.layer.threshold == 0
    return PerChannel(is_not_negative if bent_at_0 else is_one)


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
        return all(
            value.shape in ((), (1,) * (value.ndim - 1) + value.shape[-1:])
            for value in map(np.asarray, self._numbers(node.layer))
        )

    def _numbers(self, layer):
        if isinstance(layer, keras.layers.Rescaling):
            return layer.scale, layer.offset
        return layer.mean, layer.variance

    def build(self, node, make, kept, constants, *sources):
        source, layer = sources[0].plain(), node.layer
        total = len(constants[0])

        def cut(value):
            value = np.asarray(value, np.float64)
            return value[..., kept] if value.size == total > 1 else value

        numbers = map(cut, self._numbers(layer))
        if isinstance(layer, keras.layers.Rescaling):
            scale, offset = (value.tolist() for value in numbers)
            changes = {"scale": scale, "offset": offset}
        else:
            mean, variance = (value.ravel().tolist() for value in numbers)
            single = len(mean) == 1
            changes = {
                "axis": None if single else -1,
                "mean": mean[0] if single else mean,
                "variance": variance[0] if single else variance,
            }
        tensor, _ = make(node, [source.tensor], **changes)
        return source.passed(tensor)
