"""Attacks: `attack(network, x, y) -> adversarial x`, in pure TensorFlow."""

from anp_tf.attacks.apgd import APGD, TargetedAPGD
from anp_tf.attacks.attack import Attack
from anp_tf.attacks.fab import TargetedFAB
from anp_tf.attacks.gradients import input_gradient
from anp_tf.attacks.in_turn import InTurn
from anp_tf.attacks.l2 import L2
from anp_tf.attacks.latent import LatentPGD
from anp_tf.attacks.linf import Linf
from anp_tf.attacks.n_fgsm import NFGSM
from anp_tf.attacks.noise import Noise
from anp_tf.attacks.pgd import FGSM, PGD
from anp_tf.attacks.square import Square
from anp_tf.attacks.square_pgd import SquarePGD
from anp_tf.attacks.standard import standard_attack
from anp_tf.attacks.straight_through import straight_through
from anp_tf.attacks.substitute import train_substitute
from anp_tf.attacks.trades import TradesPGD
from anp_tf.attacks.transfer import Transfer

__all__ = [
    "APGD",
    "FGSM",
    "L2",
    "NFGSM",
    "PGD",
    "Attack",
    "InTurn",
    "Linf",
    "Square",
    "SquarePGD",
    "Transfer",
    "input_gradient",
    "standard_attack",
    "straight_through",
]
