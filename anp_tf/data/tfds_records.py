"""Images of a TFDS set that stay in its TFRecord files, and are decoded when they are needed."""

import dataclasses
import os
import struct

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from anp_tf.data.errors import DataError
from anp_tf.data.on_disk import OnDisk

# A record: its length and a checksum of that, the content, a checksum of the content.
LENGTH, HEADER, FOOTER = 8, 12, 4
CYCLE, BLOCK = 16, 16  # files that TFDS reads in turns, and how many records in a row of each


@dataclasses.dataclass(frozen=True, eq=False)
class Records(OnDisk):
    """Images in records; `places` are [n, 3]: a file's number, a place in it, and a length.

    Args:
        files: tuple of the files' paths.
        decode: function from a serialized example, a string tensor, to an image.
    """

    files: tuple[str, ...]
    decode: object

    dtype = np.dtype(np.uint8)

    def _read(self, places):
        with tf.device("CPU:0"):
            return self._decoded(tf.constant(self._contents(places))).numpy()

    def gather(self, indices):
        contents = tf.numpy_function(
            lambda which: self._contents(self.places[which]), [indices], tf.string
        )
        return self._decoded(tf.ensure_shape(contents, indices.shape))

    def _contents(self, places):
        contents = np.empty(len(places), object)  # as NumPy's own strings lose zeros at their end
        for index, (number, place, length) in enumerate(places.tolist()):
            with open(self.files[number], "rb") as file:
                contents[index] = os.pread(file.fileno(), length, place)
        return contents

    def _decoded(self, contents):
        """Outside of Python, so that no thread of TensorFlow's waits for another."""
        image = tf.TensorSpec(self.example_shape, tf.uint8)
        cores = os.cpu_count()
        return tf.map_fn(
            self.decode, contents, parallel_iterations=cores, fn_output_signature=image
        )


def are_records(builder):
    """Whether a set is in TFRecord files on this machine."""
    is_local = "://" not in os.fspath(builder.data_path)
    return is_local and builder.info.file_format == tfds.core.FileFormat.TFRECORD


def records(builder, split, image_key, shape):
    """The images of a split, `Records` of a shape, in the order in which TFDS reads them."""
    partial = tfds.decode.PartialDecoding({image_key: True})
    features = partial.extract_features(builder.info.features)
    files, places = [], []
    for instruction in builder.info.splits[split].file_instructions:
        files.append(os.fspath(instruction.filename))
        found = _places(files[-1])[instruction.skip :][: instruction.take]
        places.append(np.insert(found, 0, len(files) - 1, axis=1))

    def decode(serialized):
        image = features.deserialize_example(serialized)[image_key]
        return image if image.shape == shape else resized(image, shape[:2])

    order = _order([len(found) for found in places], builder.info.disable_shuffling)
    return Records(np.concatenate(places)[order], shape, tuple(files), decode)


def _order(counts, one_by_one):
    """The positions of the records, file after file, in the order in which TFDS reads them."""
    ends = np.cumsum(counts, dtype=np.int64)
    files = tf.data.Dataset.from_tensor_slices((ends - counts, ends))
    cycle = 1 if one_by_one else CYCLE
    read = files.interleave(tf.data.Dataset.range, cycle_length=cycle, block_length=BLOCK)
    return np.concatenate(list(read.batch(100_000).as_numpy_iterator()))


def resized(image, size):
    """An image, a uint8 tensor [height, width, channels], in another size."""
    image = tf.image.resize(image, size, antialias=True)
    return tf.cast(tf.clip_by_value(tf.round(image), 0, 255), tf.uint8)


def _places(path):
    """Where the records of a file are: int64 [n, 2], their places and lengths."""
    places, place, size = [], 0, os.path.getsize(path)
    with open(path, "rb") as file:
        while place < size:
            file.seek(place)
            head = file.read(LENGTH)
            (length,) = struct.unpack("<Q", head) if len(head) == LENGTH else (size,)
            places.append((place + HEADER, length))
            place += HEADER + length + FOOTER
    if place != size:
        raise DataError(f"{path} is damaged: it ends within a record")
    return np.array(places, np.int64).reshape(-1, 2)
