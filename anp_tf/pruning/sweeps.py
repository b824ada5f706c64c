"""The sweeps of `slim` over a graph: which channels are constants, and which are kept."""

import dataclasses

import keras
import numpy as np

from anp_tf.layers import BayesianMask
from anp_tf.models.node import Node
from anp_tf.pruning.handlers import channels


@dataclasses.dataclass(eq=False)
class Call:
    """A node with its handler, None for a layer that is not known, and its inputs' constants."""

    node: Node
    handler: object
    constants: list | None = None


def describe(layer):
    return f"Layer `{layer.name}` ({type(layer).__name__})"


def find_constants(graph, calls, shared):
    """Finds the constants of each tensor, NaN where it has none, and gives each call its inputs'.

    Of a layer that is called more than once, only those count that all calls have in common.
    """
    common = {}
    while True:
        constants = {id(tensor): _nan(tensor) for tensor in keras.tree.flatten(graph.input)}
        masks = {}  # per tensor, the name of a mask above
        found = {}
        for call in calls:
            node = call.node
            call.constants = [constants[id(tensor)] for tensor in node.inputs]
            above = [masks[id(tensor)] for tensor in node.inputs if masks.get(id(tensor))]
            if isinstance(node.layer, BayesianMask):
                above = [node.layer.name]
            elif call.handler is not None and call.handler.is_source:
                above = []
            masks.update((id(tensor), above[0] if above else None) for tensor in node.outputs)
            if call.handler is None:
                _check_unknown(call, above)
                constants.update((id(tensor), _nan(tensor)) for tensor in node.outputs)
                continue
            if node.layer in shared:
                before = found.get(node.layer, call.constants)
                found[node.layer] = [
                    np.where(a == b, a, np.nan) for a, b in zip(before, call.constants, strict=True)
                ]
                call.constants = common.get(node.layer, call.constants)
            values = call.handler.constants(node, *call.constants)
            values = values if isinstance(values, list) else [values]
            constants.update(zip(map(id, node.outputs), values, strict=True))
        if all(_equal(found[layer], common.get(layer)) for layer in found):
            return
        common = found


def round_up(calls, kept, stay, round_to):
    """Has more units stay, so that their number is rounded up; returns whether there are more."""
    more = set()
    for call in calls if round_to > 1 else ():
        mask = call.node.layer
        if not isinstance(mask, BayesianMask) or mask in more:
            continue
        there = kept[id(call.node.outputs[0])]
        missing = min(-there.sum() % round_to, (~there).sum())
        if there.any() and missing:
            stay[mask] = stay.get(mask, np.zeros(mask.units, bool)).copy()
            stay[mask][np.flatnonzero(~there)[:missing]] = True
            more.add(mask)
    return bool(more)


def _check_unknown(call, masks):
    if masks and any(not np.isnan(array).all() for array in call.constants):
        raise ValueError(
            f"Units that mask `{masks[0]}` prunes reach a layer that `slim` does not know, or not "
            f"with these settings. {describe(call.node.layer)} needs a handler: see "
            "`anp_tf.pruning.register_handler`."
        )


def _nan(tensor):
    return np.full(channels(tensor), np.nan)


def _equal(arrays, others):
    return others is not None and all(
        np.array_equal(a, b, equal_nan=True) for a, b in zip(arrays, others, strict=True)
    )


def kept_channels(graph, calls, shared, stay):
    """Per tensor (by id), Boolean [channels]: which channels the slim network has."""
    kept = {id(t): np.ones(channels(t), bool) for t in keras.tree.flatten(graph.input)}
    for call in calls:
        kept.update((id(t), np.zeros(channels(t), bool)) for t in call.node.outputs)
    for tensor in keras.tree.flatten(graph.output):
        kept[id(tensor)][:] = True
    for call in calls:
        if call.node.layer in stay:
            kept[id(call.node.outputs[0])] |= stay[call.node.layer]
    changed = True
    while changed:
        changed = False
        alike = {}  # of shared layers, what any of their calls keeps
        for call in (*reversed(calls), *calls):
            node = call.node
            keys = [id(tensor) for tensor in (*node.inputs, *node.outputs)]
            before = [kept[key] for key in keys]
            if call.handler is None:
                after = [np.ones_like(array) for array in before]
            else:
                after = call.handler.keeps(node, call.constants, *before)
            if node.layer in shared:
                others = alike.get(node.layer, after)
                after = alike[node.layer] = [a | b for a, b in zip(after, others, strict=True)]
            for key, array in zip(keys, after, strict=True):  # a tensor may be read twice
                changed |= bool(np.any(array & ~kept[key]))
                kept[key] = kept[key] | array
    return kept
