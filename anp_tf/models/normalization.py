"""The arithmetic of batch normalization in inference."""

import numpy as np

from anp_tf.layers import NORMALIZATIONS


def is_normalization(node):
    """Whether a call is a batch normalization of the last axis, be it Keras's or the fused one."""
    layer = node.layer
    return type(layer) in NORMALIZATIONS and layer.axis in (-1, len(node.inputs[0].shape) - 1)


def scale_and_shift(layer, read=None):
    """What a batch normalization multiplies by and adds: two arrays [channels].

    Args:
        layer: Built `keras.layers.BatchNormalization`.
        read: Function from a variable to an array or tensor; None: to float64.
    """
    read = read or (lambda variable: np.asarray(variable, np.float64))
    scale = (read(layer.moving_variance) + layer.epsilon) ** -0.5
    if layer.scale:
        scale = scale * read(layer.gamma)
    shift = -read(layer.moving_mean) * scale
    if layer.center:
        shift = shift + read(layer.beta)
    return scale, shift
