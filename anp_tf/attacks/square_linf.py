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
        self.sides = tf.constant(sides(shares, *x.shape[1:3]))
        self.count = 2 + x.shape[3]

    def start(self, seed):
        """Images like `x` with vertical stripes, each at a random corner of the ball."""
        shape = [tf.shape(self.x)[0], 1, *self.x.shape[2:]]
        signs = tf.cast(draws.signs(seed, shape), self.x.dtype)
        return self._confined(self.x + BEYOND * signs)

    def query(self, best, index, numbers):
        """The images `best` with a square each.

        Args:
            best: Tensor like `x`.
            index: Integer tensor, the number of the query, or [batch], of each image.
            numbers: Float tensor [batch, count], random, in [0, 1).
        """
        side = of_queries(self.sides, index)
        height, width = self.x.shape[1:3]
        rows, columns = offsets(numbers[:, 0], height, side), offsets(numbers[:, 1], width, side)
        signs = tf.where(numbers[:, None, None, 2:] < 0.5, -BEYOND, BEYOND)
        in_rows, in_columns = (
            tf.cast(within(places, side), self.x.dtype) for places in (rows, columns)
        )
        in_columns = in_columns[:, None, :, None] * tf.cast(signs, self.x.dtype)
        return self._confined(best + in_rows[:, :, None, None] * in_columns)

    def _confined(self, images):
        return tf.minimum(tf.maximum(images, self.low), self.high)


def sides(shares, height, width):
    """The sides of squares that cover these shares of an image, from 1 to its shorter side."""
    lengths = (round(math.sqrt(share * height * width)) for share in shares)
    return [min(max(length, 1), height, width) for length in lengths]


def offsets(numbers, size, side):
    """Where rows (or columns) are in windows that are anywhere in an image with equal chance.

    Args:
        numbers: Float tensor [batch], in [0, 1).
        size: Integer, how many rows the image has.
        side: Integer tensor [1] or [batch], how many the window has.

    Returns:
        Integer tensor [batch, size]: 0 for the window's first row, below 0 before it.
    """
    first = tf.cast(numbers * tf.cast(size - side + 1, numbers.dtype), tf.int32)
    return tf.range(size)[None] - first[:, None]


def within(offset, side):
    """Which of the rows [batch, size] are in the windows, of sides [1] or [batch]."""
    return (offset >= 0) & (offset < side[:, None])


def of_queries(values, index):
    """The values of the queries `index`, a scalar or [batch]; [1] or [batch]."""
    return tf.reshape(tf.gather(values, index), [-1])
