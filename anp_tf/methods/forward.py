"""The forward passes of a training step, and the means of what they show."""

import math

import keras
import tensorflow as tf

from anp_tf.layers import given_masks
from anp_tf.losses import cross_entropy, vulnerability
from anp_tf.methods.paired_forward import PairedForward

CLEAN = ("loss", "accuracy")
ATTACKED = ("adversarial_loss", "adversarial_accuracy", "vulnerability")


class Forward:
    """Runs a batch and its adversarial copy through a network, under given masks.

    Args:
        network: Functional `keras.Model` from pixels to logits.

    Attributes:
        paired: `PairedForward` of the network.
        view: `SlimView` that training passes run through, or None.
        means: Dict from the name to a `keras.metrics.Mean` of what the passes showed.
    """

    def __init__(self, network):
        self.network = network
        self.paired = PairedForward(network)
        self.view = None
        self.means = {name: keras.metrics.Mean(name=name) for name in (*CLEAN, *ATTACKED)}
        latents, _ = self.paired.latent_network.output
        # How many features each layer has, those that slimming cuts, which are 0, included.
        self._sizes = [math.prod(latent.shape[1:]) for latent in latents]

    def slim(self, view):
        """From here on training passes run through a `SlimView` of the network."""
        self.view = view
        self._slim_paired = PairedForward(view.network)

    def __call__(self, x, adversarial, y, masks, training):
        """Runs the images, updates the means, and returns the first five fields of `Terms`.

        Args:
            x: Tensor [batch, ...], pixels.
            adversarial: Tensor like `x`, or None.
            y: Integer tensor [batch], labels.
            masks: Dict from mask layer to its mask, [units] or [batch, units].
            training: Boolean.
        """
        if adversarial is None:
            with given_masks(masks):
                logits = self.network(x, training=training)
            return self._score("", logits, y), logits, None, None, None
        if self.view is not None and training:
            with self.view.weights(training=True):
                clean, moved = self._slim_paired(x, adversarial, {}, training)
        else:
            clean, moved = self.paired(x, adversarial, masks, training)
        (latents, logits), (other_latents, other_logits) = clean, moved
        distortion = vulnerability(latents, other_latents, self._sizes)
        self.means["vulnerability"].update_state(distortion, sample_weight=tf.shape(x)[0])
        clean_loss = self._score("", logits, y)
        adversarial_loss = self._score("adversarial_", other_logits, y)
        return clean_loss, logits, adversarial_loss, other_logits, distortion

    def _score(self, prefix, logits, y):
        losses = cross_entropy(logits, y)
        self.means[f"{prefix}loss"].update_state(losses)
        self.means[f"{prefix}accuracy"].update_state(tf.equal(tf.argmax(logits, -1, y.dtype), y))
        return tf.reduce_mean(losses)
