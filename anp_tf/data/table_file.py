"""A table of numbers with a column of labels, in a CSV or Parquet file."""

import logging
import pathlib

import numpy as np
import pyarrow.csv
import pyarrow.parquet

from anp_tf.data.errors import DataError, in_short
from anp_tf.data.examples import Examples
from anp_tf.data.labels import class_labels, test_count

LABEL_COLUMNS = ("label", "class", "target", "y")  # in this order, where none is named
SUFFIXES = (".csv", ".parquet")

log = logging.getLogger(__name__)


def read(path, split, label_key=None, test_share=0.2):
    """Reads a part of a table; the arguments and errors are those of `anp_tf.data.load`."""
    columns = _columns(path)
    label = _label_column(columns, label_key, path)
    labels = _labels(columns.pop(label), label, path)
    rows = np.stack([_numbers(values, name, path) for name, values in columns.items()], -1)
    testing = _testing(labels, test_share, path)
    chosen = {"train": ~testing, "test": testing}
    numbers, class_names = class_labels({k: labels[where] for k, where in chosen.items()}, path)
    low, high = rows[~testing].min(0), rows[~testing].max(0)
    span = np.where(high > low, high - low, 1.0)
    scaled = (rows[chosen[split]] - low) / span
    outside = np.mean((scaled < 0) | (scaled > 1))
    if outside:
        log.warning(
            "%s: %.2g %% of the %s part's numbers are outside the range of the training part, and "
            "are clipped to it",
            path,
            100 * outside,
            split,
        )
    ranges = tuple(zip(columns, low.tolist(), high.tolist(), strict=True))
    images = np.clip(scaled, 0, 1).astype(np.float32)
    return Examples(images, numbers[split], len(class_names), class_names, ranges)


def _columns(path):
    """Dict of the columns, arrays [rows]."""
    try:
        if pathlib.Path(path).suffix.lower() == ".csv":
            table = pyarrow.csv.read_csv(path)
        else:
            table = pyarrow.parquet.read_table(path)
        columns = {name: table[name].to_numpy() for name in table.column_names}
    except Exception as error:  # Arrow raises errors of many types for damaged files.
        raise DataError(f"{path} cannot be read as a table: {in_short(error)}") from error
    if len(columns) < 2 or not table.num_rows:
        raise DataError(
            f"{path} has {len(columns)} columns and {table.num_rows} rows: expected rows of "
            "numbers with a label"
        )
    return columns


def _label_column(columns, label_key, path):
    known = [label_key] if label_key else LABEL_COLUMNS
    for name in known:
        if name in columns:
            return name
    shown = ", ".join(columns)
    raise DataError(f"{path} has no column {' or '.join(known)} of labels, got {shown[:200]}")


def _numbers(values, name, path):
    if values.dtype.kind not in "iufb":
        raise DataError(f"{path}: column {name!r} must hold numbers, got {values.dtype}")
    values = values.astype(np.float64)
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        raise DataError(
            f"{path}: column {name!r} has {len(wrong)} missing or infinite numbers, the first in "
            f"row {wrong[0] + 1}"
        )
    return values


def _labels(values, name, path):
    """The labels, integers or strings."""
    if values.dtype.kind == "O" and all(isinstance(value, str) for value in values):
        return values.astype(str)
    if values.dtype.kind == "f" and np.all(np.isfinite(values) & (values == np.round(values))):
        return values.astype(np.int64)
    if values.dtype.kind not in "iub":
        raise DataError(
            f"{path}: column {name!r} of labels must hold integers or names, none missing, got "
            f"{values.dtype}"
        )
    return values


def _testing(labels, test_share, path):
    """Booleans [rows]: a share of the rows of each class, drawn by a fixed seed."""
    rng = np.random.default_rng(0)
    testing = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        count = test_count(test_share, len(rows), f"{path}: class {label} has {len(rows)} rows")
        testing[rng.permutation(rows)[:count]] = True
    return testing
