"""The shortest way to a hyperplane within the box of the pixels, in L-infinity or L2."""

import numpy as np
import tensorflow as tf

from anp_tf.attacks.l2 import L2

NEGLIGIBLE = 1e-18  # of the largest weight; the square of any above it is a float32 yet


def steps_to_hyperplane(points, normals, values, norm):
    """The shortest steps from points of the box [0, 1]^d to hyperplanes, without leaving the box.

    Solves, for each row, the problem

        minimise ||step||  subject to  value + normal . step = 0  and  0 <= point + step <= 1.

    Each pixel moves toward the hyperplane by min(lambda r_i, cap_i), where cap_i is its way to the
    edge of the box and r_i is 1 in L-infinity, |normal_i| in L2. What this adds to normal . step,

        sum_i |normal_i| r_i min(lambda, cap_i / r_i),

    increases with lambda, linearly between the sorted cap_i / r_i; so lambda is found exactly.

    Args:
        points: Float tensor [batch, d], pixels in [0, 1].
        normals: Float tensor [batch, d]. Where a row is 0, so is the step.
        values: Float tensor [batch], of the linear function at `points`.
        norm: `Linf()` or `L2()`.

    Returns:
        Tensor [batch, d]. Where the hyperplane does not meet the box, every pixel of a weight that
        is not 0 goes to the edge: the corner of the box that is nearest to the hyperplane.
    """
    largest = tf.reduce_max(tf.abs(normals), axis=-1, keepdims=True)
    weights = tf.math.divide_no_nan(tf.abs(normals), largest)
    weights = tf.where(weights > NEGLIGIBLE, weights, 0)
    needed = tf.math.divide_no_nan(tf.abs(values)[:, None], largest)
    toward = -tf.sign(values)[:, None] * tf.sign(normals)
    caps = tf.where(toward > 0, 1 - points, points)
    rates = weights if isinstance(norm, L2) else tf.sign(weights)
    ends = tf.math.divide_no_nan(caps, rates)
    scale = _crossing(ends, weights * rates, weights * caps, needed)
    return toward * tf.minimum(scale * rates, caps)


def lengths(steps, norm):
    """The norms [batch] of steps [batch, ...]."""
    flat = tf.reshape(steps, [tf.shape(steps)[0], np.prod(steps.shape[1:], dtype=int)])
    return tf.norm(flat, ord=2 if isinstance(norm, L2) else np.inf, axis=-1)


def _crossing(ends, slopes, totals, needed):
    """Where sum_i slope_i min(scale, end_i) is what is needed, or the last end; all [batch, d]."""
    order = tf.argsort(ends, axis=-1)
    ends, slopes, totals = (
        tf.gather(tensor, order, batch_dims=1) for tensor in (ends, slopes, totals)
    )
    ended = tf.cumsum(totals, axis=-1, exclusive=True)
    going = tf.cumsum(slopes, axis=-1, reverse=True)
    enough = ended + going * ends >= needed
    at = tf.argmax(enough, axis=-1)[:, None]
    short = needed - tf.gather(ended, at, batch_dims=1)
    scale = tf.math.divide_no_nan(tf.maximum(short, 0), tf.gather(going, at, batch_dims=1))
    return tf.where(tf.reduce_any(enough, axis=-1, keepdims=True), scale, ends[:, -1:])
