"""Who is right: the one place where a network's answers are held against the labels."""

import dataclasses

import numpy as np
import tensorflow as tf

from anp_tf.losses import classified, margin

# What rounding may change in a label's lead, in shares of the spread of its image's logits, between
# two batches; and, where an image is read back, in steps of float32 at the size of its logits.
UNSURE_SHARE, FLOAT32_STEPS = 1e-5, 4


class LogitsError(ValueError):
    """A network's logits are NaN or infinite."""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The answers to some images, Boolean arrays [n].

    Attributes:
        right: The label's logit, in float32, is strictly ahead of all others
            (`anp_tf.losses.classified`).
        withstands: It is ahead by more than rounding may change. Of an attacked image this counts:
            what is unsure counts against the network.
        may_be_wrong: It is not ahead by more than twice that and by more than float32 can tell
            apart: an image that has fooled the network, read back, still counts.
    """

    right: np.ndarray
    withstands: np.ndarray
    may_be_wrong: np.ndarray


class Judge:
    """Holds a network's answers against labels.

    What rounding may flip is measured by the spread of an image's own logits, their highest less
    their lowest, so that no network gains by small, large, rounded or shifted logits.

    Args:
        network: Keras model, or function `(pixels, training) -> logits [batch, classes]`.

    Call arguments:
        x: Float tensor [batch, ...], pixels in [0, 1].
        y: Integer tensor [batch], labels.

    Returns:
        `Verdict`.

    Raises:
        LogitsError: if logits are NaN or infinite; it says of how many images.
    """

    def __init__(self, network):
        @tf.function(reduce_retracing=True)
        def judge(x, y):
            return answers(network(x, training=False), y)

        self._judge = judge

    def __call__(self, x, y):
        finite, *answer = (part.numpy() for part in self._judge(x, y))
        check_finite(finite)
        return Verdict(*answer)


def labels(y):
    """Labels as integers [batch], of [batch] or [batch, 1].

    Raises:
        ValueError: if they are no integers, or of another shape, such as one-hot ones.
    """
    y = tf.convert_to_tensor(y)
    if not y.dtype.is_integer or not (y.shape.rank == 1 or y.shape[1:] == [1]):
        raise ValueError(
            f"labels must be one integer for each image, [batch] or [batch, 1], not one-hot: they "
            f"are {y.dtype.name} of shape {list(y.shape)}"
        )
    return tf.reshape(tf.cast(y, tf.int32), [-1])


def answers(logits, y):
    """Which logits are finite, and the three parts of a `Verdict`, Boolean tensors [batch]."""
    logits, y = tf.cast(logits, tf.float32), labels(y)
    finite = tf.reduce_all(tf.math.is_finite(logits), -1)
    spread = tf.reduce_max(logits, -1) - tf.reduce_min(logits, -1)
    size = tf.reduce_max(tf.abs(logits), -1)
    right, lead = classified(logits, y), -margin(logits, y)
    least = tf.maximum(2 * UNSURE_SHARE * spread, FLOAT32_STEPS * np.finfo(np.float32).eps * size)
    return finite, right, right & (lead > UNSURE_SHARE * spread), ~(right & (lead > least))


def check_finite(finite):
    """A LogitsError that says how many of some images have logits that are NaN or infinite."""
    bad = np.count_nonzero(~np.asarray(finite))
    if bad:
        raise LogitsError(
            f"the network's logits are NaN or infinite for {bad} of {len(finite)} images"
        )
