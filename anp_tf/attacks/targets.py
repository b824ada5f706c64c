"""The classes that targeted attacks aim at."""

import tensorflow as tf


def highest_others(logits, y, count):
    """The classes of the highest logits but for the labels.

    Args:
        logits: Tensor [batch, classes], two classes at least.
        y: Integer tensor [batch], labels.
        count: Integer, how many.

    Returns:
        Integer tensor [batch, min(count, classes - 1)], the highest first.

    Raises:
        ValueError: if there are fewer classes.
    """
    classes = logits.shape[-1]
    if classes < 2:
        raise ValueError(
            "A targeted attack needs a network of at least 2 classes. "
            f"Received: logits of shape {logits.shape}"
        )
    is_label = tf.one_hot(y, classes, True, False, dtype=tf.bool)
    others = tf.where(is_label, logits.dtype.min, logits)
    return tf.stop_gradient(tf.math.top_k(others, min(count, classes - 1)).indices)
