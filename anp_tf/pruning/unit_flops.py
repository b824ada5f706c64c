"""The FLOPs that each unit of a mask stands for."""

import numpy as np

from anp_tf.layers import mask_layers
from anp_tf.pruning.cost import cost
from anp_tf.pruning.slim import slim


def unit_flops(model):
    """The FLOPs per image that are saved when one more unit of a mask is cut, for each mask.

    All units of a mask stand for the same number, that of its first kept unit. Where one alone
    saves nothing, as in a convolution of groups, which stay equally large, it is the share of the
    first in each of as many equal parts as it takes.

    Args:
        model: Built functional `keras.Model` with masks that `slim` knows; it is not changed.

    Returns:
        List of integers, in the order of `mask_layers(model)`; 0 for a mask without kept units, or
        whose units save nothing.
    """
    before = cost(slim(model)).flops
    saved = []
    for mask in mask_layers(model):
        kept = np.array(mask.kept)
        active = np.flatnonzero(mask.active_units())
        flops = 0
        for count in (n for n in range(1, len(active) + 1) if len(active) % n == 0):
            mask.prune([part[0] for part in np.split(active, count)])
            try:
                flops = (before - cost(slim(model)).flops) // count
            finally:
                mask.kept.assign(kept)
            if flops:
                break
        saved.append(flops)
    return saved


def flops_weights(model, exponent):
    """A factor for the divergence of each mask that makes expensive units costlier to keep.

    The factor is `unit_flops ** exponent`, scaled so that its mean over all units is 1.

    Args:
        model: As for `unit_flops`.
        exponent: Float, at least 0; 0 weighs all units alike, 1 by their FLOPs.

    Returns:
        List of floats, in the order of `mask_layers(model)`; ones where no unit saves FLOPs.
    """
    flops = np.array(unit_flops(model), np.float64)
    factors = flops**exponent if flops.any() else np.ones_like(flops)
    units = np.array([mask.units for mask in mask_layers(model)])
    return (factors * units.sum() / (factors @ units)).tolist()
