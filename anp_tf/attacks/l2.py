"""The geometry of the L2 ball."""

import tensorflow as tf

from anp_tf.attacks import draws


class L2:
    """Random starts, steepest ascent and projection for ||x'_i - x_i||_2 <= epsilon."""

    largest_radius = None

    def __repr__(self):
        return "L2()"

    def random_start(self, x, epsilon, seed):
        """A uniform draw from the ball around `x`; `seed` is a stateless one, [2] or [batch, 2]."""
        of_direction, of_radius = draws.split(seed, 2)
        noise = draws.normal(of_direction, tf.shape(x))
        dimensions = tf.cast(tf.reduce_prod(tf.shape(x)[1:]), tf.float32)
        radius = draws.uniform(of_radius, _column(x)) ** (1.0 / dimensions)
        return x + epsilon * tf.cast(radius * self.direction(noise), x.dtype)

    def direction(self, gradient):
        """The step of unit length that increases a linear function most; 0 for a gradient of 0."""
        norm = _norm(gradient)
        return tf.math.divide_no_nan(gradient, norm)

    def project(self, candidate, x, epsilon):
        """The nearest point to `candidate` in the ball around `x`."""
        moved = candidate - x
        length = _norm(moved)
        factor = tf.minimum(tf.ones([], x.dtype), tf.math.divide_no_nan(epsilon, length))
        return tf.where(length <= epsilon, candidate, x + factor * moved)

    def confine(self, candidate, x, epsilon):
        """A point near `candidate` in the ball around `x` and in [0, 1].

        It is clipped before it is projected, which is a way toward `x` and so stays in [0, 1] up to
        rounding: the other way round, what is clipped would be lost from the radius.
        """
        inside = self.project(tf.clip_by_value(candidate, 0, 1), x, epsilon)
        return tf.clip_by_value(inside, 0, 1)

    def lengths(self, steps):
        """The norm of each of the steps [batch, ...]."""
        return tf.reshape(_norm(steps), [-1])

    def rates(self, weights):
        """How fast the shortest way to a hyperplane of these weights goes along each axis."""
        return weights


def _column(x):
    """The shape [batch, 1, ...] of a number per image."""
    return tf.concat([tf.shape(x)[:1], tf.ones([x.shape.rank - 1], tf.int32)], 0)


def _norm(x):
    """The norm of each image, [batch, 1, ...]; the sum is taken of numbers of order 1."""
    axes = list(range(1, x.shape.rank))
    largest = tf.reduce_max(tf.abs(x), axes, keepdims=True)
    scaled = tf.math.divide_no_nan(x, largest)
    return largest * tf.sqrt(tf.reduce_sum(tf.square(scaled), axes, keepdims=True))
