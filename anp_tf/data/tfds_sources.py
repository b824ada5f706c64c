"""Images of a TFDS set in files of random access, array_record or Parquet: read by TFDS's source.

Of Parquet files TFDS holds the content in memory, compressed as it is; of array_record nothing.
"""

import dataclasses
import math

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from anp_tf.data import on_disk
from anp_tf.data.on_disk import OnDisk, fits
from anp_tf.data.tfds_records import resized

FORMATS = tfds.core.FileFormat.with_random_access() - {tfds.core.FileFormat.TFRECORD}


@dataclasses.dataclass(frozen=True, eq=False)
class SourceImages(OnDisk):
    """Images of a source; `places` are the numbers of its records.

    Args:
        source: sequence of dicts of features, which takes lists of numbers, too.
        key: string, the feature that holds the images.
    """

    source: object
    key: str

    dtype = np.dtype(np.uint8)

    def _read(self, places):
        images = np.empty((len(places), *self.example_shape), np.uint8)
        at_once = max(1, on_disk.PART_BYTES // math.prod(self.example_shape))
        for first in range(0, len(places), at_once):  # the source decodes all that it is asked for
            part = places[first : first + at_once].tolist()
            for index, record in enumerate(self.source.__getitems__(part), first):
                images[index] = self._image(record[self.key])
        return images

    def _image(self, image):
        if image.shape == self.example_shape:
            return image
        with tf.device("CPU:0"):
            return resized(image, self.example_shape[:2])


def images_and_labels(builder, split, image_key, label_key, shape):
    """The images, which stay where they are if they are many, and the labels, int32 [n]."""

    def source(key):
        others = {k: tfds.decode.SkipDecoding() for k in builder.info.features if k != key}
        return builder.as_data_source(split, decoders=others)

    images, labels = source(image_key), source(label_key)
    numbers = np.arange(len(labels))
    labels = np.array([record[label_key] for record in labels], np.int32)
    images = SourceImages(numbers, shape, images, image_key)
    return (np.asarray(images) if fits(images.shape, images.dtype) else images), labels
