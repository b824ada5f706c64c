"""Layers and operations of several inputs."""

import keras
import numpy as np

from anp_tf.pruning.handlers.base import Handler, alike, channels
from anp_tf.pruning.slimmed import Slimmed, slimmed


class Merge(Handler):
    """An elementwise function of tensors of equally many channels, or of one channel.

    Args:
        function: NumPy's function of two arrays, or of a list of them if `of_list`.
    """

    def __init__(self, function, of_list=False):
        self._function = function
        self._of_list = of_list

    def knows(self, node):
        widths = {channels(tensor) for tensor in (*node.inputs, *node.outputs)}
        ranks = {len(tensor.shape) for tensor in node.inputs}
        return len(node.inputs) > 1 and len(ranks) == 1 and widths <= {max(widths), 1}

    def tied(self, node):
        return alike(node)

    def whole(self, node):
        return [x for x in node.inputs if channels(x) != channels(node.outputs[0])]

    def combined(self, arrays):
        if self._of_list:
            return self._function(np.broadcast_arrays(*arrays))
        result = arrays[0]
        for array in arrays[1:]:
            result = self._function(result, array)
        return result

    def constants(self, node, *inputs):
        return self.combined(inputs)

    def keeps(self, node, constants, *kept):
        full = [array for array in kept if len(array) == len(kept[-1])]
        union = np.logical_or.reduce(full)
        return [union if len(a) == len(union) else a | union.any() for a in kept]

    def build(self, node, make, kept, constants, *sources):
        tensor, _ = make(node, [source.plain().tensor for source in sources])
        return slimmed(tensor, kept)


class _Dropping(Merge):
    """One that an operand of constants can leave: it becomes an offset or a factor."""

    def _dropped(self, node, constants):
        """Which operands are all constants, where another one has the shape of the output."""
        dropped = [not np.isnan(array).any() for array in constants]
        shape = node.outputs[0].shape
        others = any(
            not gone and tensor.shape == shape
            for gone, tensor in zip(dropped, node.inputs, strict=True)
        )
        return dropped if others else [False] * len(dropped)

    def keeps(self, node, constants, *kept):
        dropped = [*self._dropped(node, constants), False]
        stay = [array for array, gone in zip(kept, dropped, strict=True) if not gone]
        after = iter(super().keeps(node, constants, *stay))
        return [a if gone else next(after) for a, gone in zip(kept, dropped, strict=True)]

    def build(self, node, make, kept, constants, *sources):
        dropped = self._dropped(node, constants)
        total = channels(node.outputs[0])
        absent = [
            np.broadcast_to(array, total)[kept]
            for array, gone in zip(constants, dropped, strict=True)
            if gone
        ]
        stay = [source for source, gone in zip(sources, dropped, strict=True) if not gone]
        return self.absorbed(self.joined(node, make, kept, stay), absent)

    def joined(self, node, make, kept, stay):
        if len(stay) == 1:
            return stay[0]
        tensor, _ = make(node, [source.tensor for source in stay])
        return slimmed(tensor, kept)


class Sum(_Dropping):
    def __init__(self):
        super().__init__(np.add)

    def joined(self, node, make, kept, stay):
        first = stay[0]
        alike = all(
            np.array_equal(source.factor, first.factor) and np.array_equal(source.kept, kept)
            for source in stay  # one of one channel, which is added to all, has other places
        )
        if alike and len(stay) > 1:
            offset = sum(source.offset for source in stay)
            tensor, _ = make(node, [source.tensor for source in stay])
            return first.passed(tensor, offset=offset)
        if len(stay) > 1:
            stay = [source.plain() for source in stay]
        return super().joined(node, make, kept, stay)

    def absorbed(self, source, absent):
        offset = source.offset + sum(absent, np.zeros(len(source.kept)))
        return source.passed(source.tensor, offset=offset)


class Product(_Dropping):
    def __init__(self):
        super().__init__(np.multiply)

    def constants(self, node, *inputs):
        inputs = np.broadcast_arrays(*inputs)
        zero = np.logical_or.reduce([array == 0 for array in inputs])
        return np.where(zero, 0.0, self.combined(inputs))

    def joined(self, node, make, kept, stay):
        if len(stay) > 1:
            stay = [source.plain() for source in stay]
        return super().joined(node, make, kept, stay)

    def absorbed(self, source, absent):
        factor = np.prod([np.ones(len(source.kept)), *absent], axis=0)
        return source.passed(
            source.tensor, factor=source.factor * factor, offset=source.offset * factor
        )


class Concatenation(Handler):
    """Channels one after the other, or the same channels at more positions."""

    needs_all = False

    def is_of_channels(self, node):
        """Whether it is the channels that are concatenated."""
        return node.layer.axis in (-1, len(node.outputs[0].shape) - 1)

    def tied(self, node):
        return [] if self.is_of_channels(node) else node.inputs

    def constants(self, node, *inputs):
        if self.is_of_channels(node):
            return np.concatenate(inputs)
        same = np.logical_and.reduce([array == inputs[0] for array in inputs])
        return np.where(same, inputs[0], np.nan)

    def keeps(self, node, constants, *kept):
        *inputs, output = kept
        if self.is_of_channels(node):
            output = output | np.concatenate(inputs)
            return [*np.split(output, np.cumsum([len(array) for array in inputs])[:-1]), output]
        return [np.logical_or.reduce(kept)] * len(kept)

    def build(self, node, make, kept, constants, *sources):
        if not self.is_of_channels(node):
            tensor, _ = make(node, [source.plain().tensor for source in sources])
            return slimmed(tensor, kept)
        there = [source for source in sources if source.tensor is not None]
        tensor = there[0].tensor
        if len(there) > 1:
            tensor, _ = make(node, [source.tensor for source in there])
        factor = np.concatenate([source.factor for source in there])
        offset = np.concatenate([source.offset for source in there])
        return Slimmed(tensor, kept, factor, offset)


def mean_of(arrays):
    return np.mean(arrays, axis=0)


MERGING = {
    keras.layers.Add: Sum(),
    keras.layers.Average: Merge(mean_of, of_list=True),
    keras.layers.Concatenate: Concatenation(),
    keras.layers.Maximum: Merge(np.maximum),
    keras.layers.Minimum: Merge(np.minimum),
    keras.layers.Multiply: Product(),
    keras.layers.Subtract: Merge(np.subtract),
}
