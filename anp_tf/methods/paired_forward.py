"""The clean and the adversarial images through a network, under the same draws."""

import keras
import tensorflow as tf

from anp_tf.layers import bayes_layers, given_masks
from anp_tf.models import with_latents

DROPOUTS = (
    keras.layers.Dropout,
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.SpatialDropout3D,
    keras.layers.AlphaDropout,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
)


class PairedForward:
    """Runs both copies of a batch, so that what differs is due to the adversary alone.

    Masks, random weights and dropout are drawn once for both. The copies go through the network as
    one batch, or one after the other where that would not do: batch statistics of a mixed batch
    would be neither the clean nor the adversarial ones, and dropout would drop other features in
    each half.

    Args:
        network: Functional `keras.Model` from pixels to logits.

    Attributes:
        one_pass: Boolean, whether the copies go through as one batch.
    """

    def __init__(self, network):
        layers = list(network._flatten_layers(include_self=False))
        dropouts = [layer for layer in layers if isinstance(layer, DROPOUTS)]
        self.latent_network = with_latents(network)
        self.random_layers = dropouts + bayes_layers(network)
        self.one_pass = not dropouts and not any(
            isinstance(layer, keras.layers.BatchNormalization) for layer in layers
        )

    def __call__(self, x, adversarial, masks, training):
        """The latent features and the logits of both copies.

        Args:
            x: Tensor [batch, ...], pixels.
            adversarial: Tensor like `x`.
            masks: Dict from mask layer to its mask, [units] or [batch, units].
            training: Boolean.

        Returns:
            Pair of pairs (list of latent features, logits).
        """
        forward = self._as_one_batch if self.one_pass else self._one_after_the_other
        return forward(x, adversarial, masks, training)

    def _as_one_batch(self, x, adversarial, masks, training):
        # A mask per example is repeated for the second half of the batch.
        masks = {
            layer: tf.concat([mask, mask], 0) if mask.shape.rank == 2 else mask
            for layer, mask in masks.items()
        }
        with given_masks(masks):
            outputs = self.latent_network(tf.concat([x, adversarial], 0), training=training)
        halves = [tf.split(output, 2) for output in keras.tree.flatten(outputs)]
        return [
            keras.tree.pack_sequence_as(outputs, list(half)) for half in zip(*halves, strict=True)
        ]

    def _one_after_the_other(self, x, adversarial, masks, training):
        seeds = [layer.seed_generator.state for layer in self.random_layers]
        start = [tf.identity(seed) for seed in seeds]
        with given_masks(masks):
            clean = self.latent_network(x, training=training)
            for seed, value in zip(seeds, start, strict=True):
                seed.assign(value)
            return clean, self.latent_network(adversarial, training=training)
