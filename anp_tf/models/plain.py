"""The layers that the networks are made of, unless others are asked for."""

import types

import keras

from anp_tf.layers import FusedBatchNormalization

PLAIN = types.SimpleNamespace(
    Conv2D=keras.layers.Conv2D,
    Dense=keras.layers.Dense,
    BatchNormalization=FusedBatchNormalization,
)


def scaled(width, multiplier):
    """A number of channels or units times a network's multiplier, at least 1."""
    return max(1, round(multiplier * width))


def masked(x, mask, name):
    """The tensor behind a mask of a name; as it is where there are no masks."""
    return x if mask is None else mask(name=name)(x)
