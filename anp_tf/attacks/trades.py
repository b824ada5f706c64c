"""The inner maximisation of TRADES."""

import tensorflow as tf

from anp_tf.attacks import draws
from anp_tf.attacks.pgd import PGD
from anp_tf.losses import divergence

START_DEVIATION = 0.001


class TradesPGD(PGD):
    """PGD on KL(softmax f(x) || softmax f(x')), which needs no label (Zhang et al. 2019).

    It starts at x + 0.001 N(0, 1), since the divergence has no gradient at x itself.

    Args:
        epsilon: Float in (0, 1], radius of the ball in pixel units.
        step_size: Float, positive; length of a step, in pixel units.
        steps: Integer, at least 1.
    """

    def __init__(self, *, epsilon, step_size, steps):
        super().__init__(epsilon=epsilon, step_size=step_size, steps=steps, loss=divergence)

    def __call__(self, network, x, y=None, **kwargs):
        """As for `PGD`; `y` is not used."""
        return super().__call__(network, x, None, **kwargs)

    def _references(self, network, x, y):
        return tf.stop_gradient(network(x, training=False))

    def _start(self, x, epsilon, seed):
        return x + START_DEVIATION * tf.cast(draws.normal(seed, tf.shape(x)), x.dtype)
