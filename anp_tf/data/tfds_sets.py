"""Data sets on disk, through TFDS: found, prepared if need be, checked and read.

MNIST is prepared from a copy in this package; TFDS downloads any other set.
"""

import contextlib
import difflib
import os
import re

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from absl import logging

from anp_tf.data import packaged_mnist
from anp_tf.data.errors import DataError, in_short

SPLITS = ("train", "test")


def read(name, split, data_dir=None):
    """Reads a split of a data set; the arguments and errors are those of `anp_tf.data.load`.

    Returns:
        Triple of the images, uint8 `[n, height, width, channels]`, the labels, int32 `[n]`, and the
        list of the classes' names.
    """
    if split not in SPLITS:
        raise DataError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    with _less_logging():
        root = _data_root(data_dir)
        builder = _builder(name, root)
        class_names = _check_features(builder)
        if not builder.is_prepared():
            _prepare(builder)
            builder = _builder(name, root)
        return _read(builder, split, class_names)


@contextlib.contextmanager
def _less_logging():
    """Keeps TFDS's notes on what it finds, and on what is not there yet, out of the log."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(min(verbosity, logging.ERROR))
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def _data_root(data_dir):
    given = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    root = tfds.core.Path(given).expanduser()
    if root.exists() and not root.is_dir():
        raise DataError(f"the data directory must be a directory, got a file: {root}")
    if not root.exists() and not root.parent.is_dir():
        raise DataError(
            f"the data directory {root} does not exist, nor does {root.parent} to create it in"
        )
    return root


def _builder(name, root):
    try:
        return tfds.builder(name, data_dir=root)
    except tfds.core.DatasetNotFoundError as error:
        known = tfds.list_builders(with_community_datasets=False)
        near = difflib.get_close_matches(name.lower(), known)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise DataError(
            f"unknown data set {name!r}: expected a TFDS name such as mnist, cifar10, "
            f"cifar100{hint}"
        ) from error
    except Exception as error:  # what a data set's own code, or a damaged directory, may raise
        base = re.split("[/:]", str(name).lower())[0]
        hint = f"; if {root / base} is damaged, delete it and run again"
        raise DataError(
            f"data set {name!r} in {root} cannot be opened: {in_short(error)}"
            + (hint if base and (root / base).exists() else "")
        ) from error


def _check_features(builder):
    """Returns the names of the classes of a set of labelled uint8 images of one size."""
    info = builder.info
    keys = info.supervised_keys or ()
    found = [info.features[key] for key in keys if isinstance(key, str)]
    kinds = tfds.features.Image, tfds.features.ClassLabel
    if len(keys) != 2 or len(found) != 2 or not all(map(isinstance, found, kinds)):
        raise DataError(
            f"data set {info.full_name} is not an image classification set: "
            f"expected an image and a class label as supervised keys, got {keys or 'none'}"
        )
    image, label = found
    if None in image.shape or image.np_dtype != np.uint8 or not label.num_classes:
        raise DataError(
            f"data set {info.full_name} must have uint8 images of one size and a number of "
            f"classes, got {np.dtype(image.np_dtype)} {image.shape}, {label.num_classes} classes"
        )
    return label.names


def _prepare(builder):
    name, directory = builder.info.full_name, builder.data_path
    if directory.exists() and not builder.is_prepared():
        raise _damaged(builder, "dataset_info.json is missing")
    mnist = packaged_mnist.arrays() if name == packaged_mnist.NAME else None
    try:
        if mnist:
            packaged_mnist.prepare(builder, mnist)
        else:
            builder.download_and_prepare()
    except Exception as error:  # anything a data set's own code, the network or the disk may raise
        if builder.is_prepared():  # another process was quicker
            return
        hint = "" if mnist else "; with no network, copy a prepared one there"
        raise DataError(
            f"data set {name} could not be prepared in {directory}: {in_short(error)}{hint}"
        ) from error


def _read(builder, split, class_names):
    if split not in builder.info.splits:
        raise DataError(
            f"data set {builder.info.full_name} has no split {split!r}, "
            f"got {', '.join(builder.info.splits) or 'none'}"
        )
    try:
        dataset = builder.as_dataset(
            split=split,
            batch_size=1000,
            as_supervised=True,
            read_config=tfds.ReadConfig(try_autocache=False),
        )
        images, labels = zip(*tfds.as_numpy(dataset), strict=True)
    except (tf.errors.OpError, OSError, ValueError, LookupError, AssertionError) as error:
        raise _damaged(builder, in_short(error)) from error
    return np.concatenate(images), np.concatenate(labels).astype(np.int32), class_names


def _damaged(builder, why):
    return DataError(
        f"data set {builder.info.full_name} in {builder.data_dir} is damaged: {why}; "
        "delete that directory and run again"
    )
