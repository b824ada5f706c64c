"""The layers that the networks are made of, unless others are asked for."""

import numbers
import types

import keras

from anp_tf.arguments import check, check_number
from anp_tf.layers import FusedBatchNormalization
from anp_tf.layers.mask import made_mask

PLAIN = types.SimpleNamespace(
    Conv2D=keras.layers.Conv2D,
    Dense=keras.layers.Dense,
    BatchNormalization=FusedBatchNormalization,
)


def scaled(width, multiplier):
    """A number of channels or units times a network's multiplier, at least 1."""
    check_number("width_multiplier", multiplier, lambda v: v > 0, "a number above 0")
    return max(1, round(multiplier * width))


def check_images(input_shape, least, why):
    """A ValueError unless images are of a known size that is large enough for a network.

    Args:
        input_shape: Height, width and channels.
        least: Integer, the least height and width.
        why: In words, what the network does with them.
    """
    known = isinstance(input_shape, tuple | list) and len(input_shape) == 3
    large = known and all(isinstance(n, numbers.Integral) and n >= least for n in input_shape[:2])
    expected = f"(height, width, channels), a height and a width of at least {least}, {why}"
    check("input_shape", input_shape, large, expected)


def masked(x, mask, name):
    """The tensor behind a mask of a name; as it is where there are no masks."""
    return x if mask is None else made_mask(mask, name)(x)
