"""Beta-Bernoulli dropout, the mask of Adversarial Neural Pruning."""

import typing

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from anp_tf.arguments import check, check_number
from anp_tf.distributions import beta_logits, relaxed_bernoulli
from anp_tf.layers import kumaraswamy_masks
from anp_tf.layers.mask import BayesianMask

tfd = tfp.distributions

POSTERIORS = ("kumaraswamy", "beta")


@keras.saving.register_keras_serializable(package="anp_tf")
class BetaBernoulliDropout(BayesianMask):
    """Dropout whose keep probabilities are learned, and which prunes units that are not needed.

    Unit k has the prior pi_k ~ Beta(alpha, 1), z_k ~ Bernoulli(pi_k), and a posterior q(pi_k) with
    parameters a_k and b_k. In training, pi is drawn once per call and unit, then z once per example
    from RelaxedBernoulli(temperature, pi). In inference z_k = E[pi_k], and exactly 0 where
    E[pi_k] <= threshold: the unit is pruned.

    The variables are unconstrained, a = softplus(max(a_u, -10)), b = softplus(clip(b_u, -10, 50)).

    Args:
        alpha: Float, positive; the prior's parameter (alpha/K in the paper).
        temperature: Float, positive; of the relaxed Bernoulli.
        threshold: Float in [0, 1); a unit whose E[pi] is not above it is pruned.
        posterior: `"kumaraswamy"` or `"beta"` (implicit reparameterisation gradients).
        initial_a: Float, where a_u starts: -1 keeps a unit 24 % of the time, +2 keeps it 68 %.
        initial_b: Float, where b_u starts; 0.5413 is b = 1.
        kl_weight, seed: As for `BayesianMask`.

    Call arguments:
        inputs: Tensor [batch, ..., units].
        training: Boolean; draw a mask per example, or multiply by the expected mask.

    Reference:
        - Lee et al. 2018, "Adaptive Network Sparsification with Dependent Variational
          Beta-Bernoulli Dropout", https://arxiv.org/abs/1805.10896
        - Madaan et al. 2020, "Adversarial Neural Pruning with Latent Vulnerability Suppression",
          https://arxiv.org/abs/1908.04355
    """

    may_be_negative = False

    def __init__(
        self,
        alpha: float = 1e-4,
        temperature: float = 0.1,
        threshold: float = 1e-3,
        posterior: str = "kumaraswamy",
        initial_a: float = -1.0,
        initial_b: float = 0.5413,
        **kwargs: typing.Any,
    ) -> None:
        super().__init__(**kwargs)
        for name, value in (("alpha", alpha), ("temperature", temperature)):
            check_number(name, value, lambda v: v > 0, "a number above 0")
        for name, value in (("initial_a", initial_a), ("initial_b", initial_b)):
            check_number(name, value)
        check_number("threshold", threshold, lambda v: 0 <= v < 1, "a number in [0, 1)")
        check("posterior", posterior, posterior in POSTERIORS, f"one of {POSTERIORS}")
        self.alpha = alpha
        self.temperature = temperature
        self.threshold = threshold
        self.posterior = posterior
        self.initial_a = initial_a
        self.initial_b = initial_b

    def build(self, input_shape):
        super().build(input_shape)
        for name in ("a", "b"):
            start = keras.initializers.Constant(getattr(self, f"initial_{name}"))
            setattr(self, f"{name}_u", self.add_unit_weight(f"{name}_u", start))

    def concentrations(self):
        """The posterior's parameters (a, b), two positive tensors [units]."""
        self._check_built()
        return kumaraswamy_masks.concentrations([self])

    def posterior_distribution(self):
        """q(pi), a `tfd.Kumaraswamy` or `tfd.Beta` with batch shape [units]."""
        kind = tfd.Kumaraswamy if self.posterior == "kumaraswamy" else tfd.Beta
        return kind(*self.concentrations())

    def keep_probabilities(self):
        """E[pi] of each unit under the posterior, float32 [units] in [0, 1], not thresholded."""
        self._check_built()
        if self.posterior == "kumaraswamy":
            return kumaraswamy_masks.keep_probabilities([self])[0]
        return self.posterior_distribution().mean()

    def sample(self, batch_size, seed):
        if self.posterior == "kumaraswamy":
            return kumaraswamy_masks.samples([self], batch_size, [seed])[0]
        seed_pi, seed_z = tf.unstack(tfp.random.split_seed(tf.cast(seed, tf.int32), n=2))
        logits = beta_logits(*self.concentrations(), seed_pi)
        uniform = tf.random.stateless_uniform([batch_size, self.units], seed_z)
        return relaxed_bernoulli(uniform, logits, self.temperature)

    def expected(self):
        return self.thresholded(self.keep_probabilities())

    def thresholded(self, keep):
        """Keep probabilities, exactly 0 where they are not above the threshold."""
        return tf.where(keep > self.threshold, keep, 0.0)

    def kl(self):
        self._check_built()
        if self.posterior == "kumaraswamy":
            return kumaraswamy_masks.divergences([self])[0]
        prior = tfd.Beta(self.alpha, 1.0)
        return tf.reduce_sum(tfd.kl_divergence(self.posterior_distribution(), prior))

    def get_config(self):
        return {
            **super().get_config(),
            "alpha": self.alpha,
            "temperature": self.temperature,
            "threshold": self.threshold,
            "posterior": self.posterior,
            "initial_a": self.initial_a,
            "initial_b": self.initial_b,
        }
