"""Layers that have layers or gates inside: attention, recurrent layers, layers per time step."""

import dataclasses
import inspect
import math

import keras
import numpy as np

from anp_tf.models.copies import copy_layer
from anp_tf.pruning.handlers.base import WHOLE, Handler, weights_of
from anp_tf.pruning.layer_costs import is_known, kernels, known_sizes, multiply_adds
from anp_tf.pruning.slimmed import slimmed

RECURRENT = keras.layers.GRU, keras.layers.LSTM, keras.layers.SimpleRNN


class Recurrent(Handler):
    """LSTM, GRU and SimpleRNN: constant inputs go into the bias, outputs are all kept."""

    is_source = single_input = True
    needs_all = False

    def knows(self, node):
        return is_plain(node)

    def keeps(self, node, constants, *kept):
        source, output = (array.copy() for array in kept)
        if output.any():
            known = ~np.isnan(constants[0]) if node.layer.cell.use_bias else constants[0] == 0
            source |= ~known
            source[0] |= not source.any()
            output[:] = True
        return [source, output]

    def multiply_adds(self, node):
        # The weights of one step: of the cell, its kernel and its recurrent kernel.
        return _steps(node) * _numbers(node.layer)

    def build(self, node, make, kept, constants, *sources):
        use_bias = node.layer.cell.use_bias
        source = sources[0] if use_bias else sources[0].plain()
        kernel, recurrent, *bias = weights_of(node.layer)
        if use_bias:
            absent = np.nan_to_num(constants[0])
            absent[source.kept] = source.offset
            bias = [np.array(bias[0])]
            # That of a GRU may have two rows: of the inputs, and of the states.
            np.atleast_2d(bias[0])[0] += absent @ kernel
        kernel = kernel[source.kept] * source.factor[:, np.newaxis]
        tensor, _ = make(node, [source.tensor], [kernel, recurrent, *bias])
        return slimmed(tensor, kept)


class Bidirectional(Handler):
    """`Bidirectional`: its inputs and outputs are all kept."""

    single_input = True

    def knows(self, node):
        return is_plain(node) and isinstance(node.layer.forward_layer, RECURRENT)

    def multiply_adds(self, node):
        if not isinstance(node.layer.forward_layer, RECURRENT):
            return None
        return _steps(node) * _numbers(node.layer)


class Attention(Handler):
    """`MultiHeadAttention`: its heads stay whole, its input and output channels are cut."""

    is_source = is_site = True
    needs_all = False

    def knows(self, node):
        given = _arguments(node, node.inputs)
        known = {name for name, value in given.items() if not _is_default(value)}
        # A gate would have weights of its own, and an output of several axes a larger kernel.
        plain = len(node.layer.weights) == 4 * self._step(node.layer)
        single = len(node.inputs[0].shape) == len(node.outputs[0].shape)
        return plain and single and known <= {"query", "value", "key"}

    def _projected(self, node, tensors):
        """What stands for query, key and value, of what stands for the inputs of the call."""
        given = _arguments(node, tensors)
        key = given.get("key")
        return given["query"], given["value"] if key is None else key, given["value"]

    def _step(self, layer):
        """The number of weights of a projection."""
        return 2 if layer.get_config()["use_bias"] else 1

    def keeps(self, node, constants, *kept):
        *sources, output = (array.copy() for array in kept)
        if output.any():
            for source, values in zip(sources, constants, strict=True):
                source |= values != 0
                source[0] |= not source.any()
        return [*sources, output]

    def multiply_adds(self, node):
        layer = node.layer
        # In the order that the layer builds them in: query, key, value, output.
        kernels = [weight for weight in layer.weights if weight.name == "kernel"]
        if len(kernels) != 4:  # with a gate
            return None
        query, key, value = (
            known_sizes(layer.name, x.shape[1:-1]) for x in self._projected(node, node.inputs)
        )
        positions = (query, key, value, query)
        count = sum(
            math.prod(sizes) * math.prod(kernel.shape)
            for sizes, kernel in zip(positions, kernels, strict=True)
        )
        # Each query's products with the keys, and the sums of the values.
        attended = math.prod(key[axis - 1] for axis in layer._attention_axes)
        channels_of_both = math.prod(kernels[1].shape[1:]) + math.prod(kernels[2].shape[1:])
        return count + math.prod(query) * attended * channels_of_both

    def build(self, node, make, kept, constants, *sources):
        sources = [s.plain() if np.any(s.offset) else s for s in sources]
        weights = weights_of(node.layer)
        step = self._step(node.layer)
        # In the order that the layer builds them in: query, key, value, output.
        for index, source in enumerate(self._projected(node, sources)):
            kernel = weights[step * index]
            weights[step * index] = kernel[source.kept] * source.factor[:, None, None]
        weights[step * 3 :] = [array[..., kept] for array in weights[step * 3 :]]
        tensors = [source.tensor for source in sources]
        tensor, copy = make(node, tensors, weights, output_shape=(len(kept),))
        fold = None
        if copy is not None:
            first = weights[: step * 3]

            def fold(factor):
                copy.set_weights([*first, *(array * factor for array in weights[step * 3 :])])

        return slimmed(tensor, kept, fold)


