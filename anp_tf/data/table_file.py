"""A table of numbers with a column of labels, in a CSV or Parquet file."""

import logging
import pathlib
import re

import numpy as np
import pyarrow
import pyarrow.csv
import pyarrow.parquet

from anp_tf.data.errors import DataError, in_short
from anp_tf.data.examples import Examples
from anp_tf.data.labels import TEST_SHARE, class_labels, test_count
from anp_tf.data.on_disk import PART_BYTES, kept

TEXT = ("string", "large_string", "string_view")  # Arrow's types of it
LABEL_COLUMNS = ("label", "class", "target", "y")  # in this order, where none is named
NAMELESS = r"|Unnamed: \d+|__index_level_\d+__"  # also as pandas calls such a column

log = logging.getLogger(__name__)


def read(path, split, label_key=None, test_share=TEST_SHARE):
    """Reads a part of a table; the arguments and errors are those of `anp_tf.data.load`.

    The file is read through twice, the labels first, as the division into parts is by them.
    """
    if split == "validation":
        return None
    kinds = _kinds(path)
    label = _label_column(kinds, label_key, path)
    del kinds[label]
    _leave_out_nameless(kinds, path)
    others = [name for name in LABEL_COLUMNS if name in kinds and name != "y"]  # of x and y
    if others and not label_key:
        log.warning(
            "%s: column %r is taken for the labels, and %d others for features, %r among them; "
            "label_key chooses another",
            path,
            label,
            len(kinds),
            others[0],
        )
    labels = _labels(_column(path, label), label, path)
    testing = _testing(labels, test_share, path)
    chosen = {"train": ~testing, "test": testing}
    numbers, class_names = class_labels({k: labels[where] for k, where in chosen.items()}, path)
    ranges = _Ranges(path, list(kinds), ~testing)
    shape = len(numbers[split]), len(kinds)
    rows = kept(ranges.seen(_parts(path, kinds), chosen[split]), shape, np.dtype(float), _at(path))
    ranges.check()
    if split == "test":
        ranges.tell_outside(rows)
    images = ranges.scaled(rows) if isinstance(rows, np.ndarray) else rows.converted(ranges.scaled)
    columns = tuple(zip(kinds, ranges.low.tolist(), ranges.high.tolist(), strict=True))
    return Examples(images, numbers[split], len(class_names), class_names, columns)


