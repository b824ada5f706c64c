"""What the Square attack tries in the L-infinity ball."""

import math

import tensorflow as tf

from anp_tf.attacks import draws

BEYOND = 2.0  # so far from any pixel that it is out of the ball


class Squares:
    """Squares of the image at random corners of the ball (Andriushchenko et al. 2020, algorithm 2).

    Args:
        x: Float tensor [batch, height, width, channels], pixels in [0, 1].
        epsilon: Scalar of the same dtype.
        shares: List of floats in (0, 1], the share of the pixels in a square at each query.

    Attributes:
        count: Integer, how many random numbers a query takes for each example.
    """

    def __init__(self, x, epsilon, shares):
        self.x = x
        self.low, self.high = (tf.clip_by_value(x + sign * epsilon, 0, 1) for sign in (-1, 1))
        self.sides = tf.constant(sides(shares, *x.shape[1:3]), tf.float32)
        self.count = 2 + x.shape[3]

    def start(self, seed):
        """Images like `x` with vertical stripes, each at a random corner of the ball."""
        shape = [tf.shape(self.x)[0], 1, *self.x.shape[2:]]
        signs = tf.cast(draws.signs(seed, shape), self.x.dtype)
        return self._confined(self.x + BEYOND * signs)

    def plan(self, numbers):
        """What each query does: the middle of its square, half of its side, a sign a channel.

        Args:
            numbers: Float32 tensor [batch, queries, count], random, in [0, 1).

        Returns:
            Tensor [batch, queries, count + 1] like `x`.
        """
        middles = [
            firsts(numbers[..., axis], self.x.shape[axis + 1], self.sides) + (self.sides - 1) / 2
            for axis in (0, 1)
        ]
        halves = tf.broadcast_to(self.sides / 2, tf.shape(middles[0]))
        signs = tf.where(numbers[..., 2:] < 0.5, -BEYOND, BEYOND)
        plan = tf.concat([tf.stack([*middles, halves], -1), signs], -1)
        return tf.cast(plan, self.x.dtype)

    def query(self, best, plan):
        """The images `best`, like `x`, with a square each, as the plan [batch, ...] says."""
        half = plan[:, 2:3]
        in_rows, in_columns = (
            tf.cast(tf.abs(tf.range(size, dtype=plan.dtype) - middle) < half, plan.dtype)
            for size, middle in zip(self.x.shape[1:3], (plan[:, :1], plan[:, 1:2]), strict=True)
        )
        in_columns = in_columns[:, None, :, None] * plan[:, None, None, 3:]
        return self._confined(best + in_rows[:, :, None, None] * in_columns)

    def _confined(self, images):
        return tf.minimum(tf.maximum(images, self.low), self.high)


def sides(shares, height, width):
    """The sides of squares that cover these shares of an image, from 1 to its shorter side."""
    lengths = (round(math.sqrt(share * height * width)) for share in shares)
    return [min(max(length, 1), height, width) for length in lengths]


def firsts(numbers, size, sides):
    """The first rows (or columns) of windows that are anywhere in an image with equal chance.

    Args:
        numbers: Float tensor [batch, queries], in [0, 1).
        size: Integer, how many rows the image has.
        sides: Float tensor [queries], how many the windows have.
    """
    return tf.floor(numbers * (size - sides + 1))
