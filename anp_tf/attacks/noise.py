"""Random noise: what an attack must not be weaker than."""

import tensorflow as tf

from anp_tf.attacks import draws
from anp_tf.attacks.attack import Attack, rounded_toward, widened
from anp_tf.attacks.entrance import checked_pixels


class Noise(Attack):
    """A random corner of the ball: noise of the largest size that the threat model allows.

    Each pixel moves up or down by epsilon, in the L2 ball by the same amount; then it is clipped to
    [0, 1]. Called as `attack(network, x, y)`; neither the network nor the labels are used.

    Args:
        epsilon, norm: As for `Attack`.
    """

    def __call__(self, network, x, y, *, seed=None):
        """Noisy copies of a batch, like `x`; `seed` as for `Attack`."""
        x = checked_pixels(x)
        return rounded_toward(x, self.perturb(network, widened(x), y, draws.given_seed(seed)))

    def perturb(self, network, x, y, seed):
        signs = tf.cast(draws.signs(seed, tf.shape(x)), x.dtype)
        return tf.clip_by_value(x + self.epsilon * self.norm.direction(signs), 0, 1)
