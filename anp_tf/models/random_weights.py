"""Networks whose weights are random, made of plain ones, and the way back."""

import keras

from anp_tf.layers import (
    BayesBatchNormalization,
    BayesConv2D,
    BayesDense,
    BayesLayer,
    FusedBatchNormalization,
)
from anp_tf.models.copies import copy_state
from anp_tf.models.copying import Copying
from anp_tf.models.graph import graph_of

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
    graph, others = graph_of(network), []

    def fill(layer, copy):
        if type(layer) not in kinds:
            copy_state(layer, copy)
            others.extend([layer.name] if getattr(layer, "weights", ()) else [])
            return
        values = {weight.name: weight for weight in layer.weights}
        for weight in copy.weights:
            if weight.name in values:
                weight.assign(values[weight.name])

    copying = Copying(graph, fill)

    def call(node, tensors):
        kind = kinds.get(type(node.layer))
        return copying(node, tensors, kind, **(options if kind else {}))

    return graph.rebuild(call, name=network.name), others
