"""Examples that stay on disk, since they are too large for memory."""

import collections.abc
import contextlib
import dataclasses
import math
import os
import tempfile
import weakref

import numpy as np
import tensorflow as tf

from anp_tf.data.errors import DataError

HELD_BYTES = 2**31  # up to which a part of a set is held in memory
PART_BYTES = 2**24  # that are read at a time where a file is read from its begin to its end


def fits(shape, dtype):
    """Whether an array is small enough to be held in memory."""
    return math.prod(shape) * np.dtype(dtype).itemsize <= HELD_BYTES


@dataclasses.dataclass(frozen=True, eq=False)
class OnDisk:
    """Examples that are read when they are needed.

    It is indexed like an array `[n, ...]`: a slice, or an array of booleans or integers, selects
    examples and reads nothing; `[:]` converted by `numpy.asarray` reads them.

    A subclass has a `dtype`, and reads in `_read` what is at some places.

    Args:
        places: array `[n, ...]`, where each example is.
        example_shape: tuple, the shape of an example.
    """

    places: np.ndarray
    example_shape: tuple[int, ...]

    @property
    def shape(self):
        return (len(self.places), *self.example_shape)

    def __len__(self):
        return len(self.places)

    def __getitem__(self, which):
        return dataclasses.replace(self, places=self.places[which])

    def __array__(self, dtype=None, copy=None):
        return self.read(slice(None)).astype(dtype or self.dtype, copy=False)

    def read(self, which):
        """The examples at some indices, an array `[count, ...]`.

        Raises:
            DataError: they cannot be read; the message names the file.
        """
        return self._read(self.places[which])

    def gather(self, indices):
        """The examples at a tensor of indices, a tensor `[count, ...]`; for a graph."""
        examples = tf.numpy_function(self.read, [indices], self.dtype)
        return tf.ensure_shape(examples, [*indices.shape, *self.example_shape])


class _File:
    """Keeps a file open as long as anything refers to it."""

    def __init__(self, file):
        self.name, self.number = file.name, os.dup(file.fileno())
        weakref.finalize(self, os.close, self.number)


@dataclasses.dataclass(frozen=True, eq=False)
class StoredArray(OnDisk):
    """Rows of an array that lies in a file.

    Args:
        places: int64 array `[n]`, where in the file each row begins.
        example_shape: As of `OnDisk`.
        file: the file.
        row_shape: shape of a row in the file.
        row_dtype: dtype in the file.
        convert: function from rows as they are in the file to examples.
        dtype: dtype of the examples.
    """

    file: _File
    row_shape: tuple[int, ...]
    row_dtype: np.dtype
    convert: collections.abc.Callable
    dtype: np.dtype

    @classmethod
    def of(cls, file, start, shape, dtype):
        """The rows of an array of this shape, as they are, from a place in an open file on."""
        length = math.prod(shape[1:]) * dtype.itemsize
        places = start + np.arange(shape[0], dtype=np.int64) * length
        return cls(places, shape[1:], _File(file), shape[1:], dtype, np.asarray, dtype)

    def converted(self, convert):
        """The same rows, converted when they are read."""
        example = convert(np.zeros((1, *self.row_shape), self.row_dtype))
        return dataclasses.replace(
            self, example_shape=example.shape[1:], convert=convert, dtype=example.dtype
        )

    def _read(self, places):
        length = math.prod(self.row_shape) * self.row_dtype.itemsize
        number = self.file.number
        content = b"".join(os.pread(number, length, place) for place in places.tolist())
        if len(content) != length * len(places):
            raise DataError(f"{self.file.name} has become shorter while it was used")
        rows = np.frombuffer(content, self.row_dtype)
        return self.convert(rows.reshape(len(places), *self.row_shape))


def kept(parts, shape, dtype, folder):
    """An array that comes in parts: as an array where it fits, else a `StoredArray`.

    The file of a `StoredArray` has no name, and is gone when the process ends, however it does.

    Args:
        parts: iterable of arrays, rows of the whole in order.
        shape: shape of the whole.
        dtype: its dtype.
        folder: where the file is, if one can be made there; else where temporary files are.

    Raises:
        DataError: the disk is full.
    """
    if fits(shape, dtype):
        return np.concatenate([np.empty((0, *shape[1:]), dtype), *parts])
    with _temporary(folder) as file:
        for part in parts:
            with _full_disk(shape, dtype, folder):
                file.write(part.tobytes())
        return StoredArray.of(file, 0, tuple(shape), np.dtype(dtype))


def kept_columns(parts, shape, dtype, folder):
    """The rows of an array that comes in parts of its columns, a `StoredArray` as of `kept`.

    Args:
        parts: iterable of arrays `[some columns, rows]`, all columns in order.
        shape: pair `(rows, columns)`.
        dtype, folder: As of `kept`.

    Raises:
        DataError: the disk is full.
    """
    begin, size = 0, np.dtype(dtype).itemsize
    with _temporary(folder) as file:
        for part in parts:
            with _full_disk(shape, dtype, folder):
                for number, row in enumerate(np.ascontiguousarray(part.T)):
                    file.seek((number * shape[1] + begin) * size)
                    file.write(row.tobytes())
            begin += len(part)
        return StoredArray.of(file, 0, tuple(shape), np.dtype(dtype))


def _temporary(folder):
    """A nameless file, in the folder if one can be made there."""
    try:
        return tempfile.TemporaryFile(dir=folder, buffering=0)
    except OSError:
        return tempfile.TemporaryFile(buffering=0)


@contextlib.contextmanager
def _full_disk(shape, dtype, folder):
    try:
        yield
    except OSError as error:
        gigabytes = math.prod(shape) * np.dtype(dtype).itemsize / 1e9
        raise DataError(
            f"{gigabytes:.1f} GB, to unpack a set in {folder}, cannot be written: {error}"
        ) from error
