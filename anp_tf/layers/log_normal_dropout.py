"""Log-normal multiplicative noise: structured Bayesian pruning."""

import keras
import tensorflow as tf

from anp_tf.arguments import check_number
from anp_tf.layers.mask import BayesianMask
from anp_tf.layers.within import Within
from anp_tf.truncated_normal import TruncatedNormal

# The bounds of mu, and of log sigma.
LOW, HIGH = -20.0, 5.0


@keras.saving.register_keras_serializable(package="anp_tf")
class LogNormalDropout(BayesianMask):
    """Log-normal factors z = e^h, pruned when their signal-to-noise ratio is small.

    h ~ N(mu, sigma^2) truncated to [-20, 0], drawn once per call and unit: the examples of a batch
    share it. In inference z = E[z], and exactly 0 where E[z] / sd[z] <= threshold: the unit is
    pruned.

    The prior is log-uniform, h uniform on [-20, 0]. With A = (-20 - mu) / sigma, B = -mu / sigma
    and Z = Phi(B) - Phi(A),

        kl() = sum_k log 20 - 1/2 log(2 pi e) - log sigma - log Z - (A phi(A) - B phi(B)) / (2 Z),
        E[z] = exp(mu + sigma^2 / 2) (Phi(B - sigma) - Phi(A - sigma)) / Z.

    mu stays in [-20, 5] and log sigma in [-20, 5]: a Keras constraint puts them back after each
    step of an optimizer, and at a bound their gradients pass, in both directions. In this range
    all values and gradients are finite; they are computed in float64, in a form that does not
    subtract large numbers.

    Args:
        initial_mu: Float in [-20, 5], where mu starts.
        initial_log_sigma: Float in [-20, 5], where log sigma starts.
        threshold: Float, positive; a unit whose E[z] / sd[z] is not above it is pruned.
        kl_weight, seed: As for `BayesianMask`.

    Call arguments:
        inputs: Tensor [batch, ..., units].
        training: Boolean; draw a mask for the batch, or multiply by the expected mask.

    Reference:
        - Neklyudov et al. 2017, "Structured Bayesian Pruning via Log-Normal Multiplicative Noise",
          https://arxiv.org/abs/1705.07283
    """

    may_be_negative = False

    def __init__(self, initial_mu=0.0, initial_log_sigma=-5.0, threshold=1.0, **kwargs):
        super().__init__(**kwargs)
        for name, value in (("mu", initial_mu), ("log_sigma", initial_log_sigma)):
            expected = f"a number in [{LOW:g}, {HIGH:g}]"
            check_number(f"initial_{name}", value, lambda v: LOW <= v <= HIGH, expected)
        check_number("threshold", threshold, lambda v: v > 0, "a number above 0")
        self.initial_mu = initial_mu
        self.initial_log_sigma = initial_log_sigma
        self.threshold = threshold

    def build(self, input_shape):
        super().build(input_shape)
        for name in ("mu", "log_sigma"):
            variable = self.add_unit_weight(
                name,
                keras.initializers.Constant(getattr(self, f"initial_{name}")),
                constraint=Within(LOW, HIGH),
            )
            setattr(self, name, variable)

    def posterior(self):
        """The distribution of h = log z, a `TruncatedNormal` of [units]."""
        self._check_built()
        mu, log_sigma = (
            tf.cast(tf.clip_by_value(tf.convert_to_tensor(v), LOW, HIGH), tf.float64)
            for v in (self.mu, self.log_sigma)
        )
        return TruncatedNormal(mu, tf.math.exp(log_sigma))

    def signal_to_noise(self):
        """E[z] / sd[z] of each unit, float32 [units]; 10^6 where it is larger."""
        h = self.posterior()
        # E[z^2] / E[z]^2 - 1
        relative_variance = tf.math.expm1(h.log_moment(2.0) - 2.0 * h.log_moment(1.0))
        return tf.cast(tf.math.rsqrt(tf.maximum(relative_variance, 1e-12)), tf.float32)

    def sample(self, batch_size, seed):
        h = self.posterior().quantile(tf.random.stateless_uniform([self.units], seed))
        z = tf.cast(tf.math.exp(h), tf.float32)
        return tf.broadcast_to(z, [batch_size, self.units])

    def expected(self):
        mean = tf.cast(tf.math.exp(self.posterior().log_moment(1.0)), tf.float32)
        return tf.where(self.signal_to_noise() > self.threshold, mean, 0.0)

    def kl(self):
        return tf.cast(tf.reduce_sum(self.posterior().kl_uniform()), tf.float32)

    def get_config(self):
        return {
            **super().get_config(),
            "initial_mu": self.initial_mu,
            "initial_log_sigma": self.initial_log_sigma,
            "threshold": self.threshold,
        }
