"""Batch normalization as part of the layer before it, for networks that are only run."""

import collections

import keras
import numpy as np

from anp_tf.layers import NORMALIZATIONS
from anp_tf.models.graph import as_functional, graph_of
from anp_tf.models.kinds import APPLIED, DEPTHWISE, TRANSPOSED


def fold_batch_normalization(model):
    """A network that computes the same in inference with fewer layers.

    A batch normalization right after a convolution or dense layer becomes part of its kernel and
    bias, where nothing else reads what is between them. Others stay as they are. The network
    is for export: to train further, take the one it was made of.

    Args:
        model: Built functional or Sequential `keras.Model`; it is not changed. Nested models are
            left as they are.

    Returns:
        A functional `keras.Model` with the same inputs, and the same outputs in inference.

    Raises:
        ValueError: if the model is neither functional nor Sequential, or has no shapes yet.
    """
    functional = as_functional(model)
    folded = _folded(graph_of(functional))
    layers = {normalization: layer for layer, normalization in folded.items()}

    def clone(layer):
        config = layer.get_config()
        if layer in folded:
            config["use_bias"] = True
        return type(layer).from_config(config)

    def call(layer, *args, **kwargs):
        return args[0] if layer.name in names else layer(*args, **kwargs)

    names = {normalization.name for normalization in layers}
    result = keras.models.clone_model(functional, clone_function=clone, call_function=call)
    for layer in functional.layers:
        if layer in folded:
            result.get_layer(layer.name).set_weights(_weights(layer, folded[layer]))
        elif layer not in layers and layer.weights:
            result.get_layer(layer.name).set_weights(layer.get_weights())
    return result


def _folded(graph):
    """Dict from the layers that are to take up a batch normalization to that normalization."""
    calls = collections.Counter(node.layer for node in graph.nodes)
    reads = collections.Counter(id(tensor) for node in graph.nodes for tensor in node.inputs)
    reads.update(id(tensor) for tensor in keras.tree.flatten(graph.output))
    makers = {id(tensor): node for node in graph.nodes for tensor in node.outputs}
    folded = {}
    for node in graph.nodes:
        if type(node.layer) not in NORMALIZATIONS or node.path or calls[node.layer] > 1:
            continue
        maker = makers.get(id(node.inputs[0]))
        if maker is None or maker.path or reads[id(node.inputs[0])] > 1:
            continue
        if calls[maker.layer] == 1 and _can_take(maker.layer, node):
            folded[maker.layer] = node.layer
    return folded


def _can_take(layer, node):
    return (
        type(layer) in APPLIED + TRANSPOSED
        and layer.activation is keras.activations.linear
        and getattr(layer, "data_format", "channels_last") == "channels_last"
        and node.layer.axis in (-1, len(node.inputs[0].shape) - 1)
    )


def _weights(layer, normalization):
    """The weights of a layer and its batch normalization as one."""
    ours = normalization
    scale = 1 / np.sqrt(np.asarray(ours.moving_variance, np.float64) + ours.epsilon)
    scale = scale * np.asarray(ours.gamma) if ours.scale else scale
    shift = -np.asarray(ours.moving_mean) * scale
    shift = shift + np.asarray(ours.beta) if ours.center else shift
    weights = layer.get_weights()
    bias = weights.pop() if layer.use_bias else 0.0
    *others, kernel = weights
    if type(layer) in DEPTHWISE:
        by_channel = scale.reshape(kernel.shape[-2:])
    else:
        by_channel = scale[:, None] if type(layer) in TRANSPOSED else scale
    return [*others, kernel * by_channel, bias * scale + shift]
