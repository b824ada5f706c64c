"""Networks whose weights are random, made of plain ones, and the way back."""

import keras

from anp_tf.layers import (
    BayesBatchNormalization,
    BayesConv2D,
    BayesDense,
    BayesLayer,
    FusedBatchNormalization,
)
from anp_tf.models.copies import copy_layer, copy_state
from anp_tf.models.graph import Names, graph_of

RANDOM = {
    keras.layers.Conv2D: BayesConv2D,
    keras.layers.Dense: BayesDense,
    keras.layers.BatchNormalization: BayesBatchNormalization,
    FusedBatchNormalization: BayesBatchNormalization,
}
FIXED = {random: fixed for fixed, random in RANDOM.items()}


def with_random_weights(network, **options):
    """A network whose convolutions, dense layers and batch normalizations have random weights.

    Their means are the network's weights. Layers of other kinds, subclasses included, are as they
    were.

    Args:
        network: Functional `keras.Model`.
        **options: Arguments of `BayesLayer`.

    Returns:
        The network, and a list of the names of layers that have weights as before.

    Raises:
        ValueError: if the network has no layer of these kinds, or one cannot be copied.
    """
    random, others = _with_kinds(network, RANDOM, options)
    if not any(isinstance(layer, BayesLayer) for layer in random.layers):
        kinds = ", ".join(sorted({kind.__name__ for kind in RANDOM}))
        raise ValueError(f"Argument `network` must have a layer that is one of {kinds}.")
    return random, others


def with_fixed_weights(network):
    """A plain network whose weights are the means of another's random weights."""
    return _with_kinds(network, FIXED, {})[0]


def _with_kinds(network, kinds, options):
    graph = graph_of(network)
    names, copies, others = Names(graph), {}, []

    def call(node, tensors):
        layer = node.layer
        kind, fresh = kinds.get(type(layer)), layer not in copies
        if fresh or not isinstance(layer, keras.Layer):
            copies[layer] = copy_layer(layer, names(node), kind, **(options if kind else {}))
        args, kwargs = node.arguments(tensors)
        outputs = copies[layer](*args, **kwargs)
        if fresh and kind is None:
            copy_state(layer, copies[layer])
            others.extend([layer.name] if getattr(layer, "weights", ()) else [])
        elif fresh:
            values = {weight.name: weight for weight in layer.weights}
            for weight in copies[layer].weights:
                if weight.name in values:
                    weight.assign(values[weight.name])
        return outputs

    return graph.rebuild(call, name=network.name), others
