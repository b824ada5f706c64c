"""Layers that move features and leave their values."""

import keras
import numpy as np

from anp_tf.pruning.handlers.base import (
    AVERAGE,
    WHOLE,
    Handler,
    PerChannel,
    alike,
    channels,
    is_any,
    is_one,
)
from anp_tf.pruning.slimmed import Slimmed


class Reshape(Handler):
    """`Reshape` and `Flatten`.

    Several positions may become channels: channel c of the p-th of them is then p * channels + c.
    Or the other way round. Otherwise all channels are kept.
    """

    single_input = True

    def tied(self, node):
        return alike(node)

    def whole(self, node):
        return [] if self._merged(node) or self._split(node) else node.inputs

    def knows(self, node):
        first = getattr(node.layer, "data_format", "channels_last") == "channels_last"
        same_batch = node.inputs[0].shape[0] == node.outputs[0].shape[0]
        return (
            first
            and same_batch
            and None not in (node.inputs[0].shape[-1], node.outputs[0].shape[-1])
        )

    def _merged(self, node):
        """How many positions become channels; 0 if that is not what happens."""
        before, after = channels(node.inputs[0]), channels(node.outputs[0])
        return 0 if after % before else after // before

    def _split(self, node):
        before, after = channels(node.inputs[0]), channels(node.outputs[0])
        return 0 if before % after else before // after

    def constants(self, node, *inputs):
        if self._merged(node):
            return np.tile(inputs[0], self._merged(node))
        if self._split(node):
            blocks = inputs[0].reshape(self._split(node), -1)
            return np.where((blocks == blocks[0]).all(axis=0), blocks[0], np.nan)
        return super().constants(node, *inputs)

    def keeps(self, node, constants, *kept):
        source, output = kept
        if self._merged(node) == 1:
            return [source | output] * 2
        if self._merged(node):
            if source.any() and not output.any():
                output = np.tile(source, self._merged(node))
            return [source | output.reshape(-1, len(source)).any(axis=0), output]
        if self._split(node):
            output = output | source.reshape(-1, len(output)).any(axis=0)
            return [np.tile(output, self._split(node)), output]
        return super().keeps(node, constants, *kept)

    def build(self, node, make, kept, constants, *sources):
        (source,) = sources
        before, after = channels(node.inputs[0]), channels(node.outputs[0])
        if self._merged(node):
            starts = np.arange(after // before) * before
            there = (starts[:, np.newaxis] + source.kept).ravel()
            repeated = [np.tile(a, len(starts)) for a in (source.factor, source.offset)]
        elif self._split(node):
            if not all(
                np.array_equal(np.tile(a[: len(kept)], self._split(node)), a)
                for a in (source.factor, source.offset)
            ):
                source = source.plain()
            there = kept
            repeated = [a[: len(kept)] for a in (source.factor, source.offset)]
        else:
            return super().build(node, make, kept, constants, *sources)
        changes = {}
        if isinstance(node.layer, keras.layers.Reshape):
            changes["target_shape"] = _target(node, len(there))
        elif not isinstance(node.layer, keras.layers.Flatten):  # `keras.ops.reshape`
            *sizes, last = node.layer.newshape
            changes["newshape"] = (*sizes, -1 if last == -1 else len(there))
        tensor, _ = make(node, [source.tensor], **changes)
        chosen = np.flatnonzero(np.isin(there, kept))
        if len(chosen) < len(there):
            tensor = source.added(keras.ops.take(tensor, chosen.astype(np.int32), axis=-1))
        return Slimmed(tensor, kept, *(a[chosen] for a in repeated))


def _target(node, last):
    """The shape [..., last] that a `Reshape` gets."""
    sizes = node.outputs[0].shape[1:-1]
    return [*(-1 if size is None else size for size in sizes), last]


def of_permute(node):
    """The handler of a `Permute`: channels may not move; else all are kept."""
    dims = node.layer.dims
    return AVERAGE if dims[-1] == len(dims) else WHOLE


def of_resizing(node):
    """The handler of a `Resizing` or `keras.ops.image.resize`, or None."""
    layer = node.layer
    if layer.data_format != "channels_last":
        return None
    if layer.pad_to_aspect_ratio:
        return PerChannel(is_any if layer.fill_value == 0 else is_one)
    return AVERAGE
