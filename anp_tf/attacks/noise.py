"""Random noise: what an attack must not be weaker than."""

import tensorflow as tf

from anp_tf.attacks import draws
from anp_tf.attacks.linf import Linf
from anp_tf.attacks.pgd import check, checked_pixels


class Noise:
    """A random corner of the ball: noise of the largest size that the threat model allows.

    Each pixel moves up or down by epsilon, in the L2 ball by the same amount; then it is clipped to
    [0, 1]. Called as `attack(network, x, y)`; neither the network nor the labels are used.

    Args:
        epsilon: Float, at least 0, radius of the ball in pixel units.
        norm: The geometry of the ball; None: `Linf()`.
    """

    def __init__(self, *, epsilon, norm=None):
        check("epsilon", epsilon, epsilon >= 0, "a number of at least 0")
        self.epsilon = float(epsilon)
        self.norm = Linf() if norm is None else norm

    def __call__(self, network, x, y, *, seed=None):
        """Noisy copies of a batch, like `x`; `seed` as for `PGD`."""
        x, seed = checked_pixels(x), draws.given_seed(seed)
        signs = tf.cast(draws.signs(seed, tf.shape(x)), x.dtype)
        return tf.clip_by_value(x + self.epsilon * self.norm.direction(signs), 0, 1)
