"""Who is right: the one place where a network's answers are held against the labels."""

import dataclasses

import numpy as np
import tensorflow as tf

from anp_tf.attacks.attack import widened
from anp_tf.attacks.entrance import labels_of, pixels_of
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
        y: Integer tensor [batch] or [batch, 1], labels.

    Returns:
        `Verdict`.

    Raises:
        LogitsError: if logits are NaN or infinite; it says of how many images.
        ValueError: if labels are no classes of the network; likewise.
    """

    def __init__(self, network):
        @tf.function(reduce_retracing=True)
        def judge(x, y):
            return answers(network(x, training=False), y)

        self._judge = judge

    def __call__(self, x, y):
        judgeable, *answer = self._judge(x, labels_of(y, x))
        check_judgeable(judgeable)
        return Verdict(*(part.numpy() for part in answer))


def examples_of(x, y):
    """A batch of a data set as attacks and judges take it: float pixels, and labels as int64 [n].

    Pixels in half precision become float32: adversarial images beside a decision boundary would be
    rounded back over it.

    Raises:
        ValueError: one line, if the pixels are not in [0, 1], or the labels no integers [n] or
            [n, 1].
    """
    x = pixels_of(x)
    return widened(x), labels_of(y, x)


def answers(logits, y):
    """What an image needs to be judged, a pair, and the three parts of a `Verdict`.

    All are Boolean tensors [batch]: whether the logits are finite, whether the label is a class.
    """
    logits = tf.cast(logits, tf.float32)
    is_class = (y >= 0) & (y < logits.shape[-1])
    y = tf.where(is_class, y, 0)
    finite = tf.reduce_all(tf.math.is_finite(logits), -1)
    spread = tf.reduce_max(logits, -1) - tf.reduce_min(logits, -1)
    size = tf.reduce_max(tf.abs(logits), -1)
    right, lead = classified(logits, y), -margin(logits, y)
    least = tf.maximum(2 * UNSURE_SHARE * spread, FLOAT32_STEPS * np.finfo(np.float32).eps * size)
    withstands, may_be_wrong = right & (lead > UNSURE_SHARE * spread), ~(right & (lead > least))
    return (finite, is_class), right, withstands, may_be_wrong


def check_judgeable(judgeable):
    """An error that says how many of some images cannot be judged, by the pair of `answers`."""
    finite, is_class = (np.asarray(part) for part in judgeable)
    if not is_class.all():
        raise ValueError(
            f"the labels of {np.sum(~is_class)} of {len(is_class)} images are no classes of the "
            "network"
        )
    if not finite.all():
        raise LogitsError(
            f"the network's logits are NaN or infinite for {np.sum(~finite)} of {len(finite)} "
            "images"
        )
