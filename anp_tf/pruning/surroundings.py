"""What makes the units of masks, what reads them, and which of them are the same channels."""

import dataclasses

import keras
import numpy as np

from anp_tf.layers import BayesianMask, mask_layers
from anp_tf.models.graph import graph_of
from anp_tf.models.kinds import CONVS, DENSE, SEPARABLE, TRANSPOSED
from anp_tf.models.normalization import scale_and_shift
from anp_tf.pruning.handlers import channels, handler_of
from anp_tf.pruning.handlers.composite import inner_node
from anp_tf.pruning.handlers.linear import Depthwise
from anp_tf.pruning.handlers.merging import Concatenation
from anp_tf.pruning.handlers.operations import ChannelSlice, Split
from anp_tf.pruning.handlers.shapes import Reshape
from anp_tf.pruning.magnitude import filters_last

# What they do to channels they do to any array of them, by `constants`.
MOVING = ChannelSlice, Concatenation, Reshape, Split


@dataclasses.dataclass(frozen=True)
class _Channels:
    """What is known of the channels of a tensor.

    Attributes:
        norms: Float array [channels], the norm of what makes each; None: it is not known.
        masks: Tuple of pairs: each mask since the last layer that mixes channels, and the float
            array [channels] of its units that the channels are, NaN for a channel that is none.
        is_sum: Boolean, whether since then tensors were joined by elements.
    """

    norms: np.ndarray | None = None
    masks: tuple = ()
    is_sum: bool = False

    def norms_or_ones(self, count):
        return np.ones(count) if self.norms is None else self.norms

    def scaled(self, scale):
        return dataclasses.replace(self, norms=self.norms * np.abs(scale))


class Surroundings:
    """What is around the masks of a model.

    Behind a layer that is not known to keep channels apart, nothing is known of what is before it.

    Args:
        model: Functional `keras.Model` with masks.

    Attributes:
        made: Dict from a mask to the float array [units], the norm of what makes each unit; ones
            where that is not known.
        read: Dict from a mask to the float array [units], the squared norm of what reads it; ones
            where none of it is known.
        sources: Dict from a mask to a pair: the mask of the channels that its units are made of one
            by one, as by flattening, and the channel of each unit.
    """

    def __init__(self, model):
        self.made, self.read, self.sources = {}, {}, {}
        behind = {}  # `_Channels` by the tensor's id
        for node in graph_of(model).nodes:
            inputs = [behind.get(id(tensor), _Channels()) for tensor in node.inputs]
            outputs = self._outputs(node, inputs)
            behind.update(zip(map(id, node.outputs), outputs, strict=True))
        for mask in mask_layers(model):
            self.read.setdefault(mask, np.ones(mask.units))

    def _outputs(self, node, inputs):
        """The `_Channels` of the outputs of a call."""
        layer, handler = node.layer, handler_of(node)
        if isinstance(layer, keras.layers.TimeDistributed) and handler is not None:
            return self._outputs(inner_node(node), inputs)
        if isinstance(layer, BayesianMask):
            return [self._masked(layer, *inputs)]
        if isinstance(handler, Depthwise):
            return [_depthwise(*handler.kernels(layer), *inputs)]
        kernel = _kernel(layer)
        if kernel is not None:
            return [self._weighted(kernel, getattr(layer, "groups", 1), *inputs)]
        is_last = getattr(layer, "axis", None) in (-1, len(node.outputs[0].shape) - 1)
        if isinstance(layer, keras.layers.BatchNormalization) and is_last:
            (before,) = inputs
            return [before if before.norms is None else before.scaled(scale_and_shift(layer)[0])]
        if handler is None:
            return [_Channels()] * len(node.outputs)
        tied = {id(tensor) for tensor in handler.tied(node)}
        if tied:
            same = [x for x, tensor in zip(inputs, node.inputs, strict=True) if id(tensor) in tied]
            return [same[0] if len(inputs) == 1 else _joined(same)] * len(node.outputs)
        if isinstance(handler, MOVING):
            return _moved(node, handler, inputs)
        return [_Channels()] * len(node.outputs)

    def _masked(self, mask, before):
        norms = before.norms_or_ones(mask.units)
        self.made[mask] = norms
        if before.masks:
            source, units = before.masks[-1]
            is_whole = set(units) == set(range(source.units))
            if is_whole and source is not mask and (source.units < mask.units or not before.is_sum):
                self.sources[mask] = source, units.astype(int)
        masks = before.masks
        if all(mask is not other for other, _ in masks):
            masks = (*masks, (mask, np.arange(mask.units, dtype=np.float64)))
        return _Channels(norms, masks).scaled(np.array(mask.inference_mask()))

    def _weighted(self, kernel, groups, before):
        """Behind a kernel [..., inputs of a group, outputs], which reads the masks before it."""
        squares = np.square(kernel)
        others = tuple(range(kernel.ndim - 2))
        rows = squares.reshape(*kernel.shape[:-1], groups, -1).sum((*others, -1)).T.ravel()
        for mask, units in before.masks:
            known = ~np.isnan(units)
            read = self.read.setdefault(mask, np.zeros(mask.units))
            np.add.at(read, units[known].astype(int), rows[known])
        return _Channels(np.sqrt(squares.sum((*others, -2))))


def _kernel(layer):
    """What a layer weighs its inputs by, [..., inputs of a group, outputs]; None: not by that."""
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        return None
    if isinstance(layer, CONVS + DENSE + TRANSPOSED):
        return np.asarray(filters_last(layer), np.float64)
    if isinstance(layer, SEPARABLE):
        depthwise = np.asarray(layer.depthwise_kernel, np.float64)
        pointwise = np.asarray(layer.pointwise_kernel, np.float64)
        pointwise = pointwise.reshape(*depthwise.shape[-2:], -1)
        return np.einsum("...cm,cmo->...co", depthwise, pointwise)
    return None


def _depthwise(kernel, before):
    """Behind a kernel [..., channels, multiplier] of a depthwise convolution."""
    count, multiplier = kernel.shape[-2:]
    norms = np.repeat(before.norms_or_ones(count), multiplier)
    masks = tuple((mask, np.repeat(units, multiplier)) for mask, units in before.masks)
    scale = np.sqrt(np.square(kernel).sum(tuple(range(kernel.ndim - 2))))
    return _Channels(norms, masks, before.is_sum).scaled(scale.ravel())


def _joined(inputs):
    """Behind an operation by elements of several tensors with the same channels."""
    return _Channels(masks=sum((before.masks for before in inputs), ()), is_sum=True)


def _moved(node, handler, inputs):
    """Behind a call that gives its inputs' channels other places, or leaves some out."""
    counts = [channels(tensor) for tensor in node.inputs]

    def move(arrays):
        moved = handler.constants(node, *arrays)
        return moved if isinstance(moved, list) else [moved]

    norms = [None] * len(node.outputs)
    if any(before.norms is not None for before in inputs):
        pairs = zip(inputs, counts, strict=True)
        norms = move([before.norms_or_ones(count) for before, count in pairs])
        norms = [None if np.isnan(array).any() else array for array in norms]
    masks = [()] * len(node.outputs)
    for place, before in enumerate(inputs):
        for mask, units in before.masks:
            arrays = [np.full(count, np.nan) for count in counts]
            arrays[place] = units
            masks = [(*m, (mask, a)) for m, a in zip(masks, move(arrays), strict=True)]
    is_sum = any(before.is_sum for before in inputs)
    return [_Channels(n, m, is_sum) for n, m in zip(norms, masks, strict=True)]
