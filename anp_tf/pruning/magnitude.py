"""Which weights and which filters are the largest."""

import keras
import numpy as np
import tensorflow as tf

from anp_tf.layers import mask_layers
from anp_tf.models.kinds import DEPTHWISE, SEPARABLE, TRANSPOSED
from anp_tf.pruning.cost import cost, linear_origins
from anp_tf.pruning.slim import slim

TOLERANCE = 2e-3


def largest(weights, share):
    """Marks the weights of the largest magnitude.

    Args:
        weights: Float tensor of any shape.
        share: Float in [0, 1]; `round(share * size)` weights are marked, of equals the first.

    Returns:
        Tensor like `weights`, 1 where it is marked and 0 elsewhere: the projection of ADMM pruning
        is `weights * largest(weights, share)` (Ye et al. 2019).
    """
    weights = tf.convert_to_tensor(weights)
    flat = tf.reshape(tf.abs(weights), [-1])
    count = round(share * flat.shape[0])
    chosen = tf.argsort(flat, direction="DESCENDING", stable=True)[:count]
    marked = tf.scatter_nd(chosen[:, tf.newaxis], tf.ones([count], weights.dtype), flat.shape)
    return tf.reshape(marked, weights.shape)


def filter_kernels(model):
    """The masks whose units are the filters of convolutions or the units of dense layers.

    Args:
        model: Built functional `keras.Model` with masks.

    Returns:
        Dict from a mask to the list of the kernels [..., units] whose outputs it multiplies.
    """
    kernels = {}
    for layer, origin in linear_origins(model):
        if origin is None:
            continue
        kernel = filters_last(origin)
        if kernel.shape[-1] == layer.units:
            kernels.setdefault(layer, []).append(kernel)
    return kernels


def filters_last(layer):
    """The kernel of a convolution or dense layer as [..., filters].

    Of a separable one it is the pointwise kernel, which the outputs are made by.
    """
    if isinstance(layer, SEPARABLE):
        return layer.pointwise_kernel
    if isinstance(layer, TRANSPOSED):
        return keras.ops.swapaxes(layer.kernel, -1, -2)
    if isinstance(layer, DEPTHWISE):  # [..., channels, multiplier]
        return keras.ops.reshape(layer.kernel, (*layer.kernel.shape[:-2], -1))
    return layer.kernel


def filter_magnitudes(mask, kernels):
    """The mean magnitude of the weights of each filter, -1 for those that are cut: [units]."""
    means = [np.abs(np.asarray(kernel)).reshape(-1, mask.units).mean(0) for kernel in kernels]
    return np.where(np.asarray(mask.kept) > 0, np.mean(means, axis=0), -1.0)


def share_of_filters(model, share):
    """The share of each layer's filters to cut, so that this share of the parameters goes.

    Args:
        model: Built functional `keras.Model` with masks; it is not changed.
        share: Float in [0, 1), of the parameters of the dense network.

    Returns:
        Float in [0, 1), to about 0.2 % of the parameters, as whole filters allow.
    """
    masks = mask_layers(model)
    kernels = filter_kernels(model)
    kept = [np.array(mask.kept) for mask in masks]
    dense = cost(model).parameters

    def parameters_cut(filters):
        try:
            for mask in kernels:
                mask.prune(np.arange(filters_to_cut(mask.units, filters)))
            return 1 - cost(slim(model)).parameters / dense
        finally:
            for mask, value in zip(masks, kept, strict=True):
                mask.kept.assign(value)

    low, high = 0.0, 1.0
    while high - low > TOLERANCE:
        middle = (low + high) / 2
        low, high = (middle, high) if parameters_cut(middle) < share else (low, middle)
    return high


def filters_to_cut(units, share):
    """How many of so many filters are cut for a share; at least one stays."""
    return min(units - 1, round(share * units))
