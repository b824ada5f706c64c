"""Labelled images in memory, and the part of them set aside for validation."""

import dataclasses

import numpy as np
import tensorflow as tf

from anp_tf.data.errors import DataError, at_least

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
        at_least("n", n, 1)
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
