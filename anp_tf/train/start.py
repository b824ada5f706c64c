"""What a run starts from: the weights of another network, and what is pruned there."""

import logging

import numpy as np

from anp_tf.errors import WorkdirError
from anp_tf.layers import BayesianMask, mask_layers
from anp_tf.models.graph import Names, graph_of

log = logging.getLogger(__name__)


def copy_weights(source, network):
    """Copies the weights of the layers of the same name, those in nested models too.

    Of masks of the same name, which are learned anew, the units that are pruned there are cut here.
    A warning tells of pruned units that are back, as here is no such mask.

    Raises:
        WorkdirError: if a layer of `network` has no counterpart of the same shape.
    """
    theirs = _plain_weights(source)
    for name, ours in _plain_weights(network).items():
        found = theirs.get(name, [])
        shapes, expected = ([tuple(w.shape) for w in weights] for weights in (found, ours))
        if [w.name for w in found] != [w.name for w in ours] or shapes != expected:
            raise WorkdirError(
                f"cannot start from `{source.name}`: layer {name} has weights of shapes "
                f"{expected} here and {shapes or 'none'} there"
            )
        for weight, value in zip(ours, found, strict=True):
            weight.assign(value)
    masks = {mask.name: mask for mask in mask_layers(network)}
    for before in mask_layers(source):
        pruned = np.flatnonzero(~np.asarray(before.active_units()))
        mask = masks.get(before.name)
        if mask is not None and mask.units == before.units:
            mask.prune(pruned)
        elif pruned.size:
            log.warning("%d units that `%s` pruned are back", pruned.size, before.name)


def _plain_weights(network):
    """Dict from a layer's name, as in a network with masks, to its weights; of random the means."""
    graph, layers = graph_of(network), {}
    names = Names(graph)
    for node in graph.nodes:
        if node.layer not in layers and not isinstance(node.layer, BayesianMask):
            layers[node.layer] = names(node)
    weights = {name: getattr(layer, "weights", ()) for layer, name in layers.items()}
    return {
        name: [weight for weight in found if not weight.name.endswith("_rho")]
        for name, found in weights.items()
        if found
    }
