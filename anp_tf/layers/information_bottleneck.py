"""The variational information bottleneck: Gaussian factors that drown in their own noise."""

import keras
import tensorflow as tf

from anp_tf.arguments import check_number
from anp_tf.layers.mask import BayesianMask
from anp_tf.layers.within import Within

# The bounds of log sigma^2; within them nothing overflows in float32.
LOW, HIGH = -20.0, 20.0
# Keeps ratios and logarithms finite at sigma = 0 and at mu = 0.
TINY = 1e-8


@keras.saving.register_keras_serializable(package="anp_tf")
class InformationBottleneck(BayesianMask):
    """Gaussian factors z ~ N(mu, sigma^2), pruned when the noise is as large as the signal.

    In training, with a standard normal eps per example and unit, z = mu + sigma eps. In inference
    z = mu, and exactly 0 where log sigma^2 - log(mu^2 + 1e-8) >= threshold: the unit is pruned.
    mu may become negative, which a max pooling behind the mask hinders `anp_tf.pruning.slim` to
    fold.

    The divergence is that from N(0, v) with the best v for each unit, v = mu^2 + sigma^2,

        kl() = 1/2 sum_k log(1 + mu_k^2 / (sigma_k^2 + 1e-8)).

    The authors multiply it by the number of positions of a feature map; here that is left to
    `kl_weight`.

    mu starts as N(initial_mean, 0.01), log sigma^2 as N(initial_logvar, 0.01). A Keras constraint
    puts log sigma^2 back to [-20, 20] after each step of an optimizer; at a bound its gradient
    passes, in both directions.

    Args:
        initial_mean: Float, where mu starts.
        initial_logvar: Float in [-20, 20], where log sigma^2 starts.
        threshold: Float; a unit is pruned when the logarithm of its noise-to-signal ratio is not
            below it. 0 is the authors'.
        kl_weight, seed: As for `BayesianMask`; the seed also decides the start.

    Call arguments:
        inputs: Tensor [batch, ..., units].
        training: Boolean; draw a mask per example, or multiply by the inference mask.

    Reference:
        - Dai, Zhu and Wipf 2018, "Compressing Neural Networks using the Variational Information
          Bottleneck", https://arxiv.org/abs/1802.10399
    """

    def __init__(self, initial_mean=1.0, initial_logvar=-9.0, threshold=0.0, **kwargs):
        super().__init__(**kwargs)
        for name, value in (("initial_mean", initial_mean), ("threshold", threshold)):
            check_number(name, value)
        expected = f"a number in [{LOW:g}, {HIGH:g}]"
        check_number("initial_logvar", initial_logvar, lambda v: LOW <= v <= HIGH, expected)
        self.initial_mean = initial_mean
        self.initial_logvar = initial_logvar
        self.threshold = threshold

    def build(self, input_shape):
        super().build(input_shape)
        normal = keras.initializers.RandomNormal
        self.mu = self.add_unit_weight("mu", normal(self.initial_mean, 0.01, seed=self.seed))
        other_seed = None if self.seed is None else self.seed + 1
        self.logvar = self.add_unit_weight(
            "logvar",
            normal(self.initial_logvar, 0.01, seed=other_seed),
            constraint=Within(LOW, HIGH),
        )

    def parameters(self):
        """mu and log sigma^2, the latter within its bounds: two tensors [units]."""
        self._check_built()
        logvar = tf.clip_by_value(tf.convert_to_tensor(self.logvar), LOW, HIGH)
        return tf.convert_to_tensor(self.mu), logvar

    def sample(self, batch_size, seed):
        mu, logvar = self.parameters()
        noise = tf.random.stateless_normal([batch_size, self.units], seed)
        return mu + tf.math.exp(logvar / 2) * noise

    def expected(self):
        mu, logvar = self.parameters()
        log_noise_to_signal = logvar - tf.math.log(tf.square(mu) + TINY)
        return tf.where(log_noise_to_signal < self.threshold, mu, 0.0)

    def kl(self):
        mu, logvar = self.parameters()
        signal_to_noise = tf.square(mu) / (tf.math.exp(logvar) + TINY)
        return tf.reduce_sum(tf.math.log1p(signal_to_noise)) / 2

    def get_config(self):
        return {
            **super().get_config(),
            "initial_mean": self.initial_mean,
            "initial_logvar": self.initial_logvar,
            "threshold": self.threshold,
        }
