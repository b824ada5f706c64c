"""Image classification data: read, split, and served in batches.

Images are kept as bytes and leave this package as float32 pixels in [0, 1].
"""

from anp_tf.data import tfds_sets
from anp_tf.data.augmentation import AUGMENTATIONS
from anp_tf.data.batches import batches, training_batches
from anp_tf.data.errors import DataError
from anp_tf.data.examples import Examples, split_validation

__all__ = [
    "AUGMENTATIONS",
    "DataError",
    "Examples",
    "batches",
    "load",
    "split_validation",
    "training_batches",
]


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
    images, labels, class_names = tfds_sets.read(name, split, data_dir)
    return Examples(images, labels, len(class_names), tuple(class_names))
