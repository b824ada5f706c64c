"""The rule of maxima: pooling, over windows or a whole image, and of several tensors."""

import itertools
import math

import tensorflow as tf

from anp_tf.bounds.affine import transposed
from anp_tf.bounds.rule import Interval, Rule, total


class Maximum(Rule):
    """The maximum of groups of numbers.

    From below it is the number whose lower bound is largest. From above, with u the largest upper
    bound, x and l the number and the lower bound that go with it, and v the next largest upper
    bound, it is max(x, v), and so the line from v at x = l to u at x = u; if l >= v it is x itself.

    Args:
        groups: Function of the inputs to a tensor [batch, ..., n] of the numbers of which the
            maximum over the last axis is the output; -inf where there is none.
    """

    def __init__(self, groups):
        self._groups = groups

    def interval(self, unit, *inputs):
        lower, upper = (self._groups(*sides) for sides in zip(*inputs, strict=True))
        return Interval(tf.reduce_max(lower, -1), tf.reduce_max(upper, -1))

    def backward(self, unit, coefficients, inputs, output, slopes=None):
        lower, upper = (self._groups(*sides) for sides in zip(*inputs, strict=True))
        dtype, size = lower.dtype, lower.shape[-1]
        nothing = tf.constant(-float("inf"), dtype)
        most = tf.one_hot(tf.argmax(lower, -1), size, dtype=dtype)
        top = tf.one_hot(tf.argmax(upper, -1), size, dtype=dtype)
        high = tf.reduce_max(upper, -1)
        low = tf.reduce_max(tf.where(top > 0, lower, nothing), -1)
        second = tf.reduce_max(tf.where(top > 0, nothing, upper), -1)
        alone = low >= second
        width = tf.where(alone, tf.ones_like(high), high - low)
        slope = tf.where(alone, tf.ones_like(high), (high - second) / width)
        offset = tf.where(alone, tf.zeros_like(high), second - slope * low)
        positive = tf.maximum(coefficients, 0.0)[..., tf.newaxis]
        negative = tf.minimum(coefficients, 0.0)
        of_groups = positive * most[:, tf.newaxis]
        of_groups += (negative * slope[:, tf.newaxis])[..., tf.newaxis] * top[:, tf.newaxis]
        largest = tf.maximum(tf.maximum(tf.abs(high), tf.abs(low)), output.largest())
        error = 8 * unit * largest
        constant = negative * offset[:, tf.newaxis]
        constant -= tf.abs(coefficients) * error[:, tf.newaxis]

        def apply(*tensors, absolute):
            return self._groups(*tensors)

        return transposed(apply, of_groups, [box.lower for box in inputs]), total(constant)


def windows(layer):
    """The groups of a max-pooling layer, `channels_last`."""

    def groups(x):
        sizes = x.shape[1:-1]
        padding, counts = [[0, 0]], []
        for size, extent, stride in zip(sizes, layer.pool_size, layer.strides, strict=True):
            if layer.padding == "same":
                count = -(-size // stride)
                missing = max((count - 1) * stride + extent - size, 0)
            else:
                count, missing = (size - extent) // stride + 1, 0
            padding.append([missing // 2, missing - missing // 2])
            counts.append(count)
        x = tf.pad(x, [*padding, [0, 0]], constant_values=-float("inf"))
        slices = []
        for starts in itertools.product(*(range(extent) for extent in layer.pool_size)):
            places = [
                slice(start, start + (count - 1) * stride + 1, stride)
                for start, count, stride in zip(starts, counts, layer.strides, strict=True)
            ]
            slices.append(x[(slice(None), *places)])
        return tf.stack(slices, -1)

    return groups


def everywhere(layer):
    """The groups of a global max-pooling layer, `channels_last`."""

    def groups(x):
        channels = x.shape[-1]
        flat = tf.reshape(x, [-1, math.prod(x.shape[1:-1]), channels])
        flat = tf.transpose(flat, [0, 2, 1])
        if not layer.keepdims:
            return flat
        ones = [1] * (x.shape.rank - 2)
        return tf.reshape(flat, [-1, *ones, channels, flat.shape[-1]])

    return groups


def of_tensors(*tensors):
    """The groups of the maximum of several tensors of one shape."""
    return tf.stack(tensors, -1)
