"""A folder of images by class: a folder for each class, named like it, in `train/` and `test/`."""

import hashlib
import logging
import os
import pathlib

import numpy as np

from anp_tf.data.errors import DataError
from anp_tf.data.examples import Examples
from anp_tf.data.image_files import FORMATS, ImageFiles, header
from anp_tf.data.labels import TEST_SHARE, refuse_share, test_count
from anp_tf.data.on_disk import fits

log = logging.getLogger(__name__)


def read(root, split, image_size=None, test_share=TEST_SHARE):
    """Reads a part of a folder; the arguments and errors are those of `anp_tf.data.load`."""
    parts = _parts(pathlib.Path(root), test_share)
    parts = {part: _mixed(pairs) for part, pairs in parts.items()}
    if split not in parts:
        return None
    class_names = sorted({name for name, _ in parts["train"]})
    for part, pairs in parts.items():  # of all parts, not only when training has ended
        unknown = sorted({name for name, _ in pairs} - set(class_names))
        if unknown:
            raise DataError(f"{root} has no training image of class {unknown[0]!r} of {part}")
    size, channels = _common(root, parts, image_size)
    names, paths = zip(*parts[split], strict=True)
    labels = np.searchsorted(class_names, names).astype(np.int32)
    images = ImageFiles(np.array([str(path) for path in paths]), (*size, channels))
    if fits(images.shape, images.dtype):
        images = np.asarray(images)
    return Examples(images, labels, len(class_names), tuple(class_names))


def _parts(root, test_share):
    """Dict from a part to its list of `(class name, path)`."""
    folders = {part: root / part for part in ("train", "validation", "test")}
    if not folders["train"].is_dir():
        return _divided(_listed(root), test_share)
    if not folders["test"].is_dir():
        raise DataError(
            f"{root} has a folder train and no folder test: if train is a class, rename it; "
            f"if it holds the classes, add a folder test, or move them into {root}, and a share of "
            "the images is set aside for testing"
        )
    refuse_share(root, test_share)
    for name in ("val", "valid"):
        if (root / name).is_dir():
            raise DataError(f"{root} has a folder {name} beside train and test: name it validation")
    return {part: _listed(folder) for part, folder in folders.items() if folder.is_dir()}


def _listed(folder):
    """List of `(class name, path)` of the images in the folders of the classes, sorted."""
    classes = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not classes:
        raise DataError(f"{folder} has no folders: expected one for each class, with its images")
    found, left_out = [], []
    for directory in classes:
        if directory.name != directory.name.encode(errors="replace").decode():
            raise DataError(f"{folder}: expected names of classes in UTF-8, got {directory.name!r}")
        entries = sorted(p for p in directory.iterdir() if not p.name.startswith("."))
        images = [p for p in entries if p.is_file() and p.suffix.lower() in FORMATS]
        if not images:
            raise DataError(
                f"class {directory.name!r} has no image: expected {', '.join(FORMATS)} files in "
                f"{directory}"
            )
        found += [(directory.name, path) for path in images]
        left_out += sorted(set(entries) - set(images))
    if left_out:
        log.warning("%d files are no images and left out, such as %s", len(left_out), left_out[0])
    return found


def _mixed(pairs):
    """In an order of which any part has images of all classes: that of the names' hashes."""
    return sorted(pairs, key=lambda pair: (_hash(pair[1]), pair))


def _hash(path):
    return hashlib.sha256(os.fsencode(path.name)).digest()


def _divided(listed, test_share):
    """Sets a share of each class aside for testing, by the hashes of the files' names."""
    paths_of = {}
    for name, path in listed:
        paths_of.setdefault(name, []).append(path)
    parts = {"train": [], "test": []}
    for name, paths in paths_of.items():
        in_order = sorted(paths, key=_hash)
        count = test_count(test_share, len(paths), f"class {name!r} has {len(paths)} images")
        parts["test"] += [(name, path) for path in in_order[:count]]
        parts["train"] += [(name, path) for path in in_order[count:]]
    return parts


def _common(root, parts, image_size):
    """The size `(height, width)` of all images, and their channels."""
    first, grayscale = None, True
    for _, path in [pair for pairs in parts.values() for pair in pairs]:
        size, gray = header(path)
        grayscale &= gray
        first = first or (size, path)
        if image_size is None and size != first[0]:
            raise DataError(
                f"the images of {root} have several sizes, {first[1]} {_shown(first[0])} and "
                f"{path} {_shown(size)}: an image size to resize them to is needed"
            )
    return tuple(image_size or first[0]), 1 if grayscale else 3


def _shown(size):
    return f"{size[0]} x {size[1]}"
