"""The clean and the adversarial images through a network, under the same draws."""

import keras
import tensorflow as tf

from anp_tf.layers import bayes_layers, given_masks, seed_states
from anp_tf.models import with_latents


class PairedForward:
    """Runs both copies of a batch, so that what differs is due to the adversary alone.

    Masks, random weights and whatever else has a seed generator are drawn once for both. The copies
    go through the network as one batch, or one after the other where that would not do: batch
    statistics of a mixed batch would be neither the clean nor the adversarial ones, and dropout
    would drop other features in each half. Layers of one's own may do either.

    Args:
        network: Functional `keras.Model` from pixels to logits.
        latents, required: As for `with_latents`.

    Attributes:
        one_pass: Boolean, whether the copies go through as one batch.
    """

    def __init__(self, network, latents=None, required=True):
        self.latent_network = with_latents(network, latents, required)
        self.seeds = seed_states(network)
        # A draw of weights is for a whole batch, others are for each example.
        of_weights = {id(seed) for layer in bayes_layers(network) for seed in seed_states(layer)}
        self.one_pass = of_weights.issuperset(map(id, self.seeds)) and not any(
            map(_mixes, network._flatten_layers(include_self=False))
        )

    def __call__(self, x, adversarial, masks, training):
        """The latent features and the logits of both copies.

        Args:
            x: Tensor [first, ...], pixels of the batch's first images, or of all.
            adversarial: Tensor [batch, ...].
            masks: Dict from mask layer to its mask, [units] or [batch, units].
            training: Boolean.

        Returns:
            Pair of pairs (list of latent features, logits), of `first` and of `batch` examples.
        """
        forward = self._as_one_batch if self.one_pass else self._one_after_the_other
        return forward(x, adversarial, masks, training)

    def _as_one_batch(self, x, adversarial, masks, training):
        # A mask per example is repeated for the clean part of the batch.
        first = tf.shape(x)[0]
        masks = {
            layer: tf.concat([mask[:first], mask], 0) if mask.shape.rank == 2 else mask
            for layer, mask in masks.items()
        }
        with given_masks(masks):
            outputs = self.latent_network(tf.concat([x, adversarial], 0), training=training)
        sizes = [first, tf.shape(adversarial)[0]]
        parts = [tf.split(output, sizes) for output in keras.tree.flatten(outputs)]
        return [
            keras.tree.pack_sequence_as(outputs, list(part)) for part in zip(*parts, strict=True)
        ]

    def _one_after_the_other(self, x, adversarial, masks, training):
        start = [tf.identity(seed) for seed in self.seeds]
        first = tf.shape(x)[0]
        of_clean = {
            layer: mask[:first] if mask.shape.rank == 2 else mask for layer, mask in masks.items()
        }
        with given_masks(of_clean):
            clean = self.latent_network(x, training=training)
        with given_masks(masks):
            for seed, value in zip(self.seeds, start, strict=True):
                seed.assign(value)
            return clean, self.latent_network(adversarial, training=training)


def _mixes(layer):
    """Whether what a layer makes of an image may depend on the other ones of its batch."""
    package = type(layer).__module__.partition(".")[0]
    of_own = keras.layers.BatchNormalization, keras.layers.Lambda
    return package not in ("keras", "anp_tf") or isinstance(layer, of_own)
