"""Networks whose batch normalizations are folded into other layers."""

import collections

import keras
import numpy as np

from anp_tf.layers import LeakyGradientReLU
from anp_tf.models.copies import copy_state
from anp_tf.models.copying import Copying
from anp_tf.models.graph import graph_of
from anp_tf.models.kinds import APPLIED, DEPTHWISE, SEPARABLE, TRANSPOSED
from anp_tf.models.normalization import is_normalization, scale_and_shift


def fold_batch_normalization(model):
    """A network that computes the same in inference with fewer layers.

    A batch normalization right after a convolution or dense layer becomes part of its kernel and
    bias, where nothing else reads what is between them. Others stay as they are. A
    `LeakyGradientReLU` becomes a `ReLU`. The network is for export: to train further, or to
    attack it, take the one it was made of.

    Args:
        model: Built functional or Sequential `keras.Model`; it is not changed. The calls in nested
            models take the place of the nested models' own.

    Returns:
        A functional `keras.Model` with the same inputs, and the same outputs in inference.

    Raises:
        ValueError: if the model is neither functional nor Sequential, or has no shapes yet.
    """
    graph = graph_of(model)
    folded = _folded(graph)
    gone = set(folded.values())

    def fill(layer, copy):
        if layer in folded:
            copy.set_weights(_weights(layer, folded[layer]))
        else:
            copy_state(layer, copy)

    copying = Copying(graph, fill)

    def call(node, tensors):
        if node.layer in gone:
            return tensors[0]
        kind = keras.layers.ReLU if type(node.layer) is LeakyGradientReLU else None
        return copying(node, tensors, kind, **({"use_bias": True} if node.layer in folded else {}))

    return graph.rebuild(call, name=model.name)


def _folded(graph):
    """Dict from the layers that are to take up a batch normalization to that normalization."""
    calls = collections.Counter(node.layer for node in graph.nodes)
    reads = collections.Counter(id(tensor) for node in graph.nodes for tensor in node.inputs)
    reads.update(id(tensor) for tensor in keras.tree.flatten(graph.output))
    makers = {id(tensor): node for node in graph.nodes for tensor in node.outputs}
    folded = {}
    for node in graph.nodes:
        if not is_normalization(node) or calls[node.layer] > 1:
            continue
        maker = makers.get(id(node.inputs[0]))
        if maker is None or reads[id(node.inputs[0])] > 1:
            continue
        if calls[maker.layer] == 1 and _can_take(maker.layer):
            folded[maker.layer] = node.layer
    return folded


def _can_take(layer):
    """Whether a batch normalization can become part of a layer's kernel and bias."""
    if type(layer) not in APPLIED + TRANSPOSED:
        return False
    kernels = 2 if type(layer) in SEPARABLE else 1
    return (
        # Quantized layers and LoRA's have other weights.
        len(layer.weights) == kernels + layer.use_bias
        and getattr(layer, "quantization_mode", None) is None
        and layer.activation is keras.activations.linear
        and getattr(layer, "data_format", "channels_last") == "channels_last"
    )


def _weights(layer, normalization):
    """The weights of a layer and its batch normalization as one."""
    scale, shift = scale_and_shift(normalization)
    weights = layer.get_weights()
    bias = weights.pop() if layer.use_bias else 0.0
    *others, kernel = weights
    if type(layer) in DEPTHWISE:
        by_channel = scale.reshape(kernel.shape[-2:])
    else:
        by_channel = scale[:, np.newaxis] if type(layer) in TRANSPOSED else scale
    return [*others, kernel * by_channel, bias * scale + shift]
