"""A convolution with Gaussian weights."""

import keras

from anp_tf.layers.bayes import BayesLayer


@keras.saving.register_keras_serializable(package="anp_tf")
class BayesConv2D(BayesLayer, keras.layers.Conv2D):
    """`keras.layers.Conv2D` learned by Bayes by backprop.

    Kernel and bias are drawn once per call in training; see `BayesLayer`. The weights are `kernel`
    and `bias`, the means, then `kernel_rho` and `bias_rho`.

    Args:
        *args: Arguments of `keras.layers.Conv2D`, as are further keyword arguments. LoRA and
            quantization are refused; regularizers and constraints act on the means.
        prior_scale, initial_rho, kl_weight, seed: As for `BayesLayer`.

    Call arguments:
        inputs: Tensor [batch, height, width, channels], or as `data_format` says.
        training: Boolean; draw the weights, or use their means.
    """

    def call(self, inputs, training=False):
        kernel, bias = self.call_weights(training, self.compute_dtype)
        outputs = self.convolution_op(inputs, kernel)
        if bias is not None:
            channels_first = self.data_format == "channels_first"
            outputs += keras.ops.reshape(bias, (-1, 1, 1)) if channels_first else bias
        return outputs if self.activation is None else self.activation(outputs)
