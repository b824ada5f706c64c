"""Batch normalization by TensorFlow's fused kernel."""

import keras
import tensorflow as tf

FUSED = ("bfloat16", "float16", "float32")  # of the types that layers compute in
LEAST_EPSILON = 1.001e-5  # of the kernel
LANES = 16  # channels that oneDNN's kernel for CPUs computes at once


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
        scale = tf.convert_to_tensor(self.gamma) if self.scale else tf.ones_like(mean)
        offset = tf.convert_to_tensor(self.beta) if self.center else tf.zeros_like(mean)
        if not training:
            return _fused(inputs, scale, offset, self.epsilon, mean, variance)[0]
        outputs, batch_mean, batch_variance = _trained(inputs, scale, offset, self.epsilon)
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


def _trained(inputs, scale, offset, epsilon):
    """The batch normalized by its own statistics, and these.

    Channels of 0 fill up what oneDNN computes at once: without them it takes up to ten times as
    long. For a few channels there would be too many of 0.
    """
    channels = inputs.shape[-1]
    spare = -channels % LANES
    if not spare or spare >= channels or tf.config.list_physical_devices("GPU"):
        return _fused(inputs, scale, offset, epsilon)
    filled = tf.pad(inputs, [[0, 0]] * 3 + [[0, spare]])
    scale, offset = (tf.pad(each, [[0, spare]]) for each in (scale, offset))
    outputs, mean, variance = _fused(filled, scale, offset, epsilon)
    # The gradient of `outputs[..., :channels]` would be dear.
    outputs = tf.slice(outputs, [0] * 4, [-1, -1, -1, channels])
    return outputs, mean[:channels], variance[:channels]


def _fused(inputs, scale, offset, epsilon, mean=None, variance=None):
    """The outputs, and the means and variances that they were normalized by."""
    return tf.compat.v1.nn.fused_batch_norm(
        inputs,
        scale=scale,
        offset=offset,
        mean=mean,
        variance=variance,
        epsilon=epsilon,
        is_training=mean is None,
    )


NORMALIZATIONS = (keras.layers.BatchNormalization, FusedBatchNormalization)
