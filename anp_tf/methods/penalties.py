"""What a loss has beside that of the examples: divergences and weight decay."""

import keras
import tensorflow as tf

from anp_tf.layers.many_masks import divergences
from anp_tf.losses import l2_decay
from anp_tf.methods.schedule import warmed

NOT_KERNELS = ("bias", "gamma", "beta", "alpha", "scale")  # names of other weights of layers


def is_kernel(weight):
    """Whether a weight has more than one axis and is no bias, and no scale or slope of features."""
    return len(weight.shape) > 1 and not weight.name.endswith(NOT_KERNELS)


class Divergence:
    """The divergence of masks and random weights, weighted: at a step.

    Args:
        layers: List of pairs of a layer with a divergence, and the factor it counts by.
        weight: Float, by which their sum is multiplied.
        warmup_steps: Integer; the weight grows linearly from 0 over so many steps.

    Attributes:
        mean: `keras.metrics.Mean` of the sum, not weighted.
    """

    def __init__(self, layers, weight, warmup_steps):
        self.layers, self.weight, self.warmup_steps = layers, weight, warmup_steps
        self.mean = keras.metrics.Mean(name="kl")

    def __call__(self, step):
        found = divergences([layer for layer, _ in self.layers])
        kl = tf.add_n([tf.constant(0.0), *(factor * found[layer] for layer, factor in self.layers)])
        self.mean.update_state(kl)
        return self.weight * warmed(step, self.warmup_steps) * kl


class Decay:
    """The decay of weights, and their own regularizers.

    Args:
        weights: List of the weights that are trained.
        weight_decay, decayed: As for `TrainingModel`.
    """

    def __init__(self, weights, weight_decay, decayed):
        self.weight_decay = weight_decay
        self.decayed = [v for v in weights if decayed == "all" or is_kernel(v)]
        self.regularized = [v for v in weights if v.regularizer is not None]

    def __call__(self):
        decay = self.weight_decay * l2_decay(self.decayed)
        for variable in self.regularized:
            decay += variable.regularizer(variable)
        return decay
