"""A ReLU whose gradient, for attacks, is nowhere 0."""

import keras

SLOPE = 0.01


@keras.saving.register_keras_serializable(package="anp_tf")
class LeakyGradientReLU(keras.layers.ReLU):
    """`keras.layers.ReLU` whose gradient in inference is larger by 0.01 than its own.

    Attacks take gradients in inference. Where an activation of the pixels saturates, the true one
    is 0: an attack stays where it is, and a network seems robust that an attack without gradients
    fools. Here it goes on, if slowly: gradients that saturate decide where no other one does. A
    straight-through gradient, 1 everywhere, would decide against the others as well, and a network
    trained on such attacks learns to mislead them. What is computed is what `ReLU` computes, as is
    the gradient in training.

    Arguments, call arguments and weights are those of `keras.layers.ReLU`; `training` as usual.

    References:
        - Athalye, Carlini & Wagner 2018, "Obfuscated Gradients Give a False Sense of Security",
          section 4.1, https://arxiv.org/abs/1802.00420: other gradients where the true ones are 0.
    """

    def call(self, inputs, training=False):
        outputs = super().call(inputs)
        if training:
            return outputs
        return outputs + SLOPE * (inputs - keras.ops.stop_gradient(inputs))
