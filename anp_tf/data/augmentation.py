"""Random changes of training images."""

import tensorflow as tf

PADDING = 4  # pixels on each side, of random crops


def crop(pixels, seed, flips):
    """Shifts each image at random, by a stateless seed, and mirrors those of `flips`, or none."""
    n, height, width, _ = pixels.shape
    corners = tf.random.stateless_uniform([2, n], seed, 0, 2 * PADDING + 1, tf.int32)
    rows = corners[0][:, tf.newaxis] + tf.range(height)
    columns = corners[1][:, tf.newaxis] + tf.range(width)
    if flips is not None:
        columns = tf.where(flips[:, tf.newaxis], tf.reverse(columns, [1]), columns)
    padded = tf.pad(pixels, [[0, 0], [PADDING, PADDING], [PADDING, PADDING], [0, 0]])
    padded = tf.gather(padded, rows, axis=1, batch_dims=1)
    return tf.gather(padded, columns, axis=2, batch_dims=1)
