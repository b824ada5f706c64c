"""A dense layer with Gaussian weights."""

import keras

from anp_tf.layers.bayes import BayesLayer


@keras.saving.register_keras_serializable(package="anp_tf")
class BayesDense(BayesLayer, keras.layers.Dense):
    """`keras.layers.Dense` learned by Bayes by backprop.

    Kernel and bias are drawn once per call in training; see `BayesLayer`. The weights are `kernel`
    and `bias`, the means, then `kernel_rho` and `bias_rho`.

    Args:
        *args: Arguments of `keras.layers.Dense`, as are further keyword arguments. LoRA and
            quantization are refused; regularizers and constraints act on the means.
        prior_scale, initial_rho, kl_weight, seed: As for `BayesLayer`.

    Call arguments:
        inputs: Tensor [batch, ..., features].
        training: Boolean; draw the weights, or use their means.
    """

    def call(self, inputs, training=False):
        kernel, bias = self.call_weights(training, self.compute_dtype)
        outputs = keras.ops.matmul(inputs, kernel)
        if bias is not None:
            outputs += bias
        return outputs if self.activation is None else self.activation(outputs)
