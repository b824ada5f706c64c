"""Operations of `keras.ops`, which networks may be written in without layers."""

import dataclasses

import keras
import numpy as np

from anp_tf.pruning.handlers.activations import OPERATIONS
from anp_tf.pruning.handlers.base import (
    AVERAGE,
    MAXIMUM,
    WHOLE,
    Handler,
    PerChannel,
    channels,
    is_any,
    is_one,
    probe,
)
from anp_tf.pruning.handlers.merging import Concatenation, Merge, Product, Sum
from anp_tf.pruning.handlers.products import OPERATIONS as PRODUCTS
from anp_tf.pruning.handlers.shapes import Reshape, of_resizing
from anp_tf.pruning.slimmed import Slimmed, slimmed

_SUM = PerChannel(is_any)
_RESHAPE, _CONCATENATION = Reshape(), Concatenation()


class Pointwise(Merge):
    """Any operation of several tensors, and perhaps numbers, that works on each place by itself."""

    def __init__(self):
        super().__init__(None)

    def constants(self, node, *inputs):
        return probe(node, *inputs)


class WithVector(PerChannel):
    """An operation of a tensor and of constants, which may differ by channel."""

    def __init__(self):
        super().__init__(is_one)

    def build(self, node, make, kept, constants, *sources):
        source, total = sources[0].plain(), len(constants[0])

        def cut(leaf):
            is_vector = _is_array(leaf) and np.ndim(leaf) and np.shape(leaf)[-1] == total > 1
            return np.asarray(leaf)[..., kept] if is_vector else leaf

        args, kwargs = keras.tree.map_structure(cut, (node.args, node.kwargs))
        node = dataclasses.replace(node, args=args, kwargs=kwargs)
        tensor, _ = make(node, [source.tensor])
        return source.passed(tensor)


class ChannelSlice(Handler):
    """`x[..., start:stop:step]`: some of the channels."""

    needs_all = False

    def places(self, node):
        """The channels that are taken."""
        return np.arange(channels(node.inputs[0]))[_entries(node)[-1]]

    def constants(self, node, *inputs):
        return inputs[0][self.places(node)]

    def keeps(self, node, constants, *kept):
        source, output = (array.copy() for array in kept)
        output |= source[self.places(node)]
        source[self.places(node)] |= output
        return [source, output]

    def build(self, node, make, kept, constants, *sources):
        (source,) = sources
        return taken(source, self.places(node)[kept], kept)


class Split(Handler):
    """Channels, or positions, in several tensors."""

    needs_all = False

    single_output = False

    def _bounds(self, node):
        sizes = [channels(tensor) for tensor in node.outputs]
        return np.cumsum([0, *sizes])

    def _is_of_channels(self, node):
        return node.layer.axis in (-1, len(node.inputs[0].shape) - 1)

    def tied(self, node):
        return [] if self._is_of_channels(node) else node.inputs

    def constants(self, node, *inputs):
        if not self._is_of_channels(node):
            return [inputs[0]] * len(node.outputs)
        return np.split(inputs[0], self._bounds(node)[1:-1])

    def keeps(self, node, constants, *kept):
        source, *outputs = kept
        if not self._is_of_channels(node):
            return [np.logical_or.reduce(kept)] * len(kept)
        source = source | np.concatenate(outputs)
        return [source, *np.split(source, self._bounds(node)[1:-1])]

    def build(self, node, make, kept, constants, *sources):
        (source,) = sources
        if not self._is_of_channels(node):
            tensors, _ = make(node, [source.tensor])
            return [source.passed(tensor) for tensor in tensors]
        bounds = self._bounds(node)
        return [
            taken(source, start + units, units)
            for start, units in zip(bounds[:-1], kept, strict=True)
        ]


def taken(source, places, kept):
    """Some of the channels of a source, by their places in the masked network."""
    if not len(places):
        return slimmed(None, [])
    chosen = np.searchsorted(source.kept, places)
    tensor = source.tensor
    if not np.array_equal(chosen, np.arange(len(source.kept))):
        step = int(chosen[1] - chosen[0]) if len(chosen) > 1 else 1
        if step > 0 and np.all(np.diff(chosen) == step):
            tensor = source.added(tensor[..., int(chosen[0]) : int(chosen[-1]) + 1 : step])
        else:
            tensor = source.added(keras.ops.take(tensor, chosen.astype(np.int32), axis=-1))
    return Slimmed(tensor, kept, source.factor[chosen], source.offset[chosen])


def of_operation(node):
    """The handler of an operation, or None."""
    name = type(node.layer).__name__
    leaves = keras.tree.flatten((node.args, node.kwargs))
    others = [leaf for leaf in leaves if not any(leaf is tensor for tensor in node.inputs)]
    if name in _OF_SEVERAL and len(node.inputs) > 1:
        return _OF_SEVERAL[name] if all(np.ndim(other) == 0 for other in others) else None
    if name in _BY_NAME:
        return _BY_NAME[name](node)
    if name in PRODUCTS:
        return PRODUCTS[name]
    if len(node.inputs) != 1 or name not in OPERATIONS or _has_array(node.layer):
        return None
    if all(np.ndim(other) == 0 for other in others):
        return PerChannel(OPERATIONS[name])
    fits = all(_is_array(other) or np.ndim(other) == 0 for other in others) and tuple(
        node.outputs[0].shape
    ) == tuple(node.inputs[0].shape)
    return WithVector() if fits else None


