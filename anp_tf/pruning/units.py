"""Which units of a masked network are cut: by their masks, or by the kernels around them."""

import math

import keras
import numpy as np

from anp_tf.layers import BayesianMask, mask_layers
from anp_tf.layers.many_masks import inference_masks
from anp_tf.models.graph import graph_of

FLOOR = 0.25  # of the units of the first mask, what every mask keeps


def cut_to_share(model, share):
    """Cuts units, those of the lowest expected masks first, until a share of all is pruned.

    Every mask keeps at least a quarter as many units as the first one has, if it has so many left.
    What a channel is flattened to is cut with it. Units that are pruned already stay so: where they
    are more, nothing is cut.

    Args:
        model: Functional `keras.Model` with masks.
        share: Float in [0, 1), of the units of all masks.
    """
    masks = mask_layers(model)
    own = _expected(masks)
    worth = _worth(own, _Around(model).sources)
    floor = math.ceil(FLOOR * masks[0].units)
    kept = {mask: np.zeros(mask.units, bool) for mask in masks}
    for mask in masks:
        kept[mask][np.argsort(-worth[mask], kind="stable")[:floor]] = True
    rest = sorted(
        (-value, index, -own[mask][unit], unit)
        for index, mask in enumerate(masks)
        for unit, value in enumerate(worth[mask])
        if not kept[mask][unit]
    )
    total = sum(mask.units for mask in masks)
    count = total - round(share * total) - sum(int(np.sum(kept[mask])) for mask in masks)
    for _, index, _, unit in rest[: max(0, count)]:
        kept[masks[index]][unit] = True
    for mask in masks:
        mask.prune(np.flatnonzero(~kept[mask]))


def cut_to_counts(model, counts):
    """Cuts units but those of the highest expected masks, mask by mask.

    What a channel is flattened to is cut with it.

    Args:
        model: Functional `keras.Model` with masks.
        counts: Sequence of integers, how many units each mask keeps, at most, in the order of
            `mask_layers`.
    """
    masks = mask_layers(model)
    own, sources = _expected(masks), _Around(model).sources
    for mask, count in zip(masks, counts, strict=True):
        cut = np.argsort(-_worth(own, sources)[mask], kind="stable")[count:]
        mask.prune(cut)
        own[mask][cut] = 0.0


def _expected(masks):
    return {mask: np.abs(np.array(value)) for mask, value in inference_masks(masks).items()}


def _worth(own, sources):
    """The expected masks; a channel and what it is flattened to are worth what the lower one is."""
    worth = dict(own)
    for mask, (source, channels) in sources.items():
        best = np.zeros(source.units)  # of the units of each channel
        np.maximum.at(best, channels, own[mask])
        worth[source] = np.minimum(worth[source], best)
        worth[mask] = np.minimum(own[mask], worth[source][channels])
    return worth


def cut_by_norms(model, counts):
    """Cuts units but those of the largest kernels, mask by mask.

    A unit counts by the norm of the weights that make it, times what batch normalization scales it
    by, times the norm of those that read it.

    Args:
        model: Functional `keras.Model` with masks.
        counts: Sequence of integers, how many units each mask keeps, in the order of `mask_layers`.
    """
    for mask, count in zip(mask_layers(model), counts, strict=True):
        around = _Around(model)  # what is cut before it makes nothing any more
        order = np.argsort(-around.made[mask] * np.sqrt(around.read[mask]), kind="stable")
        mask.prune(order[count:])


class _Around:
    """What is around the masks of a model.

    Attributes:
        made: Dict from a mask to the float array [units], the norm of what makes each unit.
        read: Dict from a mask to the float array [units], the squared norm of what reads it.
        sources: Dict from a mask to a pair: the mask of the channels that its units are flattened
            from, and the channel of each unit.
    """

    def __init__(self, model):
        self.made, self.sources = {}, {}
        self.read = {mask: np.zeros(mask.units) for mask in mask_layers(model)}
        behind = {}  # by tensor: the norms of its channels, and the masks since the last kernel
        for node in graph_of(model).nodes:
            inputs = [behind.get(id(tensor), (None, ())) for tensor in node.inputs]
            norms = inputs[0][0] if len(inputs) == 1 else None
            masks = tuple(mask for _, masks in inputs for mask in masks)
            layer = node.layer
            if isinstance(layer, BayesianMask):
                norms, masks = self._masked(layer, norms, masks)
            elif isinstance(layer, keras.layers.BatchNormalization) and norms is not None:
                scale = np.sqrt(np.array(layer.moving_variance) + layer.epsilon)
                gamma = np.array(layer.gamma) if layer.scale else 1.0
                norms = norms * np.abs(gamma) / scale
            elif getattr(layer, "kernel", None) is not None:
                norms, masks = self._kernel(layer, masks), ()
            behind.update((id(tensor), (norms, masks)) for tensor in node.outputs)

    def _masked(self, mask, norms, masks):
        whole = norms is not None and mask.units % len(norms) == 0
        norms = np.resize(norms, mask.units) if whole else np.ones(mask.units)
        source = masks[-1] if masks and mask.units % masks[-1].units == 0 else None
        if source is not None and (whole or source.units < mask.units):  # not behind a sum
            self.sources[mask] = source, np.arange(mask.units) % source.units
        self.made[mask] = norms
        return norms * np.abs(np.array(mask.inference_mask())), (*masks, mask)

    def _kernel(self, layer, masks):
        kernel = np.array(layer.kernel, np.float64)
        rows = np.sum(np.square(kernel), axis=(*range(kernel.ndim - 2), -1))
        for mask in masks:
            if len(rows) % mask.units == 0:
                self.read[mask] += rows.reshape(-1, mask.units).sum(0)
        return np.sqrt(np.sum(np.square(kernel), axis=tuple(range(kernel.ndim - 1))))
