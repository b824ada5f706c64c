"""A masked network made small: pruned units are cut out, the masks' factors become weights.

The graph is swept. Forwards: which channels are constants, since a mask prunes them or nothing but
pruned ones reaches them? Then both ways until nothing changes: which channels are kept, at least
those that are read, so that the inputs and outputs of each layer match? Then the network is rebuilt
with the kept channels; what the others add goes into the biases that follow. A handler per kind of
layer answers these questions and rebuilds the layer.
"""

import collections
import dataclasses

import keras
import numpy as np

from anp_tf.arguments import check_count
from anp_tf.layers import NORMALIZATIONS, BayesianMask, mask_layers
from anp_tf.models.copies import copy_layer, copy_state
from anp_tf.models.graph import Names, graph_of
from anp_tf.pruning.handlers import channels, handler_of
from anp_tf.pruning.handlers.base import weights_of
from anp_tf.pruning.slimmed import slimmed
from anp_tf.pruning.sweeps import Call, describe, find_constants, kept_channels, round_up


def slim(model: keras.Model, round_to: int = 1) -> keras.Model:
    """The plain, smaller network that a masked network computes in inference.

    Channels that a mask prunes, or that only pruned units read, are cut out of the weights; a layer
    or a branch of which nothing is left goes. What constant channels contribute, such as a pruned
    unit's sigmoid, goes into the biases that follow; before a convolution that pads zeros to them,
    where no bias can make up for them, such channels stay. The factors of the other units are
    folded into the weights of the layer before the mask or after it. Layers may be shared, models
    nested; tensors that are added, or otherwise joined by elements, keep the same channels.

    Layers without channels to cut, and those that need all of them, such as a layer
    normalization, are kept as they are. Two kinds of calls are added, and only where weights cannot
    do it: a `Rescaling` (of vectors, between two `Reshape`s) where factors or constants can be
    folded neither into the layers before nor into those after, `keras.ops.take` where the positions
    that a flatten makes channels of are pruned unevenly.

    Args:
        model: Built functional or Sequential `keras.Model` with mask layers; it is not changed.
        round_to: Integer, at least 1. Of the pruned units of each mask so many stay that the width
            is a multiple of this number, or all units: kernels and microcontrollers are faster so.
            Their weights are 0: the outputs are the same.

    Returns:
        A functional `keras.Model` with the same inputs, the same outputs in inference, and the same
        names of layers, without masks: it loads without anp_tf.

    Raises:
        ValueError: if `round_to` is below 1 or no integer, if pruned units of a mask reach a layer
            that is not known (see `register_handler`), or if a mask is in a wrapper or a model that
            is not functional.
    """
    round_to = check_count("round_to", round_to)
    graph = graph_of(model)
    check_masks(model, graph)
    plan = Plan(graph, round_to)
    return graph.rebuild(
        plan.rebuilder(plan.maker()),
        name=model.name,
        begin=plan.unchanged,
        end=lambda output: output.plain().tensor,
    )


def check_masks(model, graph):
    """Raises a ValueError if a mask of a model is in none of the calls of its graph."""
    called = {node.layer for node in graph.nodes}
    for mask in mask_layers(model):
        if mask not in called:
            raise ValueError(
                "`slim` expects masks among the layers of a functional model. "
                f"{describe(mask)} is in a wrapper or in a model that is not functional."
            )


class Plan:
    """What is cut out of a graph.

    Args:
        graph: `Graph` of a network with masks.
        round_to: As for `slim`.

    Raises:
        ValueError: if pruned units reach a layer that is not known.
    """

    def __init__(self, graph, round_to=1):
        self._graph, self._names = graph, Names(graph)
        self._calls = [Call(node, handler_of(node)) for node in graph.nodes]
        self._by_node = {call.node: call for call in self._calls}
        counts = collections.Counter(node.layer for node in graph.nodes)
        self._shared = {
            layer
            for layer, count in counts.items()
            if count > 1 and weights_of(layer) and not isinstance(layer, BayesianMask)
        }
        self._reads = collections.Counter(id(t) for node in graph.nodes for t in node.inputs)
        self._reads.update(id(tensor) for tensor in keras.tree.flatten(graph.output))
        self.update_constants()
        stay = {}  # by the mask, Boolean [units]: which stay though they are pruned
        self._kept = kept_channels(graph, self._calls, self._shared, stay)
        while round_up(self._calls, self._kept, stay, round_to):
            self._kept = kept_channels(graph, self._calls, self._shared, stay)

    def update_constants(self):
        """Finds the constants again, of the weights and masks of now."""
        find_constants(self._graph, self._calls, self._shared)

    def maker(self, normalization=keras.layers.BatchNormalization):
        """Calls copies of the layers: the `make` of `Handler.build`.

        Args:
            normalization: Class of the copies of batch normalizations.
        """
        return _Maker(self._names, self._shared, normalization)

    def unchanged(self, tensor):
        """An input of the network as `Slimmed`."""
        return self._named(slimmed(tensor, np.arange(channels(tensor))))

    def _named(self, output, **changes):
        return dataclasses.replace(output, names=self._names, **changes)

    def rebuilder(self, make):
        """The function for `Graph.compute` from the `Slimmed` inputs of a node to its outputs."""

        def rebuild(node, sources):
            call, kept = self._by_node[node], self._kept
            if call.handler is None:
                outputs = _build_unknown(node, make, sources)
            elif not any(kept[id(tensor)].any() for tensor in node.outputs):
                outputs = [slimmed(None, [])] * len(node.outputs)
            else:
                if node.layer in self._shared:  # whose weights cannot take one call's factors
                    sources = [
                        source if source.tensor is None else source.plain() for source in sources
                    ]
                units = [np.flatnonzero(kept[id(tensor)]) for tensor in node.outputs]
                units = units[0] if call.handler.single_output else units
                outputs = call.handler.build(node, make, units, call.constants, *sources)
                outputs = [outputs] if call.handler.single_output else outputs
            # A factor must not change what the other readers get.
            return [
                self._named(output, **({"fold": None} if self._reads[id(tensor)] > 1 else {}))
                for tensor, output in zip(node.outputs, outputs, strict=True)
            ]

        return rebuild


class _Maker:
    """Calls copies of layers, a copy for each layer: `copies`, by the layer."""

    def __init__(self, names, shared, normalization):
        self._shared = shared
        self._normalization = normalization
        self.copies = {}
        self._names = names

    def __call__(self, node, tensors, weights=None, **changes):
        """Returns the output and the copy, for arguments as of the `make` of `Handler.build`.

        None takes the copy's place for a shared layer, whose weights no single call may change.
        """
        layer = node.layer
        copy = self.copies.get(layer) if layer in self._shared else None
        fresh = copy is None
        if fresh:
            kind = self._normalization if type(layer) in NORMALIZATIONS else None
            copy = self.copies[layer] = copy_layer(
                layer, self._names(node), kind, resized=weights is not None, **changes
            )
        present = [t for t in tensors if t is not None]
        complete = len(present) == len(node.inputs)
        args, kwargs = node.arguments(tensors) if complete else ((present,), {})
        tensor = copy(*args, **kwargs)
        if fresh and weights is not None:
            copy.set_weights(weights)
        elif fresh and not changes:
            copy_state(layer, copy)
        return tensor, None if layer in self._shared else copy


def _build_unknown(node, make, sources):
    """A layer that no pruned unit reaches, copied."""
    tensors = [source.plain().tensor for source in sources]
    outputs, _ = make(node, tensors)
    return [slimmed(output, np.arange(channels(output))) for output in keras.tree.flatten(outputs)]
