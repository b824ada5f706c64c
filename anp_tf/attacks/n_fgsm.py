"""Noise, and one step of the sign of the gradient: an attack for training at little cost."""

import tensorflow as tf

from anp_tf.arguments import check_number
from anp_tf.attacks.description import Described
from anp_tf.attacks.linf import Linf
from anp_tf.attacks.pgd import PGD
from anp_tf.losses import cross_entropy


class NFGSM(Described):
    """N-FGSM: x' = clip(z + epsilon sign(gradient at z)), z = clip(x + eta), eta in +-noise.

    The uniform noise is larger than the ball, and both are clipped to [0, 1] alone: it may be up to
    (1 + noise) epsilon away from `x`. Networks that are trained on single steps within the ball can
    collapse: they learn to withstand these alone. With enough noise they do not (de Jorge et al.
    2022). It is for training, and no measure of robustness.

    Args:
        epsilon: Float in (0, 1], length of the step in pixel units.
        noise: Float, at least 0; size of the noise in units of epsilon.
        loss: Function `(logits, y) -> losses [batch]`, maximised.

    Reference:
        - de Jorge et al. 2022, "Make Some Noise: Reliable and Efficient Single-Step Adversarial
          Training", https://arxiv.org/abs/2202.01181
    """

    def __init__(self, *, epsilon, noise=2.0, loss=cross_entropy):
        expected = "a number in (0, 1], in pixel units"
        check_number("epsilon", epsilon, lambda v: 0 < v <= 1, expected)
        expected = "a number of at least 0, in units of epsilon"
        check_number("noise", noise, lambda v: v >= 0, expected)
        self.epsilon = float(epsilon)
        self.noise = float(noise)
        self.loss = loss

    def __call__(self, network, x, y, *, seed=None, scale=1.0, noise=None):
        """Adversarial copies of a batch, in [0, 1]; arguments as for `PGD`.

        Args:
            noise: Scalar in the place of the attack's own.
        """
        geometry = _NoBall(self.noise if noise is None else noise)
        attack = PGD(
            epsilon=self.epsilon, step_size=self.epsilon, steps=1, loss=self.loss, norm=geometry
        )
        return attack(network, x, y, seed=seed, scale=scale)


class _NoBall(Linf):
    """As `Linf`, with a start in a ball of another size, and confined to [0, 1] alone."""

    def __init__(self, noise):
        self.noise = noise

    def random_start(self, x, epsilon, seed):
        return super().random_start(x, epsilon * tf.cast(self.noise, x.dtype), seed)

    def confine(self, candidate, x, epsilon):
        return tf.clip_by_value(candidate, 0, 1)
