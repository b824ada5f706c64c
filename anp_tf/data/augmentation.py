"""Random changes of training images."""

import tensorflow as tf

AUGMENTATIONS = ("none", "crop", "crop_flip")
PADDING = 4  # pixels on each side, of random crops


def crop(pixels, seed, flip):
    """Shifts and, if asked, mirrors each image at random; `seed` is stateless, int64 [2]."""
    n, height, width, _ = pixels.shape
    corner_seed, flip_seed = tf.unstack(tf.random.split(seed, 2))
    corners = tf.random.stateless_uniform([2, n], corner_seed, 0, 2 * PADDING + 1, tf.int32)
    rows = corners[0][:, tf.newaxis] + tf.range(height)
    columns = corners[1][:, tf.newaxis] + tf.range(width)
    if flip:
        flips = tf.random.stateless_uniform([n, 1], flip_seed) < 0.5
        columns = tf.where(flips, tf.reverse(columns, [1]), columns)
    padded = tf.pad(pixels, [[0, 0], [PADDING, PADDING], [PADDING, PADDING], [0, 0]])
    padded = tf.gather(padded, rows, axis=1, batch_dims=1)
    return tf.gather(padded, columns, axis=2, batch_dims=1)
