"""What a method's losses are made of."""

import dataclasses

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Terms:
    """What a method's losses are made of: float32, and scalars but for the logits.

    Attributes:
        clean_loss: Cross-entropy of the clean images, a mean over the batch; None where adversarial
            images alone are run.
        clean_logits: [batch, classes]; None likewise.
        adversarial_loss: Cross-entropy of the adversarial images; None without an attack.
        adversarial_logits: [batch, classes]; None without an attack.
        vulnerability: Of the latent features; None without an attack, or without clean images.
        kl: beta KL / N of masks or random weights, with its warm-up; 0 without them.
        decay: Weight decay, and the weights' own regularizers.
        weights: [batch], by which the examples count; they do so already in the losses and the
            vulnerability. None: all by 1.
    """

    clean_loss: tf.Tensor | None
    clean_logits: tf.Tensor | None
    adversarial_loss: tf.Tensor | None
    adversarial_logits: tf.Tensor | None
    vulnerability: tf.Tensor | None
    kl: tf.Tensor
    decay: tf.Tensor
    weights: tf.Tensor | None = None
