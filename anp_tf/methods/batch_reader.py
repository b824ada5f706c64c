"""What `fit` hands to a step: pixels, labels and weights, in any of the usual kinds."""

import contextlib
import dataclasses
import logging
import re

import keras
import tensorflow as tf

from anp_tf.attacks.gradients import NO_FINITE_GRADIENT
from anp_tf.methods.checks import ATTACKED_ARE, NOT_FINITE

PIXELS_ARE = "Pixels must be numbers in [0, 1]"
LABELS_ARE = "Labels must be classes of the network"
ONE_HOT_ARE = "One-hot labels must have a 1 for the class and 0 elsewhere"
WEIGHTS_ARE = "Sample weights must be finite"

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Batch:
    """A batch for a step.

    Attributes:
        pixels: Tensor [batch, ...] in [0, 1], of the dtype that the network takes.
        labels: int32 tensor [batch].
        weights: float32 tensor [batch], by which the examples' losses count; None: all by 1.
        targets: The labels as they were given, for metrics.
    """

    pixels: tf.Tensor
    labels: tf.Tensor
    weights: tf.Tensor | None
    targets: tf.Tensor

    @property
    def count(self):
        """How many examples there are, an int32 scalar; a replica's batch may have none."""
        return tf.shape(self.labels)[0]

    def first_pixels(self, share):
        """The pixels of the first images, this share of all, rounded up; None for a share of 0."""
        if share == 1:
            return self.pixels
        count = tf.math.ceil(share * tf.cast(self.count, tf.float32))
        return self.pixels[: tf.cast(count, tf.int32)] if share else None


class BatchReader:
    """Makes a `Batch` of what `fit` and `evaluate` hand to a step, and checks it.

    Args:
        network: Functional `keras.Model` from pixels to logits.

    Call arguments:
        data: Tuple of pixels, labels and, if there are any, weights of the examples. Pixels:
            floats in [0, 1], or uint8 of 0 to 255, which are divided by 255. Labels: integers,
            [batch] or [batch, 1], or one-hot, [batch, classes].

    Raises:
        ValueError: if they are of another kind or shape.
        tf.errors.InvalidArgumentError: when the step runs, if a pixel is not in [0, 1], a label is
            no class, or a vector not one-hot; `told` makes a ValueError of one line of it.
    """

    def __init__(self, network):
        self.dtype, self.shape = network.inputs[0].dtype, network.inputs[0].shape
        self.classes = network.outputs[0].shape[-1]
        self._announced = False

    def __call__(self, data):
        x, targets, weights = keras.utils.unpack_x_y_sample_weight(data)
        if targets is None:
            raise ValueError("Labels are needed. Received: pixels alone")
        labels, checks = self._labels(tf.convert_to_tensor(targets))
        pixels = self.pixels(x)
        inside = tf.reduce_all((pixels >= 0) & (pixels <= 1))
        unknown = tf.reduce_sum(tf.cast(~tf.math.is_finite(pixels), tf.int32))
        checks.append((inside, PIXELS_ARE, tf.reduce_min(pixels), tf.reduce_max(pixels), unknown))
        if weights is not None:
            weights = _weights(tf.cast(weights, tf.float32))
            checks.append((tf.reduce_all(tf.math.is_finite(weights)), WEIGHTS_ARE))
        checked = [tf.raw_ops.Assert(condition=check, data=told) for check, *told in checks]
        with tf.control_dependencies(checked):
            pixels, labels = tf.identity(pixels), tf.identity(labels)
        return Batch(pixels, labels, weights, targets)

    def pixels(self, x):
        """The pixels as the network takes them, not checked for their range."""
        x = tf.convert_to_tensor(x)
        if not x.shape.is_compatible_with(self.shape):
            expected = ", ".join("any" if size is None else str(size) for size in self.shape[1:])
            raise ValueError(f"Images must be [batch, {expected}]. Received: {x.shape}")
        if x.shape.rank is None:
            x = tf.ensure_shape(x, self.shape)
        if x.dtype == tf.uint8:
            if not self._announced:
                self._announced = True
                log.warning("uint8 images are divided by 255: pixels are in [0, 1]")
            return tf.cast(x, self.dtype) / 255
        if not x.dtype.is_floating:
            raise ValueError(
                "Images must be floats in [0, 1], or uint8 of 0 to 255. "
                f"Received: {x.dtype.name} of shape {x.shape}"
            )
        return tf.cast(x, self.dtype)

    def _labels(self, y):
        """The labels, int32 [batch], and what has to hold: a condition and what is told."""
        if y.shape.rank == 2 and y.shape[1] == self.classes:
            ones = tf.cast(tf.equal(y, tf.ones([], y.dtype)), tf.int32)
            zeros = tf.cast(tf.equal(y, tf.zeros([], y.dtype)), tf.int32)
            one_hot = tf.equal(tf.reduce_sum(ones, -1), 1)
            one_hot &= tf.equal(tf.reduce_sum(ones + zeros, -1), self.classes)
            return tf.argmax(ones, -1, tf.int32), [(tf.reduce_all(one_hot), ONE_HOT_ARE)]
        if y.shape.rank is None:
            raise ValueError(
                "Labels must have a known rank, as with `output_signature` in place of "
                f"`output_types` of tf.data. Received: {y.dtype.name} of an unknown shape"
            )
        if not y.dtype.is_integer or y.shape.rank not in (1, 2) or y.shape[1:] not in ((), (1,)):
            raise ValueError(
                f"Labels must be integers, [batch] or [batch, 1], or one-hot, [batch, "
                f"{self.classes}]. Received: {y.dtype.name} of shape {y.shape}"
            )
        labels = tf.reshape(tf.cast(y, tf.int32), [-1])
        known = tf.reduce_all((labels >= 0) & (labels < self.classes))
        bounds = tf.reduce_min(labels), tf.reduce_max(labels), tf.constant(self.classes)
        return labels, [(known, LABELS_ARE, *bounds)]