class _Ranges:
    """What is learned of the columns of numbers while they are read in parts.

    Args:
        path: the file, for messages.
        names: list of the columns' names.
        training: booleans [rows], the rows whose ranges count.
    """

    def __init__(self, path, names, training):
        self._path, self._names, self._training = path, names, training
        self._wrong = np.zeros(len(names), int)
        self._first_wrong = np.zeros(len(names), int)
        self.low = np.full(len(names), np.inf)
        self.high = np.full(len(names), -np.inf)

    def seen(self, parts, chosen):
        """The rows of `parts`, float64 [rows, columns], of which `chosen` is true."""
        begin = 0
        for part in parts:
            here = slice(begin, begin + len(part))
            begin += len(part)
            wrong = ~np.isfinite(part)
            new = wrong.any(0) & (self._wrong == 0)
            self._first_wrong[new] = here.start + 1 + wrong.argmax(0)[new]
            self._wrong += wrong.sum(0)
            training = part[self._training[here]]
            self.low = np.minimum(self.low, training.min(0, initial=np.inf))
            self.high = np.maximum(self.high, training.max(0, initial=-np.inf))
            yield part[chosen[here]]

    def check(self):
        """A DataError if a number was missing or infinite."""
        for index in np.flatnonzero(self._wrong)[:1]:
            raise DataError(
                f"{self._path}: column {self._names[index]!r} has {self._wrong[index]} missing or "
                f"infinite numbers, the first in row {self._first_wrong[index]}"
            )

    def scaled(self, rows):
        """Rows scaled by the ranges of the training part to [0, 1], and clipped to it."""
        span = np.where(self.high > self.low, self.high - self.low, 1.0)
        inside = np.clip(rows, self.low, self.high)  # a column may have one number alone
        return np.clip((inside - self.low) / span, 0, 1).astype(np.float32)

    def tell_outside(self, rows):
        """Logs which share of the numbers is clipped."""
        count = max(1, PART_BYTES // (8 * len(self._names)))
        outside = 0
        for begin in range(0, len(rows), count):
            part = np.asarray(rows[begin : begin + count])
            outside += np.sum((part < self.low) | (part > self.high))
        if outside:
            log.warning(
                "%s: %.2g %% of the test part's numbers are outside the range of the training "
                "part, and are clipped to it",
                self._path,
                100 * outside / (len(rows) * len(self._names)),
            )


def _at(path):
    return pathlib.Path(path).parent


def _is_csv(path):
    return pathlib.Path(path).suffix.lower() == ".csv"


def _kinds(path):
    """Dict of the columns' Arrow types; of a CSV file those of its first part."""
    try:
        if _is_csv(path):
            with pyarrow.csv.open_csv(path) as reader:
                schema = reader.schema
        else:
            schema = pyarrow.parquet.read_schema(path)
        names, types = schema.names, schema.types
    except Exception as error:  # Arrow raises errors of many types for damaged files.
        raise _unreadable(path, error) from error
    kinds = dict(zip(names, types, strict=True))
    if len(kinds) < len(names):
        raise DataError(f"{path} has two columns of one name, among {_shown(names)}")
    if len(kinds) < 2:
        raise DataError(
            f"{path} has {len(kinds)} columns: expected numbers with a label, separated by commas"
        )
    return kinds


def _column(path, name):
    """A column, an Arrow array [rows]."""
    try:
        if _is_csv(path):
            options = pyarrow.csv.ConvertOptions(include_columns=[name])
            table = pyarrow.csv.read_csv(path, convert_options=options)
        else:
            table = pyarrow.parquet.read_table(path, columns=[name])
        return table[name].combine_chunks()
    except Exception as error:  # as above
        raise _unreadable(path, error) from error


def _parts(path, kinds):
    """The columns of numbers, float64 arrays [some rows, columns]."""
    is_number = (
        pyarrow.types.is_integer,
        pyarrow.types.is_floating,
        pyarrow.types.is_boolean,
        pyarrow.types.is_null,  # of a CSV file, as far as was read
    )
    for name, kind in kinds.items():
        if not any(is_kind(kind) for is_kind in is_number):
            raise DataError(f"{path}: column {name!r} must hold numbers, got {kind}")
    try:
        if _is_csv(path):
            truth = pyarrow.types.is_boolean
            types = {n: k if truth(k) else pyarrow.float64() for n, k in kinds.items()}
            options = pyarrow.csv.ConvertOptions(column_types=types, include_columns=list(kinds))
            size = pyarrow.csv.ReadOptions(block_size=PART_BYTES)
            batches = pyarrow.csv.open_csv(path, size, convert_options=options)
        else:
            batches = pyarrow.parquet.ParquetFile(path).iter_batches(columns=list(kinds))
        for batch in batches:
            columns = [batch[name].cast(pyarrow.float64()) for name in kinds]
            yield np.stack([column.to_numpy(zero_copy_only=False) for column in columns], -1)
    except Exception as error:  # as above
        raise _unreadable(path, error) from error


def _unreadable(path, error):
    return DataError(f"{path} cannot be read as a table: {in_short(error)}")


def _shown(names):
    return ", ".join(names)[:200]


def _label_column(columns, label_key, path):
    known = [label_key] if label_key else LABEL_COLUMNS
    for name in known:
        if name in columns:
            return name
    raise DataError(f"{path} has no column {' or '.join(known)} of labels, got {_shown(columns)}")


def _leave_out_nameless(kinds, path):
    """Takes columns without a name, such as the index that pandas writes, out of the features."""
    nameless = [name for name in kinds if re.fullmatch(NAMELESS, name)]
    if not nameless:
        return
    for name in nameless:
        del kinds[name]
    if not kinds:
        raise DataError(f"{path} has no column of numbers with a name beside the labels")
    log.warning(
        "%s: columns without a name, such as the index that pandas writes, are left out: %s",
        path,
        ", ".join(map(repr, nameless))[:200],
    )


def _labels(column, name, path):
    """The labels, an array [rows] of integers or strings."""
    if not len(column):
        raise DataError(f"{path} has 0 rows: expected numbers with a label")
    if isinstance(column, pyarrow.DictionaryArray):
        column = column.dictionary_decode()
    if column.null_count == 0 and str(column.type) in TEXT:
        column = column.cast(pyarrow.string()).dictionary_encode()
        names = column.dictionary.to_pylist()
        if "" in names:  # as Arrow has the empty fields of a CSV file
            row = column.indices.to_pylist().index(names.index("")) + 1
            raise DataError(f"{path}: column {name!r} of labels has no label in row {row}")
        return np.array(names)[column.indices.to_numpy()]
    values = column.to_numpy(zero_copy_only=False)
    if values.dtype.kind == "f" and np.all(np.isfinite(values) & (values == np.round(values))):
        return values.astype(np.int64)
    if values.dtype.kind not in "iub":
        raise DataError(
            f"{path}: column {name!r} of labels must hold integers or names, none missing, got "
            f"{column.type}"
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
