"""An attack on the latent features that the suppression of vulnerability protects."""

import keras
import tensorflow as tf

from anp_tf.arguments import check_number
from anp_tf.attacks.entrance import Logits
from anp_tf.attacks.pgd import PGD
from anp_tf.losses import log_odds
from anp_tf.models import with_latents


class LatentPGD(PGD):
    """PGD on the cross-entropy and on the distortion of the latent features together.

    An adaptive attack on networks whose training suppresses the vulnerability: where the logits
    give no direction, the distance of the latent features still does. Its loss is

        CE(f(x'), y) + weight * mean over hidden layers l of mean|z_l(x') - z_l(x)| / mean|z_l(x)|,

    with the log-odds against the label in place of the cross-entropy CE, as in `PGD`, and each
    layer's distortion in units of the size of its clean features, so that a network cannot escape
    by small features. Called as `attack(network, x, y)`, like `PGD`; the network is a functional
    Keras model with activations, and any other is a ValueError.

    Args:
        epsilon, step_size, steps, restarts, norm: As for `PGD`.
        weight: Float, at least 0, of the distortion; with 0 this is `PGD`.

    Reference:
        - Madaan et al. 2020, section 3, for the vulnerability; Tramer et al. 2020, "On Adaptive
          Attacks to Adversarial Example Defenses", https://arxiv.org/abs/2002.08347
    """

    def __init__(self, *, epsilon, step_size, steps, restarts=1, weight=1.0, norm=None):
        super().__init__(
            epsilon=epsilon,
            step_size=step_size,
            steps=steps,
            restarts=restarts,
            loss=self._loss,
            norm=norm,
        )
        check_number("weight", weight, lambda v: v >= 0, "a number of at least 0")
        self.weight = float(weight)

    def _entered(self, network, x):
        return _Latents(network, x)

    def _references(self, network, x, y):
        latents, _ = network(x, training=False)
        return y, [tf.stop_gradient(latent) for latent in latents]

    def _reached(self, outputs, references):
        return super()._reached(outputs[1], references[0])

    def _loss(self, outputs, references):
        (latents, logits), (y, clean) = outputs, references
        distortions = [
            tf.math.divide_no_nan(_mean(tf.abs(latent - reference)), _mean(tf.abs(reference)))
            for latent, reference in zip(latents, clean, strict=True)
        ]
        return log_odds(logits, y) + self.weight * tf.add_n(distortions) / len(distortions)


class _Latents(Logits):
    """As `Logits`, with the network's latent features: it returns the pair of them and logits."""

    def __init__(self, network, x):
        if not isinstance(network, keras.Model):
            raise ValueError(
                "The latent attack needs a functional Keras model, whose latent features it can "
                f"reach. Received: network of type {type(network).__name__}"
            )
        super().__init__(network, x)
        self._network = with_latents(network)

    def __call__(self, pixels, training=False):
        latents, logits = self._network(tf.cast(pixels, self._dtype), training=False)
        return latents, self.checked(logits)


def _mean(features):
    """The mean of each example, float32 [batch]."""
    return tf.reduce_mean(tf.cast(features, tf.float32), list(range(1, features.shape.rank)))
