"""Labels as they stand in files: numbers of classes, or names."""

import numpy as np

from anp_tf.data.errors import DataError

TEST_SHARE = 0.2  # of a set that is divided, where no share is given


def class_labels(parts, name, class_names=None):
    """The labels of the parts of a set, and the names of its classes.

    Args:
        parts: dict of arrays `[n]` or `[n, 1]`, `train` and others: integers, the classes' numbers
            from 0 on, or strings or booleans, their names.
        name: string, of the set, for errors.
        class_names: tuple of different strings, by which labels that are names are numbered. None:
            by the names of `train`, sorted.

    Returns:
        Dict of int32 arrays `[n]`, and the tuple of the classes' names; of labels that are numbers
        these are the numbers.

    Raises:
        DataError: labels are of another kind or shape, a class has no training example, another
            part has a class that training has not, or a label is none of `class_names`.
    """
    flat = {part: _flat(labels, f"{name}: labels of {part}") for part, labels in parts.items()}
    if any(labels.dtype.kind in "US" for labels in flat.values()):
        names = class_names or tuple(np.unique(flat["train"].astype(str)).tolist())
        number_of = {label: number for number, label in enumerate(names)}
        if len(number_of) < len(names):
            raise DataError(f"class_names must be different names, got {', '.join(names)[:200]}")
        numbers = {}
        for part, labels in flat.items():
            found, places = np.unique(labels.astype(str), return_inverse=True)
            unknown = [label for label in found.tolist() if label not in number_of]
            if unknown and class_names:
                shown = ", ".join(names)[:200]
                raise DataError(f"{name}: expected one of class_names, {shown}, got {unknown[0]!r}")
            if unknown:
                raise DataError(f"{name}: class {unknown[0]!r} of {part} has no training example")
            numbers[part] = np.array([number_of[n] for n in found.tolist()], np.int32)[places]
        return numbers, names
    low = min(int(labels.min()) for labels in flat.values())
    classes = 1 + max(int(labels.max()) for labels in flat.values())
    if low < 0:
        raise DataError(f"{name}: labels must be 0 or more, got {low}")
    missing = np.setdiff1d(np.arange(min(classes, 2**20)), flat["train"])
    if len(missing):
        raise DataError(f"{name}: class {missing[0]} of {classes} has no training example")
    return (
        {part: labels.astype(np.int32) for part, labels in flat.items()},
        tuple(map(str, range(classes))),
    )


def test_count(share, total, described):
    """How many of a class's examples are for testing; `described` says of which, in errors."""
    count = round(share * total)
    if not 0 < count < total:
        raise DataError(
            f"{described}, of which the share {share:g} cannot be set aside for testing; both "
            "parts need at least one"
        )
    return count


def refuse_share(name, test_share):
    """A DataError for a share other than the default, of a set that has a test part."""
    if test_share != TEST_SHARE:
        raise DataError(
            f"test_share is for a set without a test part, got test_share={test_share:g} for {name}"
        )


def _flat(labels, name):
    labels = np.asarray(labels)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2:
        raise DataError(
            f"{name} have the shape {list(labels.shape)}: expected a number of a class each, "
            "[n] or [n, 1], not one-hot vectors"
        )
    if labels.ndim != 1 or not len(labels):
        raise DataError(f"{name}: expected [n] or [n, 1], got the shape {list(labels.shape)}")
    if labels.dtype.kind == "b":
        labels = labels.astype(str)
    if labels.dtype.kind == "S":
        try:
            labels = np.char.decode(labels, "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"{name}: expected names in UTF-8, got {error.object!r}") from error
    if labels.dtype.kind not in "iuUS":
        raise DataError(f"{name}: expected integers or names, got {labels.dtype}")
    return labels
