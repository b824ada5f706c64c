"""The forward passes of a training step, and the means of what they show."""

import math

import keras
import tensorflow as tf

from anp_tf.layers import given_masks
from anp_tf.losses import classified, cross_entropy, divergence, vulnerability, weighted_mean
from anp_tf.methods.paired_forward import PairedForward

CLEAN_NAMES = ("loss", "accuracy")
ATTACKED_ALONE_NAMES = ("adversarial_loss", "adversarial_accuracy")
ATTACKED_NAMES = (*ATTACKED_ALONE_NAMES, "vulnerability")


class Forward:
    """Runs a batch and its adversarial copy through a network, under given masks.

    Args:
        network: Functional `keras.Model` from pixels to logits.
        latents: As for `with_latents`.
        suppresses: Boolean, whether the vulnerability is more than shown: the network must have
            latent features then, and their number must be known.
        smoothing: Float, of the labels in training, as for `cross_entropy`.
        distillation: `Distillation`, whose teacher's predictions are labels in training; None:
            those of the data set alone.

    Attributes:
        paired: `PairedForward` of the network.
        view: `SlimView` that training passes run through, or None.
        means: Dict from the name to a `keras.metrics.Mean` of what the passes showed.
    """

    def __init__(self, network, latents=None, suppresses=True, smoothing=0.0, distillation=None):
        if distillation is not None:
            distillation.check(network)
        self.network = network
        self.smoothing = smoothing
        self.distillation = distillation
        self._latents = latents
        self.paired = PairedForward(network, latents, required=suppresses)
        if suppresses and any(None in shape for _, shape in _latents(self.paired)):
            raise ValueError(
                f"The vulnerability of `{network.name}` needs images of a known size. "
                f"Received: inputs of shape {network.inputs[0].shape}"
            )
        self.view = None
        self.means = {
            name: keras.metrics.Mean(name=name) for name in (*CLEAN_NAMES, *ATTACKED_NAMES)
        }

    def use_view(self, view):
        """From here on training passes run through a `SlimView` of the network; None: itself.

        Raises:
            ValueError: if all features of a layer are cut, so that it is not there any more.
        """
        if view is None:
            self.view = None
            return
        paired = PairedForward(view.network, self._latents, required=False)
        names, others = ([name for name, _ in _latents(each)] for each in (paired, self.paired))
        if sorted(names) != sorted(set(others)):
            raise ValueError(f"All latent features of a layer of `{self.network.name}` are pruned.")
        self.view, self._slim_paired = view, paired

    def __call__(self, x, adversarial, batch, masks, training):
        """Runs the images, updates the means, and returns the first five fields of `Terms`.

        Args:
            x: Tensor [first, ...], pixels of the batch's first images, or of all; None: the
                adversarial images alone are run.
            adversarial: Tensor [batch, ...], or None.
            batch: `Batch` of them. What is shown of the accuracies and the vulnerability does not
                depend on its weights.
            masks: Dict from mask layer to its mask, [units] or [batch, units].
            training: Boolean.
        """
        y, weights, taught = batch.labels, batch.weights, None
        if training and self.distillation is not None:
            taught = self.distillation.logits(batch.pixels)

        def score(prefix, logits):
            count = tf.shape(logits)[0]
            labels, weight, reference = (
                None if each is None else each[:count] for each in (y, weights, taught)
            )
            losses = self._losses(logits, labels, reference, training)
            return self._score(prefix, logits, labels, losses, weight)

        if adversarial is None:
            logits = self._logits(x, masks, training)
            return score("", logits), logits, None, None, None
        if x is None:
            logits = self._logits(adversarial, masks, training)
            return None, None, score("adversarial_", logits), logits, None
        if self.view is not None and training:
            paired = self._slim_paired
            with self.view.weights(training=True):
                clean, moved = paired(x, adversarial, {}, training)
        else:
            paired = self.paired
            clean, moved = paired(x, adversarial, masks, training)
        (latents, logits), (other_latents, other_logits) = clean, moved
        first = tf.shape(x)[0]
        if x is not batch.pixels:  # all of them need no copy, nor one of their gradients
            other_latents = [_first(features, first) for features in other_latents]
        sizes = self._sizes(paired)
        distortion = vulnerability(latents, other_latents, sizes)
        self.means["vulnerability"].update_state(distortion, sample_weight=first)
        if weights is not None:
            distortion = vulnerability(latents, other_latents, sizes, weights[:first])
        clean_loss, adversarial_loss = score("", logits), score("adversarial_", other_logits)
        return clean_loss, logits, adversarial_loss, other_logits, distortion

    def _logits(self, x, masks, training):
        if self.view is not None and training:
            with self.view.weights(training=True):
                return self.view.network(x, training=True)
        with given_masks(masks):
            return self.network(x, training=training)

    def _sizes(self, paired):
        """How many features each layer has, those that slimming has cut, which are 0, included."""
        latents = _latents(self.paired)
        if any(None in shape for _, shape in latents):
            return None
        sizes = [math.prod(shape) for _, shape in latents]
        if paired is self.paired:
            return sizes
        of_name = dict(zip((name for name, _ in latents), sizes, strict=True))
        return [of_name[name] for name, _ in _latents(paired)]  # depths, and so the order, differ

    def _losses(self, logits, y, taught, training):
        """What each example counts for in the loss, [batch]."""
        losses = cross_entropy(logits, y, self.smoothing if training else 0.0)
        if taught is None:
            return losses
        share = self.distillation.weight
        return (1.0 - share) * losses + share * divergence(logits, taught)

    def _score(self, prefix, logits, y, losses, weights):
        loss = weighted_mean(losses, weights)
        self.means[f"{prefix}loss"].update_state(loss, sample_weight=tf.shape(y)[0])
        self.means[f"{prefix}accuracy"].update_state(classified(logits, y))
        return loss


def _first(features, count):
    """`features[:count]`, whose own gradient takes several times as long on the CPU."""
    rank = features.shape.rank
    return tf.slice(features, [0] * rank, [count, *[-1] * (rank - 1)])


def _latents(paired):
    """The name of the layer and the shape, without the batch, of each latent feature."""
    tensors, _ = paired.latent_network.output
    return [(t._keras_history.operation.name, tuple(t.shape[1:])) for t in tensors]
