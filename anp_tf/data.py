"""Image classification data: read through TFDS, split, and served in batches.

Images are kept as bytes and leave this module as float32 pixels in [0, 1]. Any TFDS image
classification set can be read by its name. MNIST comes with the package, so it needs no network:
its 70,000 images are by Yann LeCun and Corinna Cortes, licensed CC BY-SA 3.0.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from anp_tf import datasets
from anp_tf.datasets import DataError

AUGMENTATIONS = ("none", "crop", "crop_flip")
PADDING = 4  # pixels on each side, of random crops

_SPLITTING = -1  # takes an epoch's place in the seed of `split_validation`


@dataclasses.dataclass(frozen=True, eq=False)
class Examples:
    """Labelled images, all of one size, in memory.

    Args:
        images: uint8 array `[n, height, width, channels]`.
        labels: int32 array `[n]`, each in 0 to `num_classes - 1`.
        num_classes: number of classes.
        class_names: tuple of a name for each class, or None.

    Raises:
        DataError: an array has another type or shape, or a label is out of range.
    """

    images: np.ndarray
    labels: np.ndarray
    num_classes: int
    class_names: tuple[str, ...] | None = None

    def __post_init__(self):
        images, labels = self.images, self.labels
        if images.dtype != np.uint8 or images.ndim != 4:
            raise DataError(
                "images must be uint8 [n, height, width, channels], "
                f"got {images.dtype} {list(images.shape)}"
            )
        if labels.dtype != np.int32 or labels.shape != images.shape[:1]:
            raise DataError(
                f"labels must be int32 [{len(images)}], got {labels.dtype} {list(labels.shape)}"
            )
        if len(labels) and not 0 <= labels.min() <= labels.max() < self.num_classes:
            raise DataError(
                f"labels must be in 0 to {self.num_classes - 1}, "
                f"got {labels.min()} to {labels.max()}"
            )

    def __len__(self):
        return len(self.labels)

    @property
    def image_shape(self):
        """Shape of one image, `(height, width, channels)`."""
        return self.images.shape[1:]

    def take(self, n):
        """Returns the first `n` examples, or all of them where there are fewer.

        Raises:
            DataError: `n` is less than 1.
        """
        _at_least("n", n, 1)
        return self._select(slice(n))

    def skip(self, n):
        """Returns all examples but the first `n`.

        Raises:
            DataError: `n` is not in 0 to `len(self) - 1`.
        """
        if not 0 <= n < len(self):
            raise DataError(f"n must be in 0 to {len(self) - 1}, got {n}")
        return self._select(slice(n, None))

    def _select(self, which):
        return dataclasses.replace(self, images=self.images[which], labels=self.labels[which])


def load(name, split, data_dir=None):
    """Reads a TFDS image classification set into memory, in TFDS's order.

    A set that is not in the data directory yet is put there first. MNIST is made from the copy
    in this package, without a network, in a few seconds; plain `tfds.load("mnist")` can read it
    afterwards. Any other set is downloaded by TFDS. Several processes may do this at once, and one
    that is killed half-way does no harm. A set that is already there is read without a network.

    Args:
        name: TFDS name: `"mnist"`, `"cifar10"`, `"cifar100"`, `"cifar10_corrupted/fog_3"`...
            Images must be uint8 and all of one size.
        split: `"train"` or `"test"`.
        data_dir: directory that holds TFDS data sets, as in `tfds.load`. It is created when a set
            has to be put there, but only if its parent exists. Defaults to the environment
            variable `TFDS_DATA_DIR`, or else to `~/tensorflow_datasets`.

    Returns:
        `Examples`, the whole split.

    Raises:
        DataError: the directory cannot be used, the name is unknown, the set is damaged, cannot be
            downloaded, has no such split, or does not classify images of one size.
    """
    images, labels, class_names = datasets.read(name, split, data_dir)
    return Examples(images, labels, len(class_names), tuple(class_names))


def split_validation(examples, count, seed):
    """Sets examples drawn at random aside for validation.

    Args:
        examples: `Examples`.
        count: number of validation examples, in 1 to `len(examples) - 1`.
        seed: integer of at most 64 bits; the same seed gives the same split.

    Returns:
        `(train, validation)`: two `Examples`, disjoint and together the whole, each in the order
        of `examples`.

    Raises:
        DataError: `count` is out of range.
    """
    if not 1 <= count < len(examples):
        raise DataError(
            f"the number of validation examples must be in 1 to {len(examples) - 1} "
            f"(there are {len(examples)} examples), got {count}"
        )
    chosen = np.zeros(len(examples), bool)
    with tf.device("CPU:0"):
        chosen[_permutation(len(examples), seed, _SPLITTING)[:count].numpy()] = True
    return examples._select(~chosen), examples._select(chosen)


def training_batches(examples, batch_size, seed, start_step=0, augmentation="none"):
    """Returns an endless stream of shuffled batches.

    An epoch has `len(examples) // batch_size` steps, each example is in at most one of them, and
    the order depends on the seed and the epoch's number only. A stream with a `start_step` is
    exactly what a stream from step 0 gives from that step on: training resumes bit for bit.

    Args:
        examples: `Examples`.
        batch_size: examples in a batch, in 1 to `len(examples)`.
        seed: integer of at most 64 bits.
        start_step: number of batches to leave out at the start, of any number of epochs.
        augmentation: `"none"`; `"crop"`: each image is shifted at random by up to 4 pixels, with 0
            in the gap, for digits or signs; `"crop_flip"`: and mirrored left to right every other
            time, the usual augmentation of CIFAR.

    Returns:
        Infinite `tf.data.Dataset` of `(pixels, labels)`: float32
        `[batch_size, height, width, channels]` in [0, 1], and int32 `[batch_size]`.

    Raises:
        DataError: `batch_size` or `start_step` is out of range, or `augmentation` unknown.
    """
    _at_least("batch_size", batch_size, 1)
    _at_least("start_step", start_step, 0)
    if augmentation not in AUGMENTATIONS:
        names = ", ".join(AUGMENTATIONS)
        raise DataError(f"augmentation must be one of {names}, got {augmentation!r}")
    if batch_size > len(examples):
        raise DataError(
            f"batch_size must be at most the number of examples, {len(examples)}, got {batch_size}"
        )
    steps = len(examples) // batch_size

    def index_batches(epoch):
        order = _permutation(len(examples), seed, epoch)[: steps * batch_size]
        return tf.data.Dataset.from_tensor_slices(tf.reshape(order, [steps, batch_size]))

    first_epoch, skipped = divmod(start_step, steps)
    stream = (
        tf.data.Dataset.range(first_epoch, tf.int64.max)
        .flat_map(index_batches)
        .skip(skipped)
        .map(_gather_from(examples))
    )
    if augmentation != "none":
        flip = augmentation == "crop_flip"
        stream = stream.enumerate(start_step).map(
            lambda step, batch: (_crop(batch[0], tf.stack([seed, step]), flip), batch[1])
        )
    return stream.prefetch(tf.data.AUTOTUNE)


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
    _at_least("batch_size", batch_size, 1)
    indices = tf.data.Dataset.range(len(examples)).batch(batch_size)
    return indices.map(_gather_from(examples)).prefetch(tf.data.AUTOTUNE)


def _crop(pixels, seed, flip):
    """Shifts and, if asked, mirrors each image at random; `seed` is stateless, int64 [2]."""
    n, height, width, _ = pixels.shape
    corner_seed, flip_seed = tf.unstack(tf.random.split(seed, 2))
    corners = tf.random.stateless_uniform([2, n], corner_seed, 0, 2 * PADDING + 1, tf.int32)
    rows = corners[0][:, tf.newaxis] + tf.range(height)
    columns = corners[1][:, tf.newaxis] + tf.range(width)
    if flip:
        flips = tf.random.stateless_uniform([n, 1], flip_seed) < 0.5
        columns = tf.where(flips, tf.reverse(columns, [1]), columns)
    padded = tf.pad(pixels, [[0, 0], [PADDING, PADDING], [PADDING, PADDING], [0, 0]])
    padded = tf.gather(padded, rows, axis=1, batch_dims=1)
    return tf.gather(padded, columns, axis=2, batch_dims=1)


def _at_least(name, value, least):
    if value < least:
        raise DataError(f"{name} must be at least {least}, got {value}")


def _permutation(n, seed, epoch):
    """Returns 0 to n - 1 shuffled, int64 `[n]`, a function of the seed and the epoch alone."""
    return tf.random.experimental.stateless_shuffle(
        tf.range(n, dtype=tf.int64),
        seed=tf.stack([tf.constant(seed, tf.int64), tf.cast(epoch, tf.int64)]),
        alg="philox",
    )


def _gather_from(examples):
    """Returns a function from indices `[batch]` to a batch of pixels and labels."""
    with tf.device("CPU:0"):  # the whole set does not belong in a GPU's memory
        images, labels = tf.constant(examples.images), tf.constant(examples.labels)

    def gather(indices):
        pixels = tf.cast(tf.gather(images, indices), tf.float32) / 255.0
        return pixels, tf.gather(labels, indices)

    return gather
