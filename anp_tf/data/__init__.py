"""Data for classification: read, split, and served in batches of float32 pixels in [0, 1]."""

import numbers
import os
import pathlib

import numpy as np

from anp_tf.data import image_folder, npz_file, table_file, tfds_sets
from anp_tf.data.arrays import from_arrays
from anp_tf.data.batches import batches, training_batches
from anp_tf.data.errors import DataError, unused
from anp_tf.data.examples import Examples, split_validation
from anp_tf.data.labels import TEST_SHARE, refuse_share

__all__ = [
    "DataError",
    "Examples",
    "batches",
    "from_arrays",
    "load",
    "split_validation",
    "training_batches",
]


SPLITS = ("train", "validation", "test")
SUFFIXES = {  # of files, each with a function `(path, split, label_key, test_share)` that reads it
    ".npz": npz_file.read,
    ".csv": table_file.read,
    ".parquet": table_file.read,
}


def load(
    name,
    split,
    data_dir=None,
    *,
    image_size=None,
    image_key=None,
    label_key=None,
    test_share=TEST_SHARE,
):
    """Reads a part of a data set.

    A set is one of:

    - a TFDS name, such as `"mnist"` or `"cifar10_corrupted/fog_3"`. A set that is not in the data
      directory yet is put there first: MNIST from the copy in this package, without a network,
      others by TFDS's download. Several processes may do this at once, and one that is killed
      half-way does no harm;
    - a folder with a folder of PNG, JPEG, BMP or GIF files for each class, or with such folders in
      `train/`, `test/` and, if there is one, `validation/`. The class's name is its folder's. Of a
      GIF the first image is taken;
    - an `.npz` file with arrays `x_train`, `y_train`, `x_test`, `y_test` and, if there is a
      validation part, `x_validation` and `y_validation`, images uint8 or float in [0, 1], labels
      integers [n] or [n, 1], or names;
    - a `.csv` or `.parquet` file of numbers with a column of labels. Each column is scaled to
      [0, 1] by its range in the training part, and clipped to it in the test part. A column without
      a name, such as the index that pandas writes, is left out.

    A path that exists is taken as a path; write `./mnist` for a folder named like a TFDS set.

    More than 2 GiB are not held in memory but stay on disk, and are read when they are needed.

    Args:
        name: string or path, as above.
        split: `"train"`, `"validation"` or `"test"`. A set without a test part is divided: of each
            class, a share of the images or rows is for testing, always the same ones.
        data_dir: directory that holds TFDS data sets, as in `tfds.load`. It is created when a set
            has to be put there, but only if its parent exists. Defaults to the environment
            variable `TFDS_DATA_DIR`, or else to `~/tensorflow_datasets`.
        image_size: pair `(height, width)` of positive integers, in pixels, that images of a folder
            or of TFDS are resized to, bilinearly. None: all must be of one size.
        image_key: string, the feature of a TFDS set that holds the images. None: the one that TFDS
            names, or the only one.
        label_key: string, the feature of a TFDS set, or the column of a table, that holds the
            labels. None: the one that TFDS names, or the only one; the column `label`, `class`,
            `target` or `y`.
        test_share: float in (0, 1), share of a set without a test part that is for testing. One
            with a test part takes the default, 0.2, alone, which has no effect there.

    Returns:
        `Examples`, the part; None for `"validation"` if the set has no such part.

    Raises:
        DataError: the set is unknown, damaged, cannot be downloaded, has no such part or no test
            part, or is not what is described above, or an argument is not valid or of no use for
            it. The message is one line and names the file or the argument.
    """
    if split not in SPLITS:
        raise DataError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    if not 0 < test_share < 1:
        raise DataError(f"test_share must be in (0, 1), got {test_share:g}")
    if image_size is not None:
        image_size = _size(image_size)
    path = as_path(name)
    if path is None:
        refuse_share(name, test_share)
        return tfds_sets.read(str(name), split, data_dir, image_size, image_key, label_key)
    if not path.exists():
        raise DataError(f"there is no data set at {path} (from {pathlib.Path.cwd()})")
    if path.is_dir() and (path / "dataset_info.json").exists():
        refuse_share(path, test_share)
        return tfds_sets.read(path, split, None, image_size, image_key, label_key)
    unused(path, image_key=image_key)
    if path.is_dir():
        unused(path, label_key=label_key)
        return image_folder.read(path, split, image_size, test_share)
    unused(path, image_size=image_size)
    read = SUFFIXES.get(path.suffix.lower())
    if read is None:
        raise DataError(f"{path} must be a folder, or a file of {', '.join(SUFFIXES)}")
    return read(path, split, label_key, test_share)


def _size(image_size):
    """The pair of positive integers that it has to be."""
    sides = tuple(image_size) if np.iterable(image_size) else ()
    if len(sides) != 2 or not all(isinstance(n, numbers.Integral) and n > 0 for n in sides):
        raise DataError(
            f"image_size must be a height and a width, two positive integers, got {image_size!r}"
        )
    return tuple(map(int, sides))


def is_divided(name):
    """Whether a set, as `load` takes it, has no test part, so that a share of it is for testing."""
    path = as_path(name)
    if path is None or (path / "dataset_info.json").exists():
        return False
    if path.is_dir():
        return not (path / "train").is_dir()
    return path.suffix.lower() != ".npz"


def as_path(name):
    """The path that the name of a data set means, or None where it is a TFDS name."""
    path = pathlib.Path(name).expanduser()
    written_so = isinstance(name, os.PathLike) or str(name).startswith((".", "~", os.sep))
    if written_so or path.suffix.lower() in SUFFIXES or (str(name) and path.is_file()):
        return path
    if str(name) and path.is_dir() and not tfds_sets.known(str(name)):
        return path
    return None
