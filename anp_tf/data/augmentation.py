"""Random changes of training images."""

import tensorflow as tf


def crop(pixels, seed, flips, most):
    """Shifts each image at random, by at most so many pixels, and mirrors those of `flips`.

    Args:
        pixels: Tensor [n, height, width, channels].
        seed: Stateless seed [2].
        flips: Boolean tensor [n], or None: no image is mirrored.
        most: Integer, at least 1.
    """
    n, height, width, _ = pixels.shape
    corners = tf.random.stateless_uniform([2, n], seed, 0, 2 * most + 1, tf.int32)
    rows = corners[0][:, tf.newaxis] + tf.range(height)
    columns = corners[1][:, tf.newaxis] + tf.range(width)
    if flips is not None:
        columns = tf.where(flips[:, tf.newaxis], tf.reverse(columns, [1]), columns)
    padded = tf.pad(pixels, [[0, 0], [most, most], [most, most], [0, 0]])
    padded = tf.gather(padded, rows, axis=1, batch_dims=1)
    return tf.gather(padded, columns, axis=2, batch_dims=1)
