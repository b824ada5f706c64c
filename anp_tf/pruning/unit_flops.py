"""The FLOPs that each unit of a mask stands for."""

import numpy as np

from anp_tf.layers import mask_layers
from anp_tf.pruning.cost import cost
from anp_tf.pruning.slim import slim


def unit_flops(model):
    """The FLOPs per image that are saved when one more unit of a mask is cut, for each mask.

    All units of a mask stand for the same number, that of its first kept unit.

    Args:
        model: Built functional `keras.Model` with masks that `slim` knows; it is not changed.

    Returns:
        List of integers, in the order of `mask_layers(model)`; 0 for a mask without kept units.
    """
    before = cost(slim(model)).flops
    saved = []
    for mask in mask_layers(model):
        kept = np.array(mask.kept)
        active = np.flatnonzero(mask.active_units())
        mask.prune(active[:1])
        try:
            saved.append(before - cost(slim(model)).flops)
        finally:
            mask.kept.assign(kept)
    return saved


def flops_weights(model, exponent):
    """A factor for the divergence of each mask that makes expensive units costlier to keep.

    The factor is `unit_flops ** exponent`, scaled so that its mean over all units is 1.

    Args:
        model: As for `unit_flops`.
        exponent: Float, at least 0; 0 weighs all units alike, 1 by their FLOPs.

    Returns:
        List of floats, in the order of `mask_layers(model)`.
    """
    factors = np.array(unit_flops(model), np.float64) ** exponent
    units = np.array([mask.units for mask in mask_layers(model)])
    return (factors * units.sum() / (factors @ units)).tolist()
