"""Batch normalization by TensorFlow's fused kernel."""

import keras
import tensorflow as tf

FUSED = ("bfloat16", "float16", "float32")  # of the types that layers compute in
LEAST_EPSILON = 1.001e-5  # of the kernel


@keras.saving.register_keras_serializable(package="anp_tf")
class FusedBatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` at a fraction of the cost: images take the fused kernel.

    Keras computes the statistics, the normalization and their gradients by a dozen operations, each
    of which reads and writes the whole tensor. The fused kernel (cuDNN's on GPUs) computes the same
    in two passes. It is used for tensors [batch, height, width, channels]; anything else, and
    `renorm`, `synchronized` and `mask`, is left to Keras.

    Arguments, call arguments and weights are those of `keras.layers.BatchNormalization`.

    Reference:
        - Ioffe & Szegedy 2015, "Batch Normalization", https://arxiv.org/abs/1502.03167
    """

    def call(self, inputs, training=None, mask=None):
        if mask is not None or not self._can_fuse(inputs):
            return super().call(inputs, training=training, mask=mask)
        training = bool(training and self.trainable)
        mean, variance = (tf.convert_to_tensor(w) for w in (self.moving_mean, self.moving_variance))
        outputs, batch_mean, batch_variance = tf.compat.v1.nn.fused_batch_norm(
            inputs,
            scale=tf.convert_to_tensor(self.gamma) if self.scale else tf.ones_like(mean),
            offset=tf.convert_to_tensor(self.beta) if self.center else tf.zeros_like(mean),
            mean=None if training else mean,
            variance=None if training else variance,
            epsilon=self.epsilon,
            is_training=training,
        )
        if training:
            rate = 1.0 - self.momentum
            # The kernel's is the unbiased estimate, while Keras averages the variance of the batch.
            batch_variance *= 1.0 - inputs.shape[-1] / tf.cast(tf.size(inputs), tf.float32)
            self.moving_mean.assign(mean * self.momentum + batch_mean * rate)
            self.moving_variance.assign(variance * self.momentum + batch_variance * rate)
        return outputs

    def _can_fuse(self, inputs):
        return (
            inputs.shape.rank == 4
            and self.axis in (-1, 3)
            and self.variable_dtype == "float32"
            and inputs.dtype.name == self.compute_dtype
            and self.compute_dtype in FUSED
            and self.epsilon >= LEAST_EPSILON
            and not (getattr(self, "renorm", False) or self.synchronized)
        )


NORMALIZATIONS = (keras.layers.BatchNormalization, FusedBatchNormalization)
