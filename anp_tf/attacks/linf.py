"""The geometry of the L-infinity ball."""

import tensorflow as tf

from anp_tf.attacks import draws


class Linf:
    """Random starts, steepest ascent and projection for max_i |x'_i - x_i| <= epsilon."""

    largest_radius = 1.0

    def __repr__(self):
        return "Linf()"

    def random_start(self, x, epsilon, seed):
        """A uniform draw from the ball around `x`; `seed` is a stateless one, [2] or [batch, 2]."""
        noise = draws.uniform(seed, tf.shape(x), -1.0, 1.0)
        return x + epsilon * tf.cast(noise, x.dtype)

    def direction(self, gradient):
        """The step of unit length that increases a linear function most."""
        return tf.sign(gradient)

    def project(self, candidate, x, epsilon):
        """The nearest point to `candidate` in the ball around `x`."""
        return tf.clip_by_value(candidate, x - epsilon, x + epsilon)

    def confine(self, candidate, x, epsilon):
        """A point near `candidate` in the ball around `x` and in [0, 1]."""
        low, high = tf.maximum(x - epsilon, 0), tf.minimum(x + epsilon, 1)
        return tf.minimum(tf.maximum(candidate, low), high)

    def lengths(self, steps):
        """The norm of each of the steps [batch, ...]."""
        return tf.reduce_max(tf.abs(steps), range(1, steps.shape.rank))

    def rates(self, weights):
        """How fast the shortest way to a hyperplane of these weights goes along each axis."""
        return tf.sign(weights)
