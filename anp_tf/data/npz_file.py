"""A NumPy file of arrays `x_train`, `y_train`, `x_test`, `y_test`, as `keras.datasets` has them.

`x_validation` and `y_validation` may be there, too.
"""

import contextlib
import math
import pathlib
import struct
import zipfile

import numpy as np

from anp_tf.data.arrays import as_pixels, check_pixels, pixels
from anp_tf.data.errors import DataError, in_short, unused
from anp_tf.data.examples import Examples
from anp_tf.data.labels import TEST_SHARE, class_labels, refuse_share
from anp_tf.data.on_disk import PART_BYTES, StoredArray, fits, kept, kept_columns

KEYS = ("x_train", "y_train", "x_test", "y_test")
COLUMN_BYTES = 2**28  # of an array in columns, that are read at a time
DEFLATE_RATIO = 1032  # what the format's compression reaches at most
LOCAL_HEADER = 30  # bytes of a file in an archive before its name; the last two fields are lengths


def read(path, split, label_key=None, test_share=TEST_SHARE):
    """Reads a part of a file; the arguments and errors are those of `anp_tf.data.load`."""
    unused(path, label_key=label_key)
    refuse_share(path, test_share)
    try:
        with zipfile.ZipFile(path) as archive:
            parts = _parts(path, [name.removesuffix(".npy") for name in archive.namelist()])
            if split not in parts:
                return None
            labels, counts, shapes = {}, {}, {}
            for part in parts:  # all of them, not only when training has ended
                with _opened(archive, f"y_{part}", path) as array:
                    labels[part] = array.whole()
                with _opened(archive, f"x_{part}", path) as array:
                    counts[part], *shape = array.shape or (0,)
                    shapes[part] = [*shape, 1] if len(shape) == 2 else shape  # as `as_pixels`
                    if split == "train" and part != "train":
                        check_pixels(array.shape, array.dtype, array.parts(), f"{path}: x_{part}")
            with _opened(archive, f"x_{split}", path) as array:
                images = _images(array, path, f"{path}: x_{split}")
            for part, shape in shapes.items():
                if shape != shapes["train"]:
                    raise DataError(
                        f"{path}: expected images of one shape, got {shapes['train']} in x_train "
                        f"and {shape} in x_{part}"
                    )
    except DataError:
        raise
    except Exception as error:  # zipfile, zlib and NumPy raise errors of many types.
        raise DataError(f"{path} cannot be read as an .npz file: {in_short(error)}") from error
    labels, class_names = class_labels(labels, path)
    for part, count in counts.items():
        if count != len(labels[part]):
            raise DataError(
                f"{path} has {count} images x_{part} and {len(labels[part])} labels y_{part}"
            )
    return Examples(images, labels[split], len(class_names), class_names)


def _parts(path, names):
    """The parts of a file with arrays of these names."""
    needed = KEYS
    if {f"{axis}_validation" for axis in "xy"} & set(names):
        needed = (*KEYS, "x_validation", "y_validation")
    for name in ("x_val", "y_val", "x_valid", "y_valid"):
        if name in names:
            raise DataError(f"{path} has an array {name}: name it {name[:2]}validation")
    for key in needed:
        if key not in names:
            raise DataError(
                f"{path} has no array {key}: expected {', '.join(needed)}, got "
                f"{', '.join(names)[:200] or 'none'}"
            )
    return [key[2:] for key in needed if key.startswith("x_")]


def _images(array, path, shown):
    """The pixels; many of them stay on disk, in the archive itself if they lie there by rows."""
    if fits(array.shape, array.dtype):
        return pixels(array.whole(), shown)
    folder, convert = pathlib.Path(path).parent, as_pixels
    if array.in_columns:
        shape = array.shape[0], math.prod(array.shape[1:])
        stored = kept_columns(array.columns(), shape, array.dtype, folder)
        convert = array.pixels_of_columns
    elif array.compressed:
        stored = kept(array.parts(), array.shape, array.dtype, folder)
    else:
        with open(path, "rb") as file:
            stored = StoredArray.of(file, array.place(), array.shape, array.dtype)
    in_place = not (array.in_columns or array.compressed)
    parts = array.parts() if in_place else (np.asarray(stored[rows]) for rows in array.slices())
    check_pixels(array.shape, array.dtype, parts, shown)
    return stored.converted(convert)


