"""Labelled examples, and the part of them set aside for validation."""

import dataclasses
import hashlib
import logging

import numpy as np
import tensorflow as tf

from anp_tf.data.errors import DataError, at_least
from anp_tf.data.on_disk import OnDisk

log = logging.getLogger(__name__)

READ_AT_ONCE = 1000
_SPLITTING = -1  # takes an epoch's place in the seed of `split_validation`


@dataclasses.dataclass(frozen=True, eq=False)
class Examples:
    """Labelled examples of one shape: images, or rows of numbers.

    Args:
        images: uint8 array `[n, height, width, channels]`, or float32 array `[n, ...]` of pixels in
            [0, 1]; or an `OnDisk`, of either kind, which reads them when they are needed.
        labels: int32 array `[n]`, each in 0 to `num_classes - 1`.
        num_classes: number of classes.
        class_names: tuple of a name for each class, or None.
        columns: tuple of `(name, low, high)` for each number of a table's row: the range that was
            scaled to [0, 1]; None for images.

    Raises:
        DataError: an array has another type or shape, a pixel or a label is out of range.
    """

    images: np.ndarray | OnDisk
    labels: np.ndarray
    num_classes: int
    class_names: tuple[str, ...] | None = None
    columns: tuple[tuple[str, float, float], ...] | None = None

    def __post_init__(self):
        images, labels = self.images, self.labels
        dtype, shape = np.dtype(images.dtype), list(images.shape)
        as_bytes = dtype == np.uint8 and len(shape) == 4
        if not as_bytes and not (dtype == np.float32 and len(shape) > 1):
            raise DataError(
                "images must be uint8 [n, height, width, channels] or float32 [n, ...], "
                f"got {dtype} {shape}"
            )
        if isinstance(images, np.ndarray) and dtype == np.float32 and len(images):
            low, high = images.min(), images.max()
            if not (low >= 0 and high <= 1):  # NaN is neither
                raise DataError(f"float pixels must be in [0, 1], got {low:g} to {high:g}")
        if labels.dtype != np.int32 or labels.shape != (len(images),):
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

    def __repr__(self):
        shape = " x ".join(map(str, self.image_shape))
        return (
            f"Examples({len(self):,} of {shape}, {np.dtype(self.images.dtype)}, "
            f"{self.num_classes} classes)"
        )

    @property
    def image_shape(self):
        """Shape of one example: `(height, width, channels)` of images, `(columns,)` of a table."""
        return tuple(self.images.shape[1:])

    @property
    def pixels(self):
        """float32 array `[n, ...]` in [0, 1], all of them in memory."""
        images = np.asarray(self.images[:])
        return images / np.float32(255) if images.dtype == np.uint8 else images

    @property
    def identity(self):
        """Text by which another set, or one that has changed, is told apart: of the labels in
        their order, the shape and the names; the pixels have no part in it.
        """
        about = repr((tuple(self.images.shape), self.class_names, self.columns))
        return hashlib.sha256(about.encode() + self.labels.tobytes()).hexdigest()[:16]

    def digest(self):
        """SHA-256 of the pixels and the labels, as hexadecimal digits; it reads all of them."""
        total = hashlib.sha256(f"{self.images.dtype} {tuple(self.images.shape)}".encode())
        for first in range(0, len(self), READ_AT_ONCE):
            total.update(np.ascontiguousarray(self.images[first : first + READ_AT_ONCE]))
        total.update(self.labels.tobytes())
        return total.hexdigest()

    def take(self, n):
        """Returns the first `n` examples, or all of them where there are fewer.

        A warning says if these are of few of the classes, as where the set is in their order.

        Raises:
            DataError: `n` is less than 1.
        """
        at_least("n", n, 1)
        self._say_if_sorted(n)
        return self._select(slice(n))

    def _say_if_sorted(self, n):
        """Warns if the first `n` examples have so few of the classes that these are in order."""
        some, classes = len(np.unique(self.labels[:n])), len(np.unique(self.labels))
        few = 2 * some < min(n, classes) or (some < classes and n >= 20 * classes)
        if few and n >= 20:  # a few may be of one class by chance
            log.warning(
                "the first %d of %d examples are of %d of the %d classes; if they are in the order "
                "of their classes, shuffle them before",
                min(n, len(self)),
                len(self),
                some,
                classes,
            )

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
        chosen[permutation(len(examples), seed, _SPLITTING)[:count].numpy()] = True
    return examples._select(~chosen), examples._select(chosen)


def permutation(n, seed, epoch):
    """Returns 0 to n - 1 shuffled, int64 `[n]`, a function of the seed and the epoch alone."""
    return tf.random.experimental.stateless_shuffle(
        tf.range(n, dtype=tf.int64),
        seed=tf.stack([tf.constant(seed, tf.int64), tf.cast(epoch, tf.int64)]),
        alg="philox",
    )
