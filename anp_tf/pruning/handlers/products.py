"""Layers and operations that multiply features with one another, and others with all of them."""

import dataclasses
import math

import keras

from anp_tf.models.kinds import APPLIED, TRANSPOSED
from anp_tf.pruning.handlers.base import Handler
from anp_tf.pruning.layer_costs import known_sizes, multiply_adds


class Products(Handler):
    """Needs all channels of its inputs, and counts its own multiply-adds.

    Args:
        count: Function of a call that returns its multiply-adds per row, or None if it cannot.
    """

    def __init__(self, count):
        self._count = count

    def multiply_adds(self, node):
        return self._count(node)


def _sizes(node, tensor):
    """The sizes of a tensor's axes, of one row of the batch, or of a constant's."""
    shape = (1, *tensor.shape[1:]) if isinstance(tensor, keras.KerasTensor) else tensor.shape
    return known_sizes(node.layer.name, tuple(shape))


def _operands(node):
    return [*node.args, *node.kwargs.values()]


def _contraction(node, axis):
    """Each number of the output is a sum of products along an axis of the first operand."""
    length = _sizes(node, keras.tree.flatten(_operands(node))[0])[axis]
    return math.prod(_sizes(node, node.outputs[0])) * length


def _matmul(node):
    return _contraction(node, -1)


def _dot(node):
    axes = node.layer.axes
    return _contraction(node, axes if isinstance(axes, int) else axes[0])


def _of_indices(node, equation, operands):
    """A product for each value of all indices of an Einstein sum of two operands."""
    if len(operands) != 2:
        return None  # it depends on their order
    sizes = {}
    for indices, operand in zip(equation.split("->")[0].split(","), operands, strict=True):
        first, _, last = indices.strip().partition("...")
        shape = _sizes(node, operand)
        dots = range(len(first), len(shape) - len(last))
        # What the dots stand for is paired from the last axis on.
        names = [*first, *(axis - dots.stop for axis in dots), *last]
        for name, size in zip(names, shape, strict=True):
            sizes[name] = max(size, sizes.get(name, 1))
    return math.prod(sizes.values())


def _einsum(node):
    return _of_indices(node, node.layer.subscripts, _operands(node))


def _einsum_dense(node):
    return _of_indices(node, node.layer.equation, [node.inputs[0], node.layer.kernel])


def _attention(node):
    """For each query and key a score of all channels, and the sum of the values."""
    query, value = _operands(node)[0][:2]
    *queries, width = _sizes(node, query)
    *values, channels = _sizes(node, value)
    return math.prod(queries) * math.prod(values) * (width + channels)


def _heads_attention(node):
    """Of `keras.ops.dot_product_attention`: tensors [batch, positions, heads, channels]."""
    query, key = _operands(node)[:2]
    return 2 * math.prod(_sizes(node, query)) * _sizes(node, key)[1]


def _spectral(node):
    """In inference, the layer inside, with the kernel that training left."""
    inner = dataclasses.replace(node, layer=node.layer.layer)
    return multiply_adds(inner) if isinstance(inner.layer, APPLIED + TRANSPOSED) else None


LAYERS = {
    keras.layers.AdditiveAttention: Products(_attention),
    keras.layers.Attention: Products(_attention),
    keras.layers.Dot: Products(_dot),
    keras.layers.EinsumDense: Products(_einsum_dense),
    keras.layers.SpectralNormalization: Products(_spectral),
}
OPERATIONS = {  # by name
    "DotProductAttention": Products(_heads_attention),
    "Einsum": Products(_einsum),
    "Matmul": Products(_matmul),
}
