"""What the Square attack tries in the L2 ball."""

import math

import numpy as np
import tensorflow as tf

from anp_tf.attacks import draws
from anp_tf.attacks.square_linf import firsts, sides

SMALLEST = 3  # side of a window
TILES = 5  # along the shorter side of the image at the start


class Pyramids:
    """Windows with a pair of pyramids (Andriushchenko et al. 2020, algorithm 3).

    A query adds a pair to the change in a window, channel by channel. It gets the length that it
    takes away from a second window, and an equal share of what the ball has left.

    Args:
        x: Float tensor [batch, height, width, channels], pixels in [0, 1].
        epsilon: Scalar of the same dtype.
        shares: List of floats in (0, 1], the share of the pixels in a window at each query. The
            sides are odd numbers of at least 3.

    Attributes:
        count: Integer, how many random numbers a query takes for each example.

    Raises:
        ValueError: if the images are smaller than 5 by 5 pixels.
    """

    def __init__(self, x, epsilon, shares):
        height, width, channels = x.shape[1:]
        if min(height, width) < TILES:
            raise ValueError(
                f"The Square attack in the L2 ball needs images of at least {TILES} by {TILES} "
                f"pixels. Received: x of shape {x.shape}"
            )
        # No two images are farther apart than that, and the square of a radius has to be finite.
        self.x, self.epsilon = x, tf.minimum(epsilon, math.sqrt(height * width * channels))
        self.sides = odd_sides(shares, height, width)
        different = sorted(set(self.sides))
        self.largest = different[-1]
        # Of each size both directions, with rows and columns of 0 where a window ends.
        shape = [len(different), 2, self.largest + 1, self.largest + 1]
        pairs = np.zeros(shape, np.float32)
        for two, side in zip(pairs, different, strict=True):
            one = pair_of_pyramids(side)
            two[:, :side, :side] = one, one.T
        self.pairs = tf.constant(pairs.reshape(-1, self.largest + 1), x.dtype)
        self.which = tf.constant([different.index(side) for side in self.sides], tf.float32)
        self.sides = tf.constant(self.sides, tf.float32)
        self.count = 5 + channels

    def start(self, seed):
        """Images like `x` with a grid of pairs of pyramids, on the sphere of radius epsilon.

        Each tile has a random direction, and a random sign in each channel.
        """
        batch, (height, width, channels) = tf.shape(self.x)[0], self.x.shape[1:]
        side = min(height, width) // TILES
        rows, columns = height // side, width // side
        random = draws.signs(seed, [batch, rows, columns, 1, 1, channels + 1])
        pair = tf.constant(pair_of_pyramids(side), tf.float32)[:, :, None]
        tiles = tf.where(random[..., :1] > 0, pair, tf.transpose(pair, [1, 0, 2]))
        grid = tf.transpose(tiles * random[..., 1:], [0, 1, 3, 2, 4, 5])
        grid = tf.reshape(grid, [batch, rows * side, columns * side, channels])
        top, left = (height - rows * side) // 2, (width - columns * side) // 2
        grid = tf.image.pad_to_bounding_box(grid, top, left, height, width)
        grid = tf.cast(grid / np.sqrt(rows * columns * channels), self.x.dtype)
        return tf.clip_by_value(self.x + self.epsilon * grid, 0, 1)

    def plan(self, numbers):
        """What each query does: two windows, their side, the pair's first row, a sign a channel.

        Args:
            numbers: Float32 tensor [batch, queries, count], random, in [0, 1).

        Returns:
            Tensor [batch, queries, count + 1] like `x`.
        """
        corners = [
            firsts(numbers[..., index], self.x.shape[1 + index % 2], self.sides)
            for index in range(4)
        ]
        turned = tf.cast(numbers[..., 4] >= 0.5, tf.float32)
        pairs = (2 * self.which + turned) * (self.largest + 1)
        side = tf.broadcast_to(self.sides, tf.shape(turned))
        signs = tf.where(numbers[..., 5:] < 0.5, -1.0, 1.0)
        plan = tf.concat([tf.stack([*corners, side, pairs], -1), signs], -1)
        return tf.cast(plan, self.x.dtype)

    def query(self, best, plan):
        """The images `best` with a new pair each; arguments as for `Squares.query`."""
        side = plan[:, 4:5]
        window, rows, columns = self._window(plan[:, 0:1], plan[:, 1:2], side)
        emptied, _, _ = self._window(plan[:, 2:3], plan[:, 3:4], side)
        pair = self._pair(rows, columns, plan[:, 5:6])
        signs = plan[:, None, None, 6:]
        change = best - self.x
        inside, outside = change * window, change * ((1 - window) * (1 - emptied))

        length, kept = _squares(inside), _squares(outside)
        total = _squares(change)
        unused = self.epsilon**2 - tf.reduce_sum(total, -1, keepdims=True)
        available = tf.maximum(total - kept + unused / self.x.shape[3], 0)
        new = signs * pair + inside * tf.math.divide_no_nan(1, tf.sqrt(length))
        new *= tf.sqrt(tf.math.divide_no_nan(available, _squares(new)))
        return tf.clip_by_value(self.x + outside + new, 0, 1)

    def _window(self, row, column, side):
        """Windows as images [batch, height, width, 1] of 1 inside and 0 outside.

        And where in its window each row [batch, height] and each column [batch, width] is, with
        the number of the pairs' row of 0 outside.
        """
        inside, places = [], []
        for size, first in zip(self.x.shape[1:3], (row, column), strict=True):
            offset = tf.range(size, dtype=first.dtype) - first
            within = (offset >= 0) & (offset < side)
            inside.append(tf.cast(within, self.x.dtype))
            places.append(tf.where(within, tf.cast(offset, tf.int32), self.largest))
        window = inside[0][:, :, None, None] * inside[1][:, None, :, None]
        return window, *places

    def _pair(self, rows, columns, first):
        """Pairs of pyramids at their places in images [batch, height, width, 1]."""
        by_row = tf.gather(self.pairs, rows + tf.cast(first, tf.int32))
        by_column = tf.gather(tf.transpose(by_row, [0, 2, 1]), columns, batch_dims=1)
        return tf.transpose(by_column, [0, 2, 1])[..., None]


