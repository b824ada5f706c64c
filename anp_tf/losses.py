"""Losses: pure functions of tensors."""

import math

import tensorflow as tf


def cross_entropy(logits, labels):
    """Cross-entropy of each example, computed in float32 at least.

    Args:
        logits: Tensor [batch, classes].
        labels: Integer tensor [batch].

    Returns:
        Tensor [batch], in nats.
    """
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, _at_least_float32(logits))


def divergence(logits, reference):
    """KL(softmax(reference) || softmax(logits)) of each example, in float32 at least.

    Args:
        logits: Tensor [batch, classes].
        reference: Tensor [batch, classes], logits too.

    Returns:
        Tensor [batch], in nats, at least 0 up to rounding.
    """
    log_p = tf.nn.log_softmax(_at_least_float32(reference))
    log_q = tf.nn.log_softmax(_at_least_float32(logits))
    return tf.reduce_sum(tf.exp(log_p) * (log_p - log_q), axis=-1)


def layer_vulnerability(clean, adversarial, size=None):
    """Mean |z_l(x) - z_l(x')| of one layer over batch and features (Madaan et al. 2020, sec. 3).

    Computed in float32 at least.

    Args:
        clean: Tensor [batch, ...], latent features of the clean images.
        adversarial: Tensor of the same shape, those of the adversarial images.
        size: Integer, the features per image that the mean is over, where some that are always 0
            are left out; None: all that are there.

    Returns:
        Scalar, at least 0.
    """
    distance = tf.abs(_at_least_float32(clean) - _at_least_float32(adversarial))
    mean = tf.reduce_mean(distance)
    return mean if size is None else mean * (math.prod(clean.shape[1:]) / size)


def vulnerability(clean, adversarial, sizes=None):
    """Vulnerability of a network: the mean over its hidden layers (Madaan et al. 2020, sec. 3).

    Args:
        clean: List of tensors [batch, ...], the latent features of each layer.
        adversarial: List of tensors of the same shapes.
        sizes: List of integers, as `size` of `layer_vulnerability`, or None.

    Returns:
        Scalar, at least 0.
    """
    sizes = [None] * len(clean) if sizes is None else sizes
    return tf.add_n(
        [layer_vulnerability(*layer) for layer in zip(clean, adversarial, sizes, strict=True)]
    ) / len(clean)


def l2_decay(variables):
    """Sum over all entries of the variables of half their square."""
    return tf.add_n([tf.nn.l2_loss(tf.convert_to_tensor(variable)) for variable in variables])


def _at_least_float32(x):
    return tf.cast(x, tf.float64 if x.dtype == tf.float64 else tf.float32)
