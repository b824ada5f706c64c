"""Arrays of images or rows, and their labels, as `Examples`."""

import logging

import numpy as np

from anp_tf.data.errors import DataError
from anp_tf.data.examples import Examples
from anp_tf.data.labels import class_labels

log = logging.getLogger(__name__)

DARK = 128  # integers that are all below are rather of another range than dark images


def from_arrays(x, y, class_names=None):
    """Makes `Examples` of arrays.

    Args:
        x: array `[n, height, width, channels]`, `[n, height, width]` or `[n, columns]`: integers of
            0 to 255, not of 0 and 1 alone, or floats or booleans in [0, 1].
        y: array `[n]` or `[n, 1]`: integers, the classes' numbers from 0 on, or names, or booleans.
        class_names: sequence of a name for each class, in the order of their numbers; names in `y`
            are numbered by it, and some may be absent. None: the numbers, or the names in `y`,
            sorted.

    Returns:
        `Examples`.

    Raises:
        DataError: an array is of another kind or shape, a number is NaN or out of range, a class
            of `y` by number has no example, or a name in `y` is none of `class_names`.
    """
    images = pixels(np.asarray(x), "x")
    y, names = np.asarray(y), None
    if class_names is not None:
        names = tuple(map(str, class_names))
        y = y.astype(int) if y.dtype == bool else y
    labels, found = class_labels({"train": y}, "y", names)
    if len(images) != len(labels["train"]):
        raise DataError(f"x has {len(images)} examples and y {len(labels['train'])} labels")
    names = found if names is None else names
    if len(names) != len(found):
        raise DataError(f"class_names has {len(names)} names, and y {len(found)} classes")
    return Examples(images, labels["train"], len(names), names)


def pixels(array, name):
    """The images as `Examples` takes them; a DataError where they are none."""
    check_pixels(array.shape, array.dtype, [array], name)
    return as_pixels(array)


def check_pixels(shape, dtype, parts, name):
    """A DataError unless an array, which may come in parts of its rows, holds pixels.

    A warning says if they are integers so small that they may be of another range than 0 to 255.
    """
    if not 2 <= len(shape) <= 4 or 0 in shape:
        raise DataError(f"{name}: expected images [n, height, width, channels], got {shape}")
    if dtype.kind not in "bfiu":
        raise DataError(f"{name}: expected uint8, or floats in [0, 1], got {dtype}")
    wrong, low, high = 0, np.inf, -np.inf
    for part in parts:
        wrong += np.sum(~np.isfinite(part)) if dtype.kind == "f" else 0
        low, high = min(low, part.min()), max(high, part.max())
    if wrong:
        raise DataError(f"{name}: {wrong} values are NaN or infinite")
    if low < 0 or high > (255 if dtype.kind in "iu" else 1):
        raise DataError(
            f"{name}: expected uint8, or floats in [0, 1], got {dtype} from {low:g} to {high:g}"
        )
    if dtype.kind in "iu" and high == 1:
        raise DataError(
            f"{name}: integers are taken as of 0 to 255, got {dtype} of 0 and 1 alone; make them "
            "floats or booleans, of which 1 is the brightest"
        )
    if dtype.kind in "iu" and 0 < high < DARK:
        log.warning(
            "%s: integers are taken as of 0 to 255, and the highest is %d: if that is the "
            "brightest, divide by it, to floats in [0, 1]",
            name,
            high,
        )


def as_pixels(rows):
    """Rows of an array that holds pixels as `Examples` takes them."""
    if rows.ndim == 3:
        rows = rows[..., None]
    if rows.dtype.kind in "bf":
        return np.ascontiguousarray(rows, np.float32)
    if rows.ndim == 4:
        return rows.astype(np.uint8, copy=False)
    return rows.astype(np.float32) / 255  # of a table