def odd_sides(shares, height, width):
    """The sides of windows that cover these shares of an image, odd, at least 3, up to its size."""
    longest = min(height, width) - 1 + min(height, width) % 2
    return [min(max(side, SMALLEST) // 2 * 2 + 1, longest) for side in sides(shares, height, width)]


def pair_of_pyramids(side):
    """Two pyramids of opposite signs above each other in a square, of length 1 together.

    Float array [side, side]; the upper one has side // 2 rows and is positive. Both are of the same
    length, as in the authors' code.
    """
    upper = side // 2
    halves = [pyramid(rows, side) for rows in (upper, side - upper)]
    first, second = (half / max(np.linalg.norm(half), np.finfo(float).tiny) for half in halves)
    both = np.concatenate([first, -second])
    return both / np.linalg.norm(both)


def pyramid(height, width):
    """A pyramid with a rectangular base: float array [height, width] of positive numbers.

    It is the sum of 1 / (k + 1)^2, k = 0, 1, ..., on the squares of side 2 k + 1 with one centre,
    which is right of and below the middle where a side is even, cut off at the rectangle.
    """
    rows, columns = (np.abs(np.arange(size) - size // 2) for size in (height, width))
    ring = np.maximum(rows[:, None], columns[None, :])
    last = max(height, width) // 2
    levels = 1 / np.arange(1, last + 2) ** 2
    return np.array([levels[k:].sum() for k in range(last + 1)])[ring]


def _squares(change):
    """The sums of the squares of each image's channels, [batch, 1, 1, channels]."""
    return tf.reduce_sum(tf.square(change), [1, 2], keepdims=True)
