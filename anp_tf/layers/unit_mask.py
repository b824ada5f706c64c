"""A mask without a distribution."""

import keras
import tensorflow as tf

from anp_tf.layers.mask import BayesianMask


@keras.saving.register_keras_serializable(package="anp_tf")
class UnitMask(BayesianMask):
    """Keeps every unit, but for those that `prune` cuts; it has no divergence.

    Call arguments:
        inputs: Tensor [batch, ..., units].
        training: Boolean, without effect.
    """

    may_be_negative = False

    def sample(self, batch_size, seed):
        return tf.ones([batch_size, self.units])

    def expected(self):
        return tf.ones([self.units])

    def kl(self):
        return tf.constant(0.0)