@contextlib.contextmanager
def _opened(archive, key, path):
    member = archive.getinfo(f"{key}.npy")
    if member.file_size > DEFLATE_RATIO * max(member.compress_size, 1):
        raise DataError(f"{path} is damaged: {member.filename} claims {member.file_size} bytes")
    with archive.open(member) as stream:
        yield _Array(archive, member, stream, path)


class _Array:
    """An array of an archive; no more memory is taken than the archive can fill."""

    def __init__(self, archive, member, stream, path):
        self._archive, self._member, self._stream = archive, member, stream
        self._shown = f"{path}: {member.filename}"
        version = np.lib.format.read_magic(stream)
        readers = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        if version not in readers:
            raise DataError(f"{self._shown} has the unknown version {version} of NumPy's format")
        self.shape, self.in_columns, self.dtype = readers[version](stream)
        if self.dtype.hasobject:
            raise DataError(f"{self._shown} holds Python objects, which are not loaded")
        self._check(member.file_size - stream.tell(), math.prod(self.shape) * self.dtype.itemsize)

    @property
    def compressed(self):
        return self._member.compress_type != zipfile.ZIP_STORED

    def whole(self):
        """All of it."""
        content = self._stream.read()
        self._check(len(content), math.prod(self.shape) * self.dtype.itemsize)
        order = "F" if self.in_columns else "C"
        return np.frombuffer(content, self.dtype).reshape(self.shape, order=order)

    def slices(self):
        """Slices of rows that together are all."""
        count = max(1, PART_BYTES // max(1, self._row_bytes()))
        return [slice(first, first + count) for first in range(0, self.shape[0], count)]

    def parts(self):
        """Its rows in parts, once; the archive's checksum is compared at the end."""
        for rows in self.slices():
            count = min(rows.stop, self.shape[0]) - rows.start
            yield self._next(count, self.shape[1:])
        self._stream.read(1)

    def columns(self):
        """Of an array in columns, these, `[some, rows]`, in parts, once."""
        total, length = math.prod(self.shape[1:]), self.shape[0] * self.dtype.itemsize
        count = max(1, COLUMN_BYTES // max(1, length))
        for first in range(0, total, count):
            yield self._next(min(count, total - first), self.shape[:1])
        self._stream.read(1)

    def pixels_of_columns(self, rows):
        """Pixels of rows `[some, columns]`, the columns in the order of the file."""
        rows = rows.reshape(len(rows), *self.shape[:0:-1])
        return as_pixels(rows.transpose(0, *range(rows.ndim - 1, 0, -1)))

    def _next(self, count, shape):
        expected = count * math.prod(shape) * self.dtype.itemsize
        content = self._stream.read(expected)
        self._check(len(content), expected)
        return np.frombuffer(content, self.dtype).reshape(count, *shape)

    def place(self):
        """Where in the archive's file the first row begins, if it is not compressed."""
        file, begin = self._archive.fp, self._member.header_offset
        file.seek(begin)
        name, extra = struct.unpack("<HH", file.read(LOCAL_HEADER)[-4:])
        header = self._member.file_size - math.prod(self.shape) * self.dtype.itemsize
        return begin + LOCAL_HEADER + name + extra + header

    def _row_bytes(self):
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    def _check(self, found, expected):
        if found != expected:
            raise DataError(
                f"{self._shown} is damaged: it has {found} bytes, {expected} are needed for its "
                f"shape {list(self.shape)}"
            )
