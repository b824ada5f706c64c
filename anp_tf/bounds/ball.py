"""The images that a bound speaks of."""

import math
import numbers

import numpy as np
import tensorflow as tf

from anp_tf.arguments import check
from anp_tf.bounds.rule import Interval, least, total

NORMS = ("linf", "l2")
SLACK = 2.0**-23  # an attack's pixels, computed in float32, may be so far outside the ball


def rounding_of(norm, pixels):
    """How far outside of the ball the rounding of an image's float32 pixels may bring it."""
    return SLACK * (1 + math.sqrt(pixels) if norm == "l2" else 1)


def holds(images, x, epsilon, norm):
    """Which images are in [0, 1] and in the balls that bounds are of.

    Args:
        images: Array [batch, ...].
        x: Array of the same shape, the centers.
        epsilon: Float, at least 0: the radius.
        norm: `"linf"` or `"l2"`.

    Returns:
        Boolean array [batch].
    """
    images, x = (np.asarray(each, np.float64) for each in (images, x))
    axes, away = tuple(range(1, x.ndim)), np.abs(images - x)
    away = away.max(axes) if norm == "linf" else np.sqrt(np.square(away).sum(axes))
    near = away <= epsilon + rounding_of(norm, math.prod(x.shape[1:]))
    return near & np.all((images >= 0) & (images <= 1), axes)


class Ball:
    """The images in [0, 1] at most epsilon from an image.

    Args:
        x: Tensor [batch, ...], pixels in [0, 1].
        epsilon: Float or scalar tensor, at least 0: the radius.
        norm: `"linf"` or `"l2"`.
        unit: Float; if not 0, the ball is larger by the rounding of float32 pixels.

    Attributes:
        box: `Interval` [batch, ...] that holds the ball.
    """

    def __init__(self, x, epsilon, norm, unit):
        if norm not in NORMS:
            raise ValueError(f"Argument `norm` must be one of {NORMS}. Received: norm={norm!r}")
        if isinstance(epsilon, numbers.Real):
            check("epsilon", epsilon, epsilon >= 0, "a number of at least 0")
        self._x = x
        self._unit = unit
        self._radius = tf.cast(epsilon, x.dtype)
        if unit:
            self._radius += rounding_of(norm, math.prod(x.shape[1:]))
        self.norm = norm
        lower, upper = tf.maximum(x - self._radius, 0.0), tf.minimum(x + self._radius, 1.0)
        if unit:  # nothing is known of images that are none
            image, infinite = (x >= 0) & (x <= 1), tf.constant(float("inf"), x.dtype)
            lower, upper = tf.where(image, lower, -infinite), tf.where(image, upper, infinite)
        self.box = Interval(lower, upper)

    def least(self, coefficients):
        """The least value [batch, rows] of linear functions over the ball."""
        value = least(self._unit, coefficients, self.box)
        if self.norm == "linf":
            return value
        center = self._x[:, tf.newaxis]
        size = tf.sqrt(total(tf.square(coefficients)))
        rounding = 2.0**-40 * total(tf.abs(coefficients) * (center + self._radius))
        return tf.maximum(value, total(coefficients * center) - self._radius * size - rounding)
