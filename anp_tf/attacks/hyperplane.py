"""The shortest way to a hyperplane within the box of the pixels, in L-infinity or L2."""

import tensorflow as tf

MOST = 100  # steps of Newton's method; ten are many
NEGLIGIBLE = 1e-18  # of the largest weight; the square of any above it is a float32 yet


def steps_to_hyperplanes(normals, norm):
    """The shortest steps from points of the box [0, 1]^d to hyperplanes, without leaving the box.

    They solve, for each row, the problem

        minimise ||step||  subject to  value + normal . step = 0  and  0 <= point + step <= 1.

    Each pixel moves toward the hyperplane by min(lambda r_i, cap_i), where cap_i is its way to the
    edge of the box and r_i is 1 in L-infinity, |normal_i| in L2. What this adds to normal . step,

        sum_i |normal_i| min(lambda r_i, cap_i),

    increases with lambda, in linear pieces of falling slope. Newton's method from 0, which never
    goes too far, passes at least one of their ends in each step, most of them in a few, and is
    exact when it is in the last piece.

    Args:
        normals: Float tensor [batch, d]. Where a row is 0, so is the step.
        norm: `Linf()` or `L2()`.

    Returns:
        Function of points [batch, d], pixels in [0, 1], and the values [batch] of the linear
        functions at them, to the steps [batch, d]. Where the hyperplane does not meet the box,
        every pixel of a weight that is not 0 goes to the edge: the corner of the box that is
        nearest to the hyperplane.
    """
    largest = tf.reduce_max(tf.abs(normals), axis=-1, keepdims=True)
    scale_back = tf.math.reciprocal_no_nan(largest)
    weights = tf.abs(normals) * scale_back
    weights *= tf.cast(weights > NEGLIGIBLE, weights.dtype)
    rates, signs = norm.rates(weights), tf.sign(normals)
    slopes = weights * rates  # what a pixel adds until it comes to the edge

    def steps(points, values):
        toward = -tf.sign(values)[:, None] * signs
        caps = tf.where(toward > 0, 1 - points, points)
        needed = tf.abs(values)[:, None] * scale_back
        scale = _crossing(rates, slopes, caps, weights * caps, needed)
        return toward * tf.minimum(scale * rates, caps)

    return steps


def _crossing(rates, slopes, caps, gains, needed):
    """Where sum_i weight_i min(scale rate_i, cap_i) is what is needed [batch, 1], or the last end.

    The arguments are [batch, d] but for what is needed; gains are weight_i cap_i.
    """

    def newton(scale, _):
        at_edge = tf.cast(scale * rates >= caps, scale.dtype)
        slope = tf.reduce_sum(slopes - at_edge * slopes, -1, keepdims=True)
        gained = tf.reduce_sum(at_edge * gains, -1, keepdims=True)
        new = tf.math.divide_no_nan(needed - gained, slope)
        farther = new > scale
        return tf.where(farther, new, scale), tf.reduce_any(farther)

    start = tf.zeros_like(needed)
    scale, _ = tf.while_loop(
        lambda _, more: more, newton, (start, tf.constant(True)), maximum_iterations=MOST
    )
    return scale
