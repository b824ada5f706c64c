"""Bayesian masks as Keras layers."""

from anp_tf.layers.beta_bernoulli_dropout import BetaBernoulliDropout
from anp_tf.layers.mask import BayesianMask, given_masks, mask_layers
from anp_tf.layers.mask_summary import mask_summary

__all__ = ["BayesianMask", "BetaBernoulliDropout", "given_masks", "mask_layers", "mask_summary"]
