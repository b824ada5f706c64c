"""Arrays of images or rows, and their labels, as `Examples`."""

import numpy as np

from anp_tf.data.errors import DataError
from anp_tf.data.examples import Examples
from anp_tf.data.labels import class_labels


def from_arrays(x, y, class_names=None):
    """Makes `Examples` of arrays.

    Args:
        x: array `[n, height, width, channels]`, `[n, height, width]` or `[n, columns]`: integers of
            0 to 255, or floats or booleans in [0, 1].
        y: array `[n]` or `[n, 1]`: integers, the classes' numbers from 0 on, or names.
        class_names: sequence of a name for each class, where `y` has numbers. None: the numbers,
            or the names in `y`, sorted.

    Returns:
        `Examples`.

    Raises:
        DataError: an array is of another kind or shape, a number is NaN or out of range, or a class
            has no example.
    """
    images = pixels(np.asarray(x), "x")
    labels, found = class_labels({"train": y}, "y")
    if len(images) != len(labels["train"]):
        raise DataError(f"x has {len(images)} examples and y {len(labels['train'])} labels")
    names = found if class_names is None else tuple(map(str, class_names))
    if len(names) != len(found):
        raise DataError(f"class_names has {len(names)} names, and y {len(found)} classes")
    return Examples(images, labels["train"], len(names), names)


def pixels(array, name):
    """The images as `Examples` takes them."""
    if array.ndim < 2 or not array.size:
        raise DataError(f"{name}: expected images [n, height, width, channels], got {array.shape}")
    if array.ndim == 3:
        array = array[..., None]
    if array.dtype.kind == "b":
        return array.astype(np.float32)
    if array.dtype.kind not in "fiu":
        raise DataError(f"{name}: expected uint8, or floats in [0, 1], got {array.dtype}")
    wrong = int(np.sum(~np.isfinite(array))) if array.dtype.kind == "f" else 0
    if wrong:
        raise DataError(f"{name}: {wrong} values are NaN or infinite")
    low, high = array.min(), array.max()
    if array.dtype.kind == "f" and low >= 0 and high <= 1:
        return np.ascontiguousarray(array, np.float32)
    if array.dtype.kind in "iu" and low >= 0 and high <= 255:
        if array.ndim == 4:
            return array.astype(np.uint8, copy=False)
        return array.astype(np.float32) / 255  # rows
    raise DataError(
        f"{name}: expected uint8, or floats in [0, 1], got {array.dtype} from {low:g} to {high:g}"
    )
