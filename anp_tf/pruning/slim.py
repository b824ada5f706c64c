"""A masked network made small: pruned units are cut out, the masks' factors become weights.

The graph is swept. Forwards: which channels of each tensor can differ from 0, given the masks
above? Backwards: which channels does anything below read? Then both ways until nothing changes:
which channels are kept, at least those that are read, so that the inputs and outputs of each layer
match, those of a sum for instance? Then the network is rebuilt with the kept channels. A handler
per kind of layer answers these questions and rebuilds the layer.
"""

import collections
import dataclasses

import keras
import numpy as np

from anp_tf.layers import BayesianMask, mask_layers
from anp_tf.pruning.activations import is_one
from anp_tf.pruning.graph import graph_of
from anp_tf.pruning.handlers import copy_layer, describe, handler_of, require, whole, width


def slim(model):
    """The plain, smaller network that a masked network computes in inference.

    Channels of convolutions and inputs and outputs of dense layers that a mask prunes, or that only
    pruned units read, are cut out of the weights. The factors of the other units are folded into
    the weights of the layer before the mask, or, where a nonlinearity is in between, of the next
    one. If a mask prunes all units of a layer, one stays, with weights of 0. A mask may be called
    more than once. The tensors of a sum keep the same channels: those that are read of any of them.

    Known kinds of layers (channels last): Conv2D without groups, Dense, BatchNormalization, ReLU,
    LeakyReLU, Activation with f(0) = 0, max- and average-pooling and their global versions,
    Flatten, Add of equally many channels, Dropout and SpatialDropout2D. Other layers are copied as
    they are, as long as no pruned unit and no factor reaches them. After a Flatten whose positions
    are pruned unevenly, the positions that stay are selected with `keras.ops.take`; no other
    operation is added.

    Args:
        model: Built functional or Sequential `keras.Model` with mask layers; it is not changed.

    Returns:
        A functional `keras.Model` with the same inputs, the same outputs in inference, and the same
        names of layers, without masks: it loads without anp_tf.

    Raises:
        ValueError: if pruned units or factors of a mask reach a layer that is not known or that
            they cannot pass, if a layer but a mask is called more than once, or if a mask is in a
            nested model.
    """
    graph = graph_of(model)
    _check_layers(model, graph.nodes)
    live = _live_channels(graph)
    kept = _kept_channels(graph, _needed_channels(graph, live))
    outputs = keras.tree.flatten(graph.output)
    reads = collections.Counter(id(t) for node in graph.nodes for t in node.inputs)
    reads.update(id(tensor) for tensor in outputs)
    slimmed = {}

    def tensors(structure):
        return keras.tree.map_structure(
            lambda leaf: slimmed[id(leaf)].tensor if id(leaf) in slimmed else leaf, structure
        )

    def call(layer, node):
        args, kwargs = tensors((node.args, node.kwargs))
        return layer(*args, **kwargs)

    for tensor in keras.tree.flatten(graph.input):
        x = keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=tensor.name)
        slimmed[id(tensor)] = whole(x)
    for node in graph.nodes:
        handler = handler_of(node)
        sources = [slimmed[id(tensor)] for tensor in node.inputs]
        if handler is None:
            results = _copy_unknown(node, sources, call)
        else:
            results = [handler.build(node, call, kept[id(node.outputs[0])], *sources)]
        for tensor, result in zip(node.outputs, results, strict=True):
            if reads[id(tensor)] > 1:  # a factor must not change what the other readers get
                result = dataclasses.replace(result, foldable=None)
            slimmed[id(tensor)] = result
    for tensor in outputs:
        require(is_one, slimmed[id(tensor)], "the output of the model")
    return keras.Model(tensors(graph.input), tensors(graph.output), name=model.name)


def _check_layers(model, nodes):
    calls = collections.Counter(node.layer for node in nodes)
    for layer, count in calls.items():
        if count > 1 and not isinstance(layer, BayesianMask):
            raise ValueError(
                f"`slim` expects layers that are called once. {describe(layer)} is called {count} "
                "times."
            )
    for mask in mask_layers(model):
        if mask not in calls:
            raise ValueError(
                f"`slim` expects masks among the model's own layers. {describe(mask)} is in a "
                "nested model or a wrapper."
            )


def _live_channels(graph):
    """Per tensor (by id), Boolean [channels]: which channels can differ from 0."""
    live = {id(t): np.ones(width(t), bool) for t in keras.tree.flatten(graph.input)}
    masks = {}  # per tensor, the name of the mask that its zeros come from
    for node in graph.nodes:
        handler = handler_of(node)
        for tensor in node.inputs if handler is None else ():
            if not live[id(tensor)].all():
                raise ValueError(
                    f"Units that mask `{masks[id(tensor)]}` prunes reach {describe(node.layer)}, "
                    "which is not a kind of layer (or a setting of it) that `slim` knows."
                )
        for tensor in node.outputs:
            if handler is None:
                live[id(tensor)] = np.ones(width(tensor), bool)
                continue
            sources = [id(source) for source in node.inputs]
            live[id(tensor)] = handler.live(node, *(live[source] for source in sources))
            above = [masks[source] for source in sources if masks.get(source)]
            is_mask = isinstance(node.layer, BayesianMask)
            masks[id(tensor)] = node.layer.name if is_mask else (above or [None])[0]
    return live


def _needed_channels(graph, live):
    """Per tensor (by id), Boolean [channels]: which channels the layers below it read."""
    needed = {key: np.zeros_like(channels) for key, channels in live.items()}
    for tensor in keras.tree.flatten(graph.output):
        needed[id(tensor)][:] = True
    for node in reversed(graph.nodes):
        handler = handler_of(node)
        for tensor in node.inputs:
            if handler is None:
                needed[id(tensor)][:] = True
            else:
                below = needed[id(node.outputs[0])]
                needed[id(tensor)] |= handler.needs(node, live[id(tensor)], below)
    return needed


def _kept_channels(graph, needed):
    """Per tensor (by id), Boolean [channels]: which channels the slim network has."""
    kept = dict(needed)
    for tensor in keras.tree.flatten(graph.input):
        kept[id(tensor)] = np.ones(width(tensor), bool)
    changed = True
    while changed:
        changed = False
        for node in (*reversed(graph.nodes), *graph.nodes):
            handler = handler_of(node)
            keys = [id(tensor) for tensor in (*node.inputs, *node.outputs)]
            before = [kept[key] for key in keys]
            if handler is None:
                after = [np.ones_like(channels) for channels in before]
            else:
                after = handler.keeps(node, *before)
            changed |= any(map(np.any, map(np.not_equal, before, after)))
            kept.update(zip(keys, after, strict=True))
    return kept


def _copy_unknown(node, sources, call):
    for source in sources:
        require(is_one, source, describe(node.layer))
    copy = copy_layer(node.layer)
    outputs = keras.tree.flatten(call(copy, node))
    if isinstance(copy, keras.layers.Layer):
        copy.set_weights(node.layer.get_weights())
    if isinstance(copy, keras.layers.Normalization):
        copy.finalize_state()
    return [whole(output) for output in outputs]
