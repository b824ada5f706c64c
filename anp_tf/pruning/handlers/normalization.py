"""Normalizations."""

import numpy as np

from anp_tf.models.normalization import scale_and_shift
from anp_tf.pruning.handlers.base import Handler, PerChannel, channels, is_one, weights_of
from anp_tf.pruning.slimmed import slimmed


class BatchNormalization(PerChannel):
    """In inference a factor and an offset per channel: those before it are folded into it."""

    def __init__(self):
        super().__init__(is_one)

    def knows(self, node):
        return node.layer.axis in (-1, len(node.inputs[0].shape) - 1)

    def constants(self, node, *inputs):
        scale, shift = scale_and_shift(node.layer)
        return inputs[0] * scale + shift

    def _numbers(self, layer):
        size = len(np.asarray(layer.moving_mean))
        gamma = np.asarray(layer.gamma, np.float64) if layer.scale else np.ones(size)
        beta = np.asarray(layer.beta, np.float64) if layer.center else np.zeros(size)
        moments = (layer.moving_mean, layer.moving_variance)
        return gamma, beta, *(np.asarray(moment, np.float64) for moment in moments)

    def build(self, node, make, kept, constants, *sources):
        (source,), layer = sources, node.layer
        if np.any(source.factor == 0) or (not layer.scale and np.any(source.factor != 1)):
            source = source.plain()
        gamma, beta, mean, variance = (array[kept] for array in self._numbers(layer))
        gamma = gamma * source.factor
        mean = (mean - source.offset) / source.factor
        present = [gamma] * layer.scale + [beta] * layer.center
        # Without the weights of batch renormalization, which inference does not read.
        changes = {"renorm": False} if getattr(layer, "renorm", False) else {}
        tensor, copy = make(node, [source.tensor], [*present, mean, variance], **changes)
        fold = None
        if copy is not None and layer.scale:

            def fold(factor):
                scaled = [array * factor for array in present]
                copy.set_weights([*scaled, mean, variance])

        return slimmed(tensor, kept, fold)


class GroupNormalization(Handler):
    """Groups of constants go; in a group with others all channels stay."""

    def knows(self, node):
        return node.layer.axis in (-1, len(node.inputs[0].shape) - 1)

    single_input = True
    needs_all = False

    def tied(self, node):
        return node.inputs

    def _groups(self, node):
        total = channels(node.inputs[0])
        return total if node.layer.groups == -1 else node.layer.groups

    def constants(self, node, *inputs):
        layer, blocks = node.layer, inputs[0].reshape(self._groups(node), -1)
        mean = blocks.mean(axis=1, keepdims=True)
        variance = blocks.var(axis=1, keepdims=True)
        values = ((blocks - mean) / np.sqrt(variance + layer.epsilon)).ravel()
        values = values * np.asarray(layer.gamma) if layer.scale else values
        return values + np.asarray(layer.beta) if layer.center else values

    def keeps(self, node, constants, *kept):
        groups = np.logical_or.reduce(kept).reshape(self._groups(node), -1).any(axis=1)
        whole = np.repeat(groups, len(kept[0]) // len(groups))
        return [whole, whole]

    def build(self, node, make, kept, constants, *sources):
        source = sources[0].plain()
        weights = weights_of(node.layer)
        weights = weights and [weight[kept] for weight in weights]
        per_group = len(constants[0]) // self._groups(node)
        groups = len(kept) // per_group
        tensor, _ = make(node, [source.tensor], weights, groups=groups)
        return slimmed(tensor, kept)


class RMSNormalization(Handler):
    """Channels of 0 change nothing but the number of channels, which the mean is over."""

    single_input = True
    needs_all = False

    def knows(self, node):
        axes = node.layer.axis if isinstance(node.layer.axis, list | tuple) else [node.layer.axis]
        return list(axes) in ([-1], [len(node.inputs[0].shape) - 1])

    def tied(self, node):
        return node.inputs

    def constants(self, node, *inputs):
        return np.where(inputs[0] == 0, 0.0, np.nan)

    def keeps(self, node, constants, *kept):
        both = np.logical_or.reduce(kept)
        both = both | (both.any() & (constants[0] != 0))
        return [both, both]

    def build(self, node, make, kept, constants, *sources):
        source, layer = sources[0].plain(), node.layer
        more = len(constants[0]) / len(kept)
        scale = np.asarray(layer.scale, np.float64)[kept] * np.sqrt(more)
        changes = {"epsilon": layer.epsilon * more, "axis": -1}
        tensor, copy = make(node, [source.tensor], [scale], **changes)
        fold = None
        if copy is not None:

            def fold(factor):
                copy.set_weights([scale * factor])

        return slimmed(tensor, kept, fold)
