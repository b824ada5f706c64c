"""Batch normalization with a Gaussian scale and offset."""

import keras
import tensorflow as tf

from anp_tf.layers.bayes import BayesLayer


@keras.saving.register_keras_serializable(package="anp_tf")
class BayesBatchNormalization(BayesLayer, keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` whose gamma and beta are learned by Bayes by backprop.

    They have the posterior N(mu, softplus(rho)^2). The prior of beta is N(0, prior_scale^2), and
    that of gamma N(1, prior_scale^2): a gamma of 1 leaves the normalized features as they are,
    while one of 0, the mean of other weights' priors, cuts the channel off. Gamma and beta are
    drawn once per call in training, for the whole batch; in inference they are their means. The
    batch statistics and the moving averages are those of Keras.

    The weights are `gamma` and `beta`, the means, then `gamma_rho` and `beta_rho`, and last
    `moving_mean` and `moving_variance`. As in Keras, a layer that is not trainable is run in
    inference mode.

    Args:
        *args: Arguments of `keras.layers.BatchNormalization`, as are further keyword arguments.
            `renorm` and quantization are refused; regularizers and constraints act on the means.
        prior_scale, initial_rho, kl_weight, seed: As for `BayesLayer`.

    Call arguments:
        inputs: Tensor of any rank; its axis `axis` is that of the channels.
        training: Boolean; use the batch statistics and draw gamma and beta, or use the moving
            averages and the means.
        mask: Optional Boolean tensor, the positions whose statistics are taken.

    Reference:
        - Blundell et al. 2015, "Weight Uncertainty in Neural Networks",
          https://arxiv.org/abs/1505.05424
        - Ioffe & Szegedy 2015, "Batch Normalization", https://arxiv.org/abs/1502.03167
    """

    random_weights = ("gamma", "beta")

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if getattr(self, "renorm", False):  # since Keras 3.14
            raise ValueError(
                "Invalid value received for argument `renorm`. Batch renormalization is not "
                "supported. Received: renorm=True"
            )

    def prior_mean(self, name):
        return 1.0 if name == "gamma" else 0.0

    def call(self, inputs, training=False, mask=None):
        training = training and self.trainable
        x = tf.cast(inputs, tf.float64 if inputs.dtype == tf.float64 else tf.float32)
        gamma, beta = self.call_weights(training, x.dtype)
        mean, variance = (tf.cast(w, x.dtype) for w in (self.moving_mean, self.moving_variance))
        if training:
            batch_mean, batch_variance = self._moments(x, mask)
            rate = 1.0 - self.momentum
            self.moving_mean.assign(mean * self.momentum + batch_mean * rate)
            self.moving_variance.assign(variance * self.momentum + batch_variance * rate)
            mean, variance = batch_mean, batch_variance
        outputs = keras.ops.batch_normalization(
            x, mean, variance, self.axis, offset=beta, scale=gamma, epsilon=self.epsilon
        )
        return tf.cast(outputs, self.compute_dtype)
