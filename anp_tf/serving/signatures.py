"""What an exported network can be asked."""

import numpy as np
import tensorflow as tf

from anp_tf.models.classifier import check_classifier
from anp_tf.models.comparison import TOLERANCE_IN_HALF, alike, computes_in_half

PREDICT, CLASSIFY, BYTES, ROWS = "serving_default", "classify", "bytes", "rows"
GRAY = (19595, 38470, 7471)  # of 65536: the shares of red, green and blue, as Pillow has them
NOT_PIXELS = "`pixels` must be finite numbers in [0, 1]"


def check_network(network):
    """Raises a ValueError unless a network takes images of a known size and returns logits."""
    check_classifier(network, known_size=True)


def check_absent(path):
    """Raises a FileExistsError if there is a file, or a folder, that an export would replace."""
    if path.exists():
        raise FileExistsError(f"{path} exists already and is not overwritten")


def checked_images(name, images, network):
    """Images as a float32 array, checked.

    Args:
        name: Of the argument, for the error.
        images: Float array [images, *image shape] in [0, 1], at least one image.
        network: `keras.Model` that takes them.

    Raises:
        ValueError: if they are not as described.
    """
    images, shape = np.asarray(images), network.inputs[0].shape[1:]
    are_floats = tf.as_dtype(images.dtype).is_floating
    received = f"{images.dtype} {list(images.shape)}"
    if are_floats and images.size:
        received += f" from {images.min():g} to {images.max():g}"
    fit = are_floats and images.shape[1:] == shape and images.size
    if not fit or not np.all((images >= 0) & (images <= 1)):  # NaN is not
        expected = ", ".join(map(str, ["images", *shape]))
        raise ValueError(
            f"Argument `{name}` must be floats [{expected}] in [0, 1], at least one image. "
            f"Received: {received}"
        )
    return images.astype(np.float32)


def check_logits(kind, logits, network, pixels, tolerance):
    """Raises a ValueError unless a file's logits are the network's.

    Args:
        kind: What kind of file it is, for the error.
        logits: Array, what the file returns for the pixels.
        network: `keras.Model`.
        pixels: Array [batch, ...].
        tolerance: Float, the share of the largest logit that they may differ by; of a network that
            computes in half precision it is 2 % at least.
    """
    if computes_in_half(network):
        tolerance = max(tolerance, TOLERANCE_IN_HALF)
    expected = network(pixels, training=False)
    if not alike(tf.constant(logits), expected, tolerance):
        difference = np.abs(logits - np.asarray(tf.cast(expected, tf.float32))).max()
        raise ValueError(
            f"The {kind} file does not compute what the network does: its logits for random images "
            f"differ by up to {difference:.3g}, so it is not written."
        )


def predict(network, check=True):
    """`serving_default`: `pixels`, which may be checked, to `logits` and `probabilities`."""

    def serve(pixels):
        return _answer(network, _checked(pixels) if check else pixels)

    return serve, [_pixels_spec(network)]


def classify(network, class_names):
    """`classify`: serialized `tf.train.Example`s to `classes` and `scores`, a pair per class.

    An example has the feature `pixels`, its floats in the order of the image's axes.
    """
    spec = _pixels_spec(network)
    features = {"pixels": tf.io.FixedLenFeature(spec.shape[1:], tf.float32)}

    def serve(inputs):
        pixels = tf.io.parse_example(inputs, features)["pixels"]
        scores = _answer(network, _checked(pixels))["probabilities"]
        classes = tf.tile(tf.constant([class_names]), [tf.shape(scores)[0], 1])
        return {"classes": classes, "scores": scores}

    return serve, [tf.TensorSpec([None], tf.string, name="inputs")]


def from_bytes(network):
    """`bytes`: `image_bytes`, PNG or JPEG files, to what `serving_default` returns.

    Their pixels are those that Pillow reads, and so those of `anp_tf.data`.
    """
    shape = _pixels_spec(network).shape[1:]
    channels = max(3, shape[-1])

    def decode(file):
        image = tf.cond(
            tf.io.is_jpeg(file),
            lambda: tf.io.decode_jpeg(file, 3, dct_method="INTEGER_ACCURATE"),
            lambda: tf.io.decode_image(file, channels, expand_animations=False),
        )
        if shape[-1] == 1:
            image = tf.reduce_sum(tf.cast(image, tf.int32) * GRAY, axis=-1, keepdims=True)
            image = (image + 0x8000) // 0x10000
        return tf.cast(tf.ensure_shape(image, shape), tf.float32) / 255.0

    def serve(image_bytes):
        pixels = tf.map_fn(decode, image_bytes, fn_output_signature=tf.TensorSpec(shape))
        return _answer(network, pixels)

    return serve, [tf.TensorSpec([None], tf.string, name="image_bytes")]


def from_rows(network, columns):
    """`rows`: `values`, float32 [batch, columns] as they stand in the table, to logits and so on.

    Each column is scaled to [0, 1] by its range, and clipped to it, as the test part is.

    Args:
        network: `keras.Model` of rows.
        columns: List of dicts of a column's `low` and `high`, in order.

    Raises:
        ValueError: if they are not as described.
    """
    low, high = _checked_ranges(network, columns)
    span = np.where(high > low, high - low, 1.0)

    def serve(values):
        finite = tf.reduce_all(tf.math.is_finite(values))
        check = tf.debugging.Assert(finite, ["`values` must be finite numbers"])
        with tf.control_dependencies([check]):
            scaled = (tf.cast(values, tf.float64) - low) / span
        return _answer(network, tf.cast(tf.clip_by_value(scaled, 0.0, 1.0), tf.float32))

    return serve, [tf.TensorSpec([None, len(columns)], tf.float32, name="values")]


def _checked_ranges(network, columns):
    """The lowest and the highest number of each column, float64 arrays, checked."""
    shape = network.inputs[0].shape[1:]
    try:
        ranges = np.array([[column["low"], column["high"]] for column in columns], np.float64)
    except (TypeError, KeyError, IndexError, ValueError):
        ranges = np.array([])
    fit = ranges.shape == (*shape, 2) and np.isfinite(ranges).all()
    if not fit or np.any(ranges[:, 0] > ranges[:, 1]):
        raise ValueError(
            "Argument `columns` must be a list of dicts with the numbers `low` and `high`, one for "
            f"each number that the network takes, {list(shape)}. Received: columns={columns!r:.200}"
        )
    return ranges.T


def takes_images(network):
    """Whether a network takes images that PNG files can hold."""
    shape = network.inputs[0].shape[1:]
    return len(shape) == 3 and None not in shape and shape[-1] in (1, 3, 4)


def _pixels_spec(network):
    return tf.TensorSpec((None, *network.inputs[0].shape[1:]), tf.float32, name="pixels")


def _answer(network, pixels):
    logits = tf.cast(network(pixels, training=False), tf.float32)
    return {"logits": logits, "probabilities": tf.nn.softmax(logits)}


def _checked(pixels):
    pixels = tf.ensure_shape(pixels, pixels.shape)  # which callers may not have kept to
    valid = tf.reduce_all((pixels >= 0) & (pixels <= 1))  # NaN is not
    found = tf.reduce_min(pixels), tf.reduce_max(pixels)
    check = tf.debugging.Assert(valid, [NOT_PIXELS, "received values from, to", *found])
    with tf.control_dependencies([check]):
        return tf.identity(pixels)
