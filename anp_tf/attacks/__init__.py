"""Attacks: `attack(network, x, y) -> adversarial x`, in pure TensorFlow."""

from anp_tf.attacks.apgd import APGD, TargetedAPGD
from anp_tf.attacks.l2 import L2
from anp_tf.attacks.linf import Linf
from anp_tf.attacks.pgd import FGSM, PGD, input_gradient
from anp_tf.attacks.square import Square
from anp_tf.attacks.substitute import train_substitute
from anp_tf.attacks.trades import TradesPGD

__all__ = [
    "APGD",
    "FGSM",
    "L2",
    "PGD",
    "Linf",
    "Square",
    "TargetedAPGD",
    "TradesPGD",
    "input_gradient",
    "train_substitute",
]
