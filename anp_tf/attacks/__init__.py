"""Attacks: `attack(network, x, y) -> adversarial x`, in pure TensorFlow."""

from anp_tf.attacks.linf import Linf
from anp_tf.attacks.pgd import FGSM, PGD, input_gradient

__all__ = ["FGSM", "PGD", "Linf", "input_gradient"]
