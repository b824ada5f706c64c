"""An attack on the latent features that the suppression of vulnerability protects."""

import keras
import tensorflow as tf

from anp_tf.attacks.pgd import PGD, check
from anp_tf.losses import cross_entropy
from anp_tf.models import with_latents


class LatentPGD(PGD):
    """PGD on the cross-entropy and on the distortion of the latent features together.

    An adaptive attack on networks whose training suppresses the vulnerability: where the logits
    give no direction, the distance of the latent features still does. Its loss is

        CE(f(x'), y) + weight * mean over hidden layers l of mean|z_l(x') - z_l(x)| / mean|z_l(x)|,

    each layer's distortion in units of the size of its clean features, so that a network cannot
    escape by small features. Called as `attack(network, x, y)`, like `PGD`.

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
        check("weight", weight, weight >= 0, "a number of at least 0")
        self.weight = float(weight)

    def __call__(self, network, x, y, **kwargs):
        """As `PGD.__call__`; `network` is a functional Keras model with ReLUs.

        Raises:
            ValueError: also if the network is no Keras model, or has no ReLU that can be reached.
        """
        if not isinstance(network, keras.Model):
            raise ValueError(
                "The latent attack needs a functional Keras model, whose latent features it can "
                f"reach. Received: network of type {type(network).__name__}"
            )
        latent_network = with_latents(network)
        latents, _ = latent_network(x, training=False)
        clean = [tf.stop_gradient(latent) for latent in latents]
        return super().__call__(latent_network, x, (y, clean), **kwargs)

    def _reached(self, outputs, references):
        return super()._reached(outputs[1], references[0])

    def _loss(self, outputs, references):
        (latents, logits), (y, clean) = outputs, references
        distortions = [
            tf.math.divide_no_nan(_mean(tf.abs(latent - reference)), _mean(tf.abs(reference)))
            for latent, reference in zip(latents, clean, strict=True)
        ]
        return cross_entropy(logits, y) + self.weight * tf.add_n(distortions) / len(distortions)


def _mean(features):
    """The mean of each example, float32 [batch]."""
    return tf.reduce_mean(tf.cast(features, tf.float32), list(range(1, features.shape.rank)))
