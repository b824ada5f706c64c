"""Images of a TFDS set in files of random access, array_record or Parquet: read by TFDS's source.

Of Parquet files TFDS holds the content in memory, compressed as it is; of array_record nothing.
"""

import dataclasses

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

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
        for index, record in enumerate(self.source.__getitems__(places.tolist())):
            image = record[self.key]
            if image.shape != self.example_shape:
                with tf.device("CPU:0"):
                    image = resized(image, self.example_shape[:2])
            images[index] = image
        return images


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