class PerStep(Handler):
    """`TimeDistributed`: what the handler of the layer inside says of a call on one step.

    Args:
        inner: `Handler` of that layer.
    """

    single_input = True

    def __init__(self, inner):
        self._inner = inner
        self.is_source, self.is_site = inner.is_source, inner.is_site

    def tied(self, node):
        return node.inputs if self._inner.tied(inner_node(node)) else []

    def whole(self, node):
        return node.inputs if self._inner.whole(inner_node(node)) else []

    def constants(self, node, *inputs):
        return self._inner.constants(inner_node(node), *inputs)

    def keeps(self, node, constants, *kept):
        return self._inner.keeps(inner_node(node), constants, *kept)

    def multiply_adds(self, node):
        inner = inner_node(node)
        count = self._inner.multiply_adds(inner)
        count = multiply_adds(inner) if count is None and is_known(inner.layer) else count
        return None if count is None else _steps(node) * count

    def build(self, node, make, kept, constants, *sources):
        def make_inner(inner, tensors, weights=None, **changes):
            layer = copy_layer(inner.layer, resized=weights is not None, **changes)
            if weights is None and inner.layer.weights:
                weights = weights_of(inner.layer)
            return make(node, tensors, weights, layer=layer)

        return self._inner.build(inner_node(node), make_inner, kept, constants, *sources)


def _arguments(node, tensors):
    """The arguments of a call by name, with other tensors in place of its inputs."""
    args, kwargs = node.arguments(tensors)
    return inspect.signature(node.layer.call).bind(*args, **kwargs).arguments


def _steps(node):
    (sequence, *_) = _arguments(node, node.inputs).values()
    return known_sizes(node.layer.name, sequence.shape[1:2])[0]


def _numbers(layer):
    return sum(math.prod(kernel.shape) for kernel in kernels(layer))


def is_plain(node):
    """Whether a call has one tensor and no other arguments that say anything."""
    others = [*node.args[1:], *node.kwargs.values()]
    return len(node.inputs) == 1 and all(map(_is_default, others))


def inner_node(node):
    """The call of the layer inside a `TimeDistributed` on one step."""
    inputs, outputs = (
        [keras.KerasTensor((x.shape[0], *x.shape[2:]), x.dtype) for x in tensors]
        for tensors in (node.inputs, node.outputs)
    )
    return dataclasses.replace(
        node, layer=node.layer.layer, args=(inputs[0],), kwargs={}, inputs=inputs, outputs=outputs
    )


def _is_default(value):
    return value is None or value is False


# Whose multiply-adds are known however they are called, with a mask or states, say.
COUNTED = {
    **dict.fromkeys(RECURRENT, Recurrent()),
    keras.layers.Bidirectional: Bidirectional(),
    keras.layers.MultiHeadAttention: Attention(),
    keras.layers.TimeDistributed: PerStep(WHOLE),
}
