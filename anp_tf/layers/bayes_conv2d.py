"""A convolution with Gaussian weights."""

import keras

from anp_tf.layers.bayes import BayesLayer


@keras.saving.register_keras_serializable(package="anp_tf")
class BayesConv2D(BayesLayer, keras.layers.Conv2D):
    """`keras.layers.Conv2D` learned by Bayes by backprop.

    Kernel and bias have the posterior N(mu, softplus(rho)^2) and the prior N(0, prior_scale^2).
    They are drawn once per call in training, for the whole batch; in inference they are their
    means. The weights are `kernel` and `bias`, the means, then `kernel_rho` and `bias_rho`.

    Args:
        *args: Arguments of `keras.layers.Conv2D`, as are further keyword arguments. LoRA and
            quantization are refused; regularizers and constraints act on the means.
        prior_scale: Float, positive; standard deviation of the prior.
        initial_rho: Float, where rho starts; -3 is a standard deviation of 0.049, -5 of 0.0067.
        kl_weight: Float, at least 0; `kl_weight * kl()` is added to the loss. 1/N by convention.
        seed: Optional integer, for reproducible draws.

    Call arguments:
        inputs: Tensor [batch, height, width, channels], or as `data_format` says.
        training: Boolean; draw the weights, or use their means.

    Reference:
        - Blundell et al. 2015, "Weight Uncertainty in Neural Networks",
          https://arxiv.org/abs/1505.05424
    """

    def call(self, inputs, training=False):
        kernel, bias = self.call_weights(training, self.compute_dtype)
        outputs = self.convolution_op(inputs, kernel)
        if bias is not None:
            channels_first = self.data_format == "channels_first"
            outputs += keras.ops.reshape(bias, (-1, 1, 1)) if channels_first else bias
        return outputs if self.activation is None else self.activation(outputs)
