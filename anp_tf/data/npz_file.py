"""A NumPy file of arrays `x_train`, `y_train`, `x_test`, `y_test`, as `keras.datasets` has them."""

import math
import zipfile

import numpy as np

from anp_tf.data.arrays import pixels
from anp_tf.data.errors import DataError, in_short
from anp_tf.data.examples import Examples
from anp_tf.data.labels import class_labels

KEYS = ("x_train", "y_train", "x_test", "y_test")
DEFLATE_RATIO = 1032  # what the format's compression reaches at most


def read(path, split):
    """Reads a part of a file; the arguments and errors are those of `anp_tf.data.load`."""
    try:
        with zipfile.ZipFile(path) as file:
            missing = [key for key in KEYS if f"{key}.npy" not in file.namelist()]
            if missing:
                names = ", ".join(name.removesuffix(".npy") for name in file.namelist())
                raise DataError(
                    f"{path} has no array {missing[0]}: expected {', '.join(KEYS)}, got "
                    f"{names[:200] or 'none'}"
                )
            arrays = {
                key: _array(file, f"{key}.npy", path)
                for key in KEYS
                if key[0] == "y" or key.endswith(split)
            }
    except DataError:
        raise
    except Exception as error:  # zipfile, zlib and NumPy raise errors of many types.
        raise DataError(f"{path} cannot be read as an .npz file: {in_short(error)}") from error
    labels, class_names = class_labels(
        {part: arrays[f"y_{part}"] for part in ("train", "test")}, path
    )
    images = pixels(arrays[f"x_{split}"], f"{path}: x_{split}")
    if len(images) != len(labels[split]):
        raise DataError(
            f"{path} has {len(images)} images x_{split} and {len(labels[split])} labels y_{split}"
        )
    return Examples(images, labels[split], len(class_names), class_names)


def _array(file, name, path):
    """An array of the archive; no more memory is taken than the archive can fill."""
    member = file.getinfo(name)
    if member.file_size > DEFLATE_RATIO * max(member.compress_size, 1):
        raise DataError(f"{path} is damaged: {name} claims {member.file_size} bytes")
    with file.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        readers = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        if version not in readers:
            raise DataError(f"{path}: {name} has the unknown version {version} of NumPy's format")
        shape, in_columns, dtype = readers[version](stream)
        if dtype.hasobject:
            raise DataError(f"{path}: {name} holds Python objects, which are not loaded")
        expected = math.prod(shape) * dtype.itemsize
        content = stream.read()
    if len(content) != expected:
        raise DataError(
            f"{path} is damaged: {name} has {len(content)} bytes, {expected} are needed for its "
            f"shape {list(shape)}"
        )
    return np.frombuffer(content, dtype).reshape(shape, order="F" if in_columns else "C")
