"""Bounds of what networks return for all images in a ball: proofs that no attack can succeed."""

from anp_tf.bounds.affine import Affine, Moves
from anp_tf.bounds.bounds import (
    alpha_crown_bounds,
    alpha_crown_margins,
    crown_bounds,
    crown_margins,
    interval_bounds,
    interval_margins,
    proved,
)
from anp_tf.bounds.elementwise import Elementwise
from anp_tf.bounds.network import BoundedNetwork
from anp_tf.bounds.prove import prove
from anp_tf.bounds.rule import Interval, Rule
from anp_tf.bounds.rules import register_rule

__all__ = [
    "Affine",
    "alpha_crown_bounds",
    "alpha_crown_margins",
    "crown_bounds",
    "crown_margins",
    "interval_bounds",
    "interval_margins",
    "prove",
    "proved",
    "register_rule",
]
