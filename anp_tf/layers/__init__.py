"""Layers for Keras: masks, layers with random weights, and a ReLU with a gradient for attacks."""

from anp_tf.layers.bayes import BayesLayer, bayes_layers, sampled_weights
from anp_tf.layers.bayes_batch_normalization import BayesBatchNormalization
from anp_tf.layers.bayes_conv2d import BayesConv2D
from anp_tf.layers.bayes_dense import BayesDense
from anp_tf.layers.beta_bernoulli_dropout import BetaBernoulliDropout
from anp_tf.layers.fused_batch_normalization import (
    NORMALIZATIONS,
    FusedBatchNormalization,
)
from anp_tf.layers.hard_concrete import HardConcrete
from anp_tf.layers.information_bottleneck import InformationBottleneck
from anp_tf.layers.leaky_gradient_relu import LeakyGradientReLU
from anp_tf.layers.log_normal_dropout import LogNormalDropout
from anp_tf.layers.mask import BayesianMask, given_masks, mask_layers
from anp_tf.layers.seeds import seed_states
from anp_tf.layers.unit_mask import UnitMask

# The masks that are learned, by the names of the command lines.
MASKS = {
    "beta_bernoulli": BetaBernoulliDropout,
    "hard_concrete": HardConcrete,
    "information_bottleneck": InformationBottleneck,
    "log_normal": LogNormalDropout,
}

__all__ = [
    "BayesConv2D",
    "BayesDense",
    "BayesianMask",
    "BetaBernoulliDropout",
    "HardConcrete",
    "InformationBottleneck",
    "LeakyGradientReLU",
    "LogNormalDropout",
    "UnitMask",
    "mask_layers",
]