def _weights(weights):
    """The weights of the examples, float32 [batch]."""
    if weights.shape.rank not in (1, None) and weights.shape[1:] != (1,):
        raise ValueError(
            "Sample weights must be one for each example, [batch] or [batch, 1]. "
            f"Received: shape {weights.shape}"
        )
    return tf.reshape(weights, [-1])


@contextlib.contextmanager
def told():
    """Makes an error of one line of a check that fails in a step in the block.

    A ValueError of those of `BatchReader`, a FloatingPointError of what is not finite.
    """
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        for sentence in (NOT_FINITE, NO_FINITE_GRADIENT):
            if sentence in error.message:
                raise FloatingPointError(f"{sentence}. A lower learning rate may help") from None
        sentence = _sentence(error.message)
        if sentence is None:
            raise
        raise ValueError(sentence) from None


def _sentence(message):
    """What a failed check says in one line; None of another error."""
    if ONE_HOT_ARE in message:
        return (
            f"{ONE_HOT_ARE}; smoothing is the argument `label_smoothing`. Received: other vectors"
        )
    if WEIGHTS_ARE in message:
        return f"{WEIGHTS_ARE}. Received: a batch with NaN or infinite ones"
    number = r" \[([^\]]*)\]"
    if found := re.search(rf"\[{re.escape(ATTACKED_ARE)}\]{2 * number}", message):
        low, high = map(float, found.groups())
        return f"{ATTACKED_ARE}. Received: a batch of {low:g} to {high:g}"
    if found := re.search(rf"\[{re.escape(LABELS_ARE)}\]{3 * number}", message):
        low, high, classes = map(int, found.groups())
        return f"{LABELS_ARE}, 0 to {classes - 1}. Received: a batch of {low} to {high}"
    if found := re.search(rf"\[{re.escape(PIXELS_ARE)}\]{3 * number}", message):
        low, high, unknown = map(float, found.groups())
        return (
            f"{PIXELS_ARE}. Received: a batch of {low:g} to {high:g}{_remedy(low, high, unknown)}"
        )
    return None


def _remedy(low, high, unknown):
    if unknown:
        return f", {unknown:.0f} of them NaN or infinite: look for the images that have these"
    if low < 0:
        return (
            ": give the images before they are normalized, and let the network's first layer do "
            "it, such as keras.layers.Rescaling or Normalization"
        )
    return ": divide by 255" if high <= 255 else f": divide by their largest value, {high:g}"
