"""Random numbers of attacks, from one stateless seed a batch or from one an example.

With a seed for each example, int [batch, 2], an example's numbers are its own: they do not depend
on the other examples of its batch, nor on the batch's size.
"""

import tensorflow as tf


def given_seed(seed):
    """The seed as a tensor, int32 [2] or [batch, 2]; a fresh one, [2], for None."""
    if seed is None:
        return tf.random.uniform([2], maxval=2**31 - 1, dtype=tf.int32)
    seed = tf.cast(seed, tf.int32)
    if not (seed.shape.rank in (1, 2, None) and seed.shape[-1:].is_compatible_with([2])):
        raise ValueError(
            "Argument `seed` must be integers [2], or [batch, 2], two for each example. "
            f"Received: shape {seed.shape}"
        )
    return seed


def fold_in(seed, number):
    """Another seed of the same shape for each number, an integer scalar."""
    return _each(lambda one: tf.random.fold_in(one, number), seed)


def split(seed, count):
    """A list of `count` independent seeds of the same shape."""
    return tf.unstack(_each(lambda one: tf.random.split(one, count), seed), count, axis=-2)


def uniform(seed, shape, minval=0.0, maxval=1.0):
    """Float32 tensor of `shape`, [batch, ...], uniform in [minval, maxval)."""

    def draw(one, shape):
        return tf.random.stateless_uniform(shape, one, minval, maxval)

    return _draw(draw, seed, shape)


def normal(seed, shape):
    """Float32 tensor of `shape`, [batch, ...], of standard normal numbers."""
    return _draw(lambda one, shape: tf.random.stateless_normal(shape, one), seed, shape)


def signs(seed, shape):
    """Float32 tensor of `shape`, [batch, ...], each -1 or 1."""
    return tf.where(uniform(seed, shape) < 0.5, -1.0, 1.0)


def _draw(draw, seed, shape):
    seed, shape = tf.convert_to_tensor(seed), tf.convert_to_tensor(shape)
    if seed.shape.rank == 1:
        return draw(seed, shape)
    return _each(lambda one: draw(one, shape[1:]), seed, tf.float32)


def _each(function, seed, dtype=None):
    """The function of the seed, or of each example's; it returns `dtype`, or that of the seed."""
    seed = tf.convert_to_tensor(seed)
    if seed.shape.rank == 1:
        return function(seed)
    return tf.map_fn(function, seed, fn_output_signature=dtype or seed.dtype)
