"""Which units of a masked network are cut: by their masks, or by the kernels around them."""

import math

import numpy as np

from anp_tf.layers import mask_layers
from anp_tf.layers.many_masks import inference_masks
from anp_tf.pruning.surroundings import Surroundings

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
    worth = _worth(own, Surroundings(model).sources)
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
    own, sources = _expected(masks), Surroundings(model).sources
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
        around = Surroundings(model)  # what is cut before it makes nothing any more
        order = np.argsort(-around.made[mask] * np.sqrt(around.read[mask]), kind="stable")
        mask.prune(order[count:])
