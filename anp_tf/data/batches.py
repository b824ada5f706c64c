"""Examples as a stream of batches: float32 pixels in [0, 1], and labels."""

import numpy as np
import tensorflow as tf

from anp_tf.data.augmentation import crop
from anp_tf.data.errors import DataError, at_least
from anp_tf.data.examples import permutation
from anp_tf.names import AUGMENTATIONS

_FLIPPING = -2  # takes an epoch's place in a seed


def training_batches(examples, batch_size, seed, start_step=0, augmentation="none", crop_pixels=4):
    """Returns an endless stream of shuffled batches.

    An epoch has `len(examples) // batch_size` steps, each example is in at most one of them, and
    the order depends on the seed and the epoch's number only. A stream with a `start_step` is
    exactly what a stream from step 0 gives from that step on: training resumes bit for bit.

    Args:
        examples: `Examples`.
        batch_size: examples in a batch, in 1 to `len(examples)`.
        seed: integer of at most 64 bits.
        start_step: number of batches to leave out at the start, of any number of epochs.
        augmentation: `"none"`; `"crop"`: each image is shifted at random, with 0 in the gap, for
            digits or signs; `"crop_flip"`: and mirrored left to right every other time, the usual
            augmentation of CIFAR; `"crop_alternate"`: and mirrored in every other epoch, half of
            the images in the even ones, so that two epochs show both sides of each.
        crop_pixels: how far images are shifted at most, at least 1 and less than their shorter
            side; by 4 as is usual for CIFAR.

    Returns:
        Infinite `tf.data.Dataset` of `(pixels, labels)`: float32
        `[batch_size, height, width, channels]` in [0, 1], and int32 `[batch_size]`.

    Raises:
        DataError: `batch_size`, `start_step` or `crop_pixels` is out of range, or `augmentation`
            unknown, or not for these examples.
    """
    at_least("batch_size", batch_size, 1)
    at_least("start_step", start_step, 0)
    at_least("crop_pixels", crop_pixels, 1)
    check_augmentation(augmentation, examples.image_shape)
    if augmentation != "none" and crop_pixels >= min(examples.image_shape[:2]):
        raise DataError(
            f"crop_pixels must be less than the images' shorter side, "
            f"{min(examples.image_shape[:2])}, got {crop_pixels}"
        )
    if batch_size > len(examples):
        raise DataError(
            f"batch_size must be at most the number of examples, {len(examples)}, got {batch_size}"
        )
    steps = len(examples) // batch_size

    def index_batches(epoch):
        order = permutation(len(examples), seed, epoch)[: steps * batch_size]
        return tf.data.Dataset.from_tensor_slices(tf.reshape(order, [steps, batch_size]))

    first_epoch, skipped = divmod(start_step, steps)
    gather = _gather_from(examples)
    stream = tf.data.Dataset.range(first_epoch, tf.int64.max).flat_map(index_batches).skip(skipped)
    if augmentation == "none":
        return stream.map(gather).prefetch(tf.data.AUTOTUNE)
    with tf.device("CPU:0"):
        halves = tf.random.stateless_uniform([len(examples)], [seed, _FLIPPING]) < 0.5

    def augmented(step, indices):
        pixels, labels = gather(indices)
        crop_seed, flip_seed = tf.unstack(tf.random.split(tf.stack([seed, step]), 2))
        flips = None
        if augmentation == "crop_flip":
            flips = tf.random.stateless_uniform([batch_size], flip_seed) < 0.5
        elif augmentation == "crop_alternate":
            flips = tf.gather(halves, indices) == (step // steps % 2 == 0)
        return crop(pixels, crop_seed, flips, crop_pixels), labels

    stream = stream.enumerate(start_step).map(augmented)
    return stream.prefetch(tf.data.AUTOTUNE)


def check_augmentation(augmentation, image_shape):
    """A DataError unless it is the name of one, and one for examples of this shape."""
    if augmentation not in AUGMENTATIONS:
        names = ", ".join(AUGMENTATIONS)
        raise DataError(f"augmentation must be one of {names}, got {augmentation!r}")
    if augmentation != "none" and len(image_shape) != 3:
        raise DataError(
            f"augmentation must be 'none' for examples of shape {list(image_shape)}, which are no "
            f"images [height, width, channels], got {augmentation!r}"
        )


def batches(examples, batch_size):
    """Returns all examples once, in order, the last batch being as small as it turns out.

    Args:
        examples: `Examples`.
        batch_size: examples in a batch, at least 1.

    Returns:
        Finite `tf.data.Dataset` of `(pixels, labels)`: float32
        `[batch, height, width, channels]` in [0, 1], and int32 `[batch]`.

    Raises:
        DataError: `batch_size` is less than 1.
    """
    at_least("batch_size", batch_size, 1)
    indices = tf.data.Dataset.range(len(examples)).batch(batch_size)
    return indices.map(_gather_from(examples)).prefetch(tf.data.AUTOTUNE)


def _gather_from(examples):
    """Returns a function from indices `[batch]` to a batch of pixels and labels."""
    images = examples.images
    with tf.device("CPU:0"):  # the whole set does not belong in a GPU's memory
        labels = tf.constant(examples.labels)
        held = tf.constant(images) if isinstance(images, np.ndarray) else None

    def gather(indices):
        pixels = images.gather(indices) if held is None else tf.gather(held, indices)
        if pixels.dtype == tf.uint8:
            pixels = tf.cast(pixels, tf.float32) / 255.0
        return pixels, tf.gather(labels, indices)

    return gather
