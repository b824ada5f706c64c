"""Losses: pure functions of tensors."""

import math

import tensorflow as tf

SPREAD = 1e-12  # below it the logits are taken as equal

__all__ = ["classified", "cross_entropy", "dlr", "margin", "vulnerability"]


def classified(logits, labels):
    """Which examples are classified correctly: the label's logit is strictly ahead of all others.

    It is asked of the logits in float32, whatever they come in. A tie is not right, for nothing in
    it prefers the label, nor is an example that has a logit which is NaN or infinite.

    Args:
        logits: Tensor [batch, classes], two classes at least.
        labels: Integer tensor [batch].

    Returns:
        Boolean tensor [batch].
    """
    logits, labels = tf.cast(logits, tf.float32), tf.cast(labels, tf.int32)
    is_label = tf.one_hot(labels, logits.shape[-1], True, False, dtype=tf.bool)
    others = tf.reduce_max(tf.where(is_label, -math.inf, logits), axis=-1)
    finite = tf.reduce_all(tf.math.is_finite(logits), axis=-1)
    return finite & (_of(logits, labels) > others)


def cross_entropy(logits, labels, smoothing=0.0):
    """Cross-entropy of each example, computed in float32 at least.

    It is the softplus of `log_odds`, which is the same number, so that it and its gradient keep
    their digits where the label's probability rounds to 1.

    Args:
        logits: Tensor [batch, classes].
        labels: Integer tensor [batch], classes.
        smoothing: Float in [0, 1): the share of the label's probability that is spread evenly over
            all classes (Szegedy et al. 2016).

    Returns:
        Tensor [batch], in nats.
    """
    logits = _at_least_float32(logits)
    losses = tf.math.softplus(log_odds(logits, labels))
    if not smoothing:
        return losses
    even = -tf.reduce_mean(tf.nn.log_softmax(logits), axis=-1)
    return (1.0 - smoothing) * losses + smoothing * even


def log_odds(logits, labels):
    """Logarithm of the odds against the label: the log-sum-exp of the others minus its logit.

    It grows where the cross-entropy grows, and its gradient, of the same direction, does not vanish
    where the label is sure.

    Args:
        logits: Tensor [batch, classes], two classes at least.
        labels: Integer tensor [batch].

    Returns:
        Tensor [batch], in float32 at least.
    """
    logits = _at_least_float32(logits)
    return tf.reduce_logsumexp(_others(logits, labels), axis=-1) - _of(logits, labels)


def margin(logits, labels):
    """How far the highest other logit is above that of the label (Carlini & Wagner 2017).

    Args:
        logits: Tensor [batch, classes], two classes at least.
        labels: Integer tensor [batch].

    Returns:
        Tensor [batch], in float32 at least; above 0 where the label is not the prediction.
    """
    logits = _at_least_float32(logits)
    return tf.reduce_max(_others(logits, labels), axis=-1) - _of(logits, labels)


def dlr(logits, labels):
    """Difference of logits ratio: the margin in units of the logits' spread (Croce & Hein 2020).

    It does not change when the logits are scaled or shifted, so that a network cannot hide its
    gradients by large logits.

    Args:
        logits: Tensor [batch, classes], three classes at least.
        labels: Integer tensor [batch].

    Returns:
        Tensor [batch], in float32 at least; above 0 where the label is not the prediction.

    Raises:
        ValueError: if there are fewer classes.
    """
    logits = _at_least_float32(logits)
    first, _, third = tf.unstack(_highest(logits, 3, "dlr"), axis=-1)
    return margin(logits, labels) / (first - third + SPREAD)


def targeted_dlr(logits, labels, targets):
    """The difference of logits ratio between a target class and the label (Croce & Hein 2020).

    Args:
        logits: Tensor [batch, classes], four classes at least.
        labels: Integer tensor [batch].
        targets: Integer tensor [batch], the classes aimed at.

    Returns:
        Tensor [batch], in float32 at least; above 0 where the target's logit is above the label's.

    Raises:
        ValueError: if there are fewer classes.
    """
    logits = _at_least_float32(logits)
    first, _, third, fourth = tf.unstack(_highest(logits, 4, "targeted_dlr"), axis=-1)
    difference = _of(logits, targets) - _of(logits, labels)
    return difference / (first - (third + fourth) / 2 + SPREAD)


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


def layer_vulnerability(clean, adversarial, size=None, weights=None):
    """Mean |z_l(x) - z_l(x')| of one layer over batch and features (Madaan et al. 2020, sec. 3).

    Computed in float32 at least.

    Args:
        clean: Tensor [batch, ...], latent features of the clean images.
        adversarial: Tensor of the same shape, those of the adversarial images.
        size: Integer, the features per image that the mean is over, where some that are always 0
            are left out; None: all that are there.
        weights: Tensor [batch], by which the examples count, or None.

    Returns:
        Scalar, at least 0.
    """
    distance = tf.abs(_at_least_float32(clean) - _at_least_float32(adversarial))
    if weights is not None:
        distance = tf.reduce_mean(distance, range(1, distance.shape.rank))
    mean = weighted_mean(distance, weights)
    return mean if size is None else mean * (math.prod(clean.shape[1:]) / size)


def vulnerability(clean, adversarial, sizes=None, weights=None):
    """Vulnerability of a network: the mean over its hidden layers (Madaan et al. 2020, sec. 3).

    Args:
        clean: List of tensors [batch, ...], the latent features of each layer.
        adversarial: List of tensors of the same shapes.
        sizes: List of integers, as `size` of `layer_vulnerability`, or None.
        weights: Tensor [batch], by which the examples count, or None.

    Returns:
        Scalar, at least 0; 0 without hidden layers.
    """
    if not clean:
        return tf.constant(0.0)
    sizes = [None] * len(clean) if sizes is None else sizes
    layers = zip(clean, adversarial, sizes, strict=True)
    found = [layer_vulnerability(*layer, weights) for layer in layers]
    return tf.add_n([tf.cast(each, found[0].dtype) for each in found]) / len(clean)


def weighted_mean(values, weights=None):
    """The mean of the values after each is multiplied by its weight, as in Keras's losses.

    Args:
        values: Tensor [batch]; of any shape without weights.
        weights: Tensor [batch] or None.

    Returns:
        Scalar; 0 of no values, which is what a replica may get of an epoch's last batch.
    """
    if weights is not None:
        values *= tf.cast(weights, values.dtype)
    return tf.math.divide_no_nan(tf.reduce_sum(values), tf.cast(tf.size(values), values.dtype))


def l2_decay(variables):
    """Sum over all entries of the variables of half their square; 0 for no variables."""
    if not variables:
        return tf.constant(0.0)
    return tf.add_n([tf.nn.l2_loss(tf.cast(variable, tf.float32)) for variable in variables])


def _of(logits, labels):
    return tf.gather(logits, labels, axis=-1, batch_dims=1)


def _others(logits, labels):
    """The logits with those of the labels at the lowest number there is."""
    is_label = tf.one_hot(labels, logits.shape[-1], True, False, dtype=tf.bool)
    return tf.where(is_label, logits.dtype.min, logits)


def _highest(logits, count, loss):
    if logits.shape[-1] < count:
        raise ValueError(
            f"The loss `{loss}` needs at least {count} classes. Received: {logits.shape[-1]}"
        )
    return tf.math.top_k(logits, count).values


def _at_least_float32(x):
    return tf.cast(x, tf.float64 if x.dtype == tf.float64 else tf.float32)
