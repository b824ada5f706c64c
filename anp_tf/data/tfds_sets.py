"""Data sets on disk, through TFDS: found, prepared if need be, checked and read.

MNIST is prepared from a copy in this package; TFDS downloads any other set.
"""

import collections
import contextlib
import difflib
import os
import pathlib
import re
import socket
import urllib.parse
import urllib.request

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from absl import logging

from anp_tf.data import packaged_mnist
from anp_tf.data.errors import DataError, in_short
from anp_tf.data.examples import Examples
from anp_tf.data.on_disk import fits
from anp_tf.data.tfds_records import are_records, records, resized
from anp_tf.data.tfds_sources import FORMATS, images_and_labels

PATIENCE = 5  # seconds, that a server of a set to be downloaded has to answer


def read(name, split, data_dir=None, image_size=None, image_key=None, label_key=None):
    """Reads a part of a TFDS set.

    Args:
        name: string, a TFDS name; or the path of a prepared set, that of its version.
        split, data_dir, image_size, image_key, label_key: as for `anp_tf.data.load`.
    """
    with _less_logging():
        root = None if isinstance(name, pathlib.Path) else _data_root(data_dir)
        builder = _builder(name, root)
        keys, class_names = _check_features(builder, image_size, image_key, label_key)
        if not builder.is_prepared():
            _prepare(builder)
            builder = _builder(name, root)
        if split == "validation" and split not in builder.info.splits:
            return None
        images, labels = _read(builder, split, keys, image_size)
    return Examples(images, labels, len(class_names), tuple(class_names))


def known(name):
    """Whether it is the name of a set that TFDS has the code of."""
    return re.split("[/:]", name)[0] in tfds.list_builders(with_community_datasets=False)


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
        if root is None:
            return tfds.builder_from_directory(name)
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
        if root is None:
            raise DataError(f"data set {name} cannot be opened: {in_short(error)}") from error
        base = re.split("[/:]", str(name).lower())[0]
        hint = f"; if {root / base} is damaged, delete it and run again"
        raise DataError(
            f"data set {name!r} in {root} cannot be opened: {in_short(error)}"
            + (hint if base and (root / base).exists() else "")
        ) from error


def _check_features(builder, image_size, image_key, label_key):
    """The keys of the images and the labels, and the names of the classes."""
    info = builder.info
    kinds = tfds.features.Image, tfds.features.ClassLabel
    for name, asked in (("image_key", image_key), ("label_key", label_key)):
        if asked and asked not in (info.features or ()):
            raise DataError(
                f"{name}: expected one of the features {', '.join(info.features or ())} of "
                f"{info.full_name}, received {asked!r}"
            )
    given = info.supervised_keys or (None, None)
    keys = [
        asked or _key(info, kind, default)
        for kind, asked, default in zip(kinds, (image_key, label_key), given, strict=False)
    ]
    found = [info.features[key] if key in (info.features or ()) else None for key in keys]
    if not all(map(isinstance, found, kinds)):
        raise DataError(
            f"data set {info.full_name} is not an image classification set: expected an image and "
            f"a class label, got {' and '.join(map(str, keys))} of the features "
            f"{', '.join(info.features or ())}"
        )
    image, label = found
    if image.np_dtype != np.uint8 or not label.num_classes or image.shape[-1] is None:
        raise DataError(
            f"data set {info.full_name} must have uint8 images and a number of classes, got "
            f"{np.dtype(image.np_dtype)} {image.shape}, {label.num_classes} classes"
        )
    if None in image.shape and image_size is None:
        raise DataError(
            f"data set {info.full_name} must have images of one size, got {image.shape}: an image "
            "size to resize them to is needed"
        )
    return keys, label.names


def _key(info, kind, default):
    """The feature that TFDS names, or the only one of this kind."""
    if isinstance(default, str):
        return default
    features = info.features or {}
    fitting = [key for key, feature in features.items() if isinstance(feature, kind)]
    return fitting[0] if len(fitting) == 1 else None


def _prepare(builder):
    name, directory = builder.info.full_name, builder.data_path
    if directory.exists() and not builder.is_prepared():
        raise _damaged(builder, "dataset_info.json is missing")
    mnist = packaged_mnist.arrays() if name == packaged_mnist.NAME else None
    try:
        if mnist:
            packaged_mnist.prepare(builder, mnist)
        else:
            _check_network(builder)
            builder.download_and_prepare()
    except Exception as error:  # anything a data set's own code, the network or the disk may raise
        if builder.is_prepared():  # another process was quicker
            return
        hint = "" if mnist else "; with no network, copy a prepared one there"
        raise DataError(
            f"data set {name} could not be prepared in {directory}: {in_short(error)}{hint}"
        ) from error


def _check_network(builder):
    """An error at once where the set's server cannot be reached; TFDS would try for minutes."""
    hosts = {urllib.parse.urlparse(str(url)).hostname for url in builder.url_infos or ()} - {None}
    if not hosts or urllib.request.getproxies():
        return
    host = sorted(hosts)[0]
    try:
        socket.create_connection((host, 443), PATIENCE).close()
    except OSError as error:
        raise ConnectionError(f"{host} cannot be reached: {error}") from error


def _read(builder, split, keys, image_size):
    """The images, which stay on disk if they are many, and the labels, in the order of TFDS."""
    for needed in (split, "test"):  # not only when training has ended
        if needed not in builder.info.splits:
            raise DataError(
                f"data set {builder.info.full_name} has no split {needed!r}, "
                f"got {', '.join(builder.info.splits) or 'none'}"
            )
    image_key, label_key = keys
    feature, count = builder.info.features[image_key], builder.info.splits[split].num_examples
    shape = (*(image_size or feature.shape[:2]), feature.shape[-1])
    on_disk = not fits((count, *shape), np.uint8) and are_records(builder)
    wanted = {label_key: True} if on_disk else {image_key: True, label_key: True}
    try:
        if builder.info.file_format in FORMATS:
            return images_and_labels(builder, split, image_key, label_key, shape)
        dataset = builder.as_dataset(
            split=split,
            decoders=tfds.decode.PartialDecoding(wanted),
            read_config=tfds.ReadConfig(try_autocache=False),
        )
        if image_size is not None and not on_disk:
            dataset = dataset.map(
                lambda example: {**example, image_key: resized(example[image_key], image_size)},
                tf.data.AUTOTUNE,
            )
        columns = collections.defaultdict(list)
        for batch in dataset.batch(1000).as_numpy_iterator():
            for key, values in batch.items():
                columns[key].append(values)
        labels = np.concatenate(columns[label_key]).astype(np.int32)
        if on_disk:
            return records(builder, split, image_key, shape), labels
        return np.concatenate(columns[image_key]), labels
    except (tf.errors.OpError, OSError, ValueError, LookupError, AssertionError) as error:
        raise _damaged(builder, in_short(error)) from error


def _damaged(builder, why):
    return DataError(
        f"data set {builder.info.full_name} in {builder.data_dir} is damaged: {why}; "
        "delete that directory and run again"
    )
