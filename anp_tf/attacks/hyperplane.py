"""The shortest way to a hyperplane within the box of the pixels, in L-infinity or L2."""

import tensorflow as tf

MOST = 100  # steps of Newton's method; ten are many
NEGLIGIBLE = 1e-18  # of the largest weight; the square of any above it is a float32 yet


def steps_to_hyperplane(points, normals, values, norm):
    """The shortest steps from points of the box [0, 1]^d to hyperplanes, without leaving the box.

    Solves, for each row, the problem

        minimise ||step||  subject to  value + normal . step = 0  and  0 <= point + step <= 1.

    Each pixel moves toward the hyperplane by min(lambda r_i, cap_i), where cap_i is its way to the
    edge of the box and r_i is 1 in L-infinity, |normal_i| in L2. What this adds to normal . step,

        sum_i |normal_i| min(lambda r_i, cap_i),

    increases with lambda, in linear pieces of falling slope. Newton's method from 0, which never
    goes too far, passes at least one of their ends in each step, most of them in a few, and is
    exact when it is in the last piece.

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
    rates = norm.rates(weights)
    scale = _crossing(rates, caps, weights, needed)
    return toward * tf.minimum(scale * rates, caps)


def _crossing(rates, caps, weights, needed):
    """Where sum_i weight_i min(scale rate_i, cap_i) is what is needed [batch, 1], or the last end.

    The arguments are [batch, d] but for what is needed.
    """
    gains = weights * caps  # of a pixel that has come to the edge, and its rate until then
    slopes = weights * rates

    def newton(scale, _):
        moving = scale * rates < caps
        slope = tf.reduce_sum(tf.where(moving, slopes, 0), -1, keepdims=True)
        gained = tf.reduce_sum(tf.where(~moving, gains, 0), -1, keepdims=True)
        new = tf.math.divide_no_nan(needed - gained, slope)
        farther = new > scale
        return tf.where(farther, new, scale), tf.reduce_any(farther)

    start = tf.zeros_like(needed)
    scale, _ = tf.while_loop(
        lambda _, more: more, newton, (start, tf.constant(True)), maximum_iterations=MOST
    )
    return scale