def _has_array(operation):
    """Whether an operation itself has arrays, as `clip` has its bounds, which are not cut."""
    return any(np.ndim(value) for key, value in vars(operation).items() if key[0] != "_")


def _is_array(leaf):
    return hasattr(leaf, "shape") and not isinstance(leaf, keras.Variable | keras.KerasTensor)


def _axes(axis, rank):
    if axis is None:
        return list(range(rank))
    return [a % rank for a in keras.tree.flatten(axis)]


def _reduction(handler):
    def of(node):
        rank = len(node.inputs[0].shape)
        axes = _axes(node.layer.axis, rank)
        if 0 in axes:
            return None
        if getattr(node.layer, "initial", None) is not None:
            return WHOLE  # a number among them, which no factor reaches
        return WHOLE if rank - 1 in axes else handler

    return of


def _concatenation(node):
    arguments = keras.tree.flatten(node.args) + keras.tree.flatten(node.kwargs)
    return _CONCATENATION if len(arguments) == len(node.inputs) else None


def _pad(node):
    layer, rank = node.layer, len(node.inputs[0].shape)
    widths = list(layer.pad_width) * (rank if len(layer.pad_width) == 1 else 1)
    if any(any(width) for width in (widths[0], widths[-1])):
        return None
    if layer.mode != "constant":
        return AVERAGE
    value = [*node.args[1:], *node.kwargs.values()]
    return PerChannel(is_any if all(v in (None, 0) for v in value) else is_one)


def _pooling(handler):
    def of(node):
        form = node.layer.data_format or keras.config.image_data_format()
        return handler if form == "channels_last" else None

    return of


def _transpose(node):
    rank = len(node.inputs[0].shape)
    axes = list(range(rank))[::-1] if node.layer.axes is None else _axes(node.layer.axes, rank)
    if axes[0] != 0:
        return None
    return AVERAGE if axes[-1] == rank - 1 else WHOLE


def _of_positions(node):
    """Operations whose `axis` is one of positions, which move them."""
    rank = max(len(node.inputs[0].shape), len(node.outputs[0].shape))
    axes = _axes(node.layer.axis, rank)
    if 0 in axes:
        return None
    return WHOLE if rank - 1 in axes else AVERAGE


def _entries(node):
    """What an indexing takes of each axis of its input; None if it is not of slices and numbers."""
    arguments = [*node.args, *node.kwargs.values()]
    key = arguments[1] if len(arguments) == 2 else None
    key = list(key) if isinstance(key, tuple | list) else [key]
    rank = len(node.inputs[0].shape)
    if any(not isinstance(entry, slice | int | type(Ellipsis)) for entry in key):
        return None
    if Ellipsis in key:
        place = key.index(Ellipsis)
        key[place : place + 1] = [slice(None)] * (rank - len(key) + 1)
    return [*key, *[slice(None)] * (rank - len(key))]


def _indexing(node):
    entries = _entries(node)
    if entries is None or entries[0] != slice(None):
        return None
    if entries[-1] == slice(None):
        return AVERAGE
    of_channels = isinstance(entries[-1], slice) and all(e == slice(None) for e in entries[:-1])
    return ChannelSlice() if of_channels else WHOLE


_POINTWISE = Pointwise()
_OF_SEVERAL = {
    "Add": Sum(),
    "Maximum": Merge(np.maximum),
    "Minimum": Merge(np.minimum),
    "Multiply": Product(),
    "Subtract": Merge(np.subtract),
}
_OF_SEVERAL |= dict.fromkeys(
    (
        *("Arctan2", "Divide", "Equal", "Greater", "GreaterEqual", "Less", "LessEqual"),
        *("LogicalAnd", "LogicalOr", "NotEqual", "Power", "TrueDivide", "Where"),
    ),
    _POINTWISE,
)
_BY_NAME = {
    "Mean": _reduction(AVERAGE),
    "Max": _reduction(MAXIMUM),
    "Amax": _reduction(MAXIMUM),
    "Min": _reduction(MAXIMUM),
    "Amin": _reduction(MAXIMUM),
    "Sum": _reduction(_SUM),
    "Concatenate": _concatenation,
    "Pad": _pad,
    "MaxPool": _pooling(MAXIMUM),
    "AveragePool": _pooling(AVERAGE),
    "AdaptiveAveragePool": _pooling(AVERAGE),
    "AdaptiveMaxPool": _pooling(MAXIMUM),
    "Reshape": lambda node: _RESHAPE,
    "Transpose": _transpose,
    "Split": lambda node: None if node.layer.axis == 0 else Split(),
    "GetItem": _indexing,
    "ExpandDims": _of_positions,
    "Squeeze": _of_positions,
    "Flip": _of_positions,
    "Roll": _of_positions,
    "Resize": of_resizing,
    "Softmax": lambda node: WHOLE,
    "LogSoftmax": lambda node: WHOLE,
}
