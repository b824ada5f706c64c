"""A ReLU whose gradient, for attacks, does not end where it saturates."""

import keras

SLOPE, REACH = 0.1, 0.25


@keras.saving.register_keras_serializable(package="anp_tf")
class LeakyGradientReLU(keras.layers.ReLU):
    """`keras.layers.ReLU` whose gradient in inference is not 0 where its value is constant.

    Attacks take gradients in inference. Where an activation of the pixels saturates, the true one
    is 0: an attack stays where it is, and a network seems robust that an attack without gradients
    fools. Here the gradient is larger by 0.1 exp(-4 |x - ReLU(x)|); without `threshold` and
    `negative_slope`, |x - ReLU(x)| is the distance to the nearest input at which the output is not
    constant. So attacks go on, and of several activations of a pixel the nearest one decides. What
    is computed is what `ReLU` computes, as is the gradient in training.

    Arguments, call arguments and weights are those of `keras.layers.ReLU`; `training` as usual.

    References:
        - Athalye, Carlini & Wagner 2018, "Obfuscated Gradients Give a False Sense of Security",
          section 4.1, https://arxiv.org/abs/1802.00420: other gradients where the true ones are 0.
    """

    def call(self, inputs, training=False):
        outputs = super().call(inputs)
        if training:
            return outputs
        stop = keras.ops.stop_gradient
        slope = stop(SLOPE * keras.ops.exp(-keras.ops.abs(inputs - outputs) / REACH))
        return outputs + slope * (inputs - stop(inputs))
