"""What every Bayes-by-backprop layer is: weights drawn in training, their means in inference."""

import contextlib
import math
import threading

import keras
import tensorflow as tf

from anp_tf.arguments import check_number
from anp_tf.layers.nested import nested_layers

_local = threading.local()


@contextlib.contextmanager
def sampled_weights():
    """Within the block, Bayes layers draw their weights in inference mode too.

    In a `tf.function` it acts while the function is traced; each call of the function draws anew.
    """
    outer = getattr(_local, "sampled", False)
    _local.sampled = True
    try:
        yield
    finally:
        _local.sampled = outer


class BayesLayer(keras.layers.Layer):
    """Base class of layers whose weights are learned as Gaussians; mix it into a Keras layer.

    A weight w has the posterior N(mu, softplus(rho)^2) and the prior N(m, prior_scale^2). The
    variables of the Keras layer are the means mu, so those of a plain layer can be copied into
    them; `build` adds rho, `kernel_rho` for `kernel`. All are float32 whatever the dtype policy. A
    draw is made in float32, once per call and for the whole batch, and cast where it is used.

    A subclass, `class MyBayes(BayesLayer, MyLayer)`, names its weights in `random_weights`, gives
    the m of each in `prior_mean` where it is not 0, and computes its output from `call_weights`.

    Args:
        *args: Arguments of the Keras layer, as are further keyword arguments.
        prior_scale: Float, positive; standard deviation of the prior.
        initial_rho: Float, where rho starts; -3 is a standard deviation of 0.049, -5 of 0.0067. It
            must be above -80; far below, the deviation is 0 in float32, and its logarithm infinite.
        kl_weight: Float, at least 0. In training, `kl_weight * kl()` is added to the model's loss;
            1/N for N training examples is the evidence lower bound. With 0, nothing is added.
        seed: Optional integer, for reproducible draws.

    Raises:
        ValueError: if an argument is out of its range.
        NotImplementedError: if LoRA or quantization is asked for.

    Reference:
        - Blundell et al. 2015, "Weight Uncertainty in Neural Networks",
          https://arxiv.org/abs/1505.05424
    """

    random_weights = ("kernel", "bias")

    # Not those of a convolution or a dense layer, which know of their kernel and bias only.
    save_own_variables = keras.layers.Layer.save_own_variables
    load_own_variables = keras.layers.Layer.load_own_variables
    quantize = keras.layers.Layer.quantize  # says that there is none

    def __init__(
        self, *args, prior_scale=1.0, initial_rho=-3.0, kl_weight=0.0, seed=None, **kwargs
    ):
        super().__init__(*args, **kwargs)
        check_number("prior_scale", prior_scale, lambda v: v > 0, "a number above 0")
        check_number("initial_rho", initial_rho, lambda v: v > -80, "a number above -80")
        check_number("kl_weight", kl_weight, lambda v: v >= 0, "a number of at least 0")
        if getattr(self, "lora_rank", None):
            self.enable_lora()
        if self.quantization_mode:
            keras.layers.Layer.quantize(self, self.quantization_mode)
        self.prior_scale = prior_scale
        self.initial_rho = initial_rho
        self.kl_weight = kl_weight
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def build(self, input_shape):
        super().build(input_shape)
        start = keras.initializers.Constant(self.initial_rho)
        for name in self._present():
            rho = self.add_weight(
                name=f"{name}_rho", shape=getattr(self, name).shape, initializer=start
            )
            setattr(self, f"{name}_rho", rho)

    def add_weight(self, *args, **kwargs):
        return super().add_weight(*args, **{**kwargs, "dtype": "float32", "autocast": False})

    def prior_mean(self, name):
        """Mean of the prior of a weight, a float."""
        return 0.0

    def posterior(self, name):
        """Mean and standard deviation of a weight, two float32 tensors of its shape."""
        mean, rho = getattr(self, name), getattr(self, f"{name}_rho")
        return tf.convert_to_tensor(mean), tf.math.softplus(tf.convert_to_tensor(rho))

    def call_weights(self, training, dtype):
        """The weights of one call, and in training the divergence as a loss.

        Args:
            training: Boolean; draw the weights, or take their means unless within
                `sampled_weights`.
            dtype: The dtype they are cast to.

        Returns:
            List of tensors in the order of `random_weights`, None for one that the layer has not.
        """
        if training and self.kl_weight > 0:
            self.add_loss(self.kl_weight * self.kl())
        values = dict.fromkeys(self.random_weights)
        for name in self._present():
            value, scale = self.posterior(name)
            if training or getattr(_local, "sampled", False):
                seed = self.seed_generator
                value += scale * keras.random.normal(value.shape, dtype="float32", seed=seed)
            values[name] = tf.cast(value, dtype)
        return list(values.values())

    def kl(self):
        """Divergence of the posterior from the prior over all weights, float32, in nats."""
        if not self.built:
            raise ValueError(f"Layer `{self.name}` has no weights yet: build the model first.")
        total = tf.constant(0.0)
        for name in self._present():
            mean, scale = self.posterior(name)
            distance = (mean - self.prior_mean(name)) / self.prior_scale
            log_ratio = tf.math.log(scale) - math.log(self.prior_scale)
            square = tf.math.expm1(2 * log_ratio) + tf.square(distance)
            total += tf.reduce_sum(square / 2 - log_ratio)
        return total

    def enable_lora(self, *args, **kwargs):
        raise NotImplementedError(
            f"Layer `{self.name}` draws its weights: low-rank adaptation is not supported."
        )

    def get_config(self):
        return {
            **super().get_config(),
            "prior_scale": self.prior_scale,
            "initial_rho": self.initial_rho,
            "kl_weight": self.kl_weight,
            "seed": self.seed,
        }

    def _present(self):
        return [name for name in self.random_weights if getattr(self, name) is not None]


def bayes_layers(model):
    """The Bayes layers of a model, nested models included, in the order of its layers."""
    return [layer for layer in nested_layers(model) if isinstance(layer, BayesLayer)]
