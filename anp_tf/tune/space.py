"""The search space: a TOML file with a table for each option that is searched."""

import dataclasses
import math
import pathlib
import tomllib

import keras_tuner

from anp_tf.options import TRAINING, base_type, check
from anp_tf.settings import Settings


def read_space(path):
    """Reads a search space.

    Each table is named as an option of `Settings` and has `choices = [...]`, or `min` and `max`,
    with `sampling = "log"` and `step` if wanted:

        [beta]
        min = 1.0
        max = 16.0
        sampling = "log"

        [mask]
        choices = ["beta_bernoulli", "hard_concrete"]

    Args:
        path: The file.

    Returns:
        `keras_tuner.HyperParameters`.

    Raises:
        ValueError: if it is not such a file, or has a value that the option cannot have; the
            message names the option.
        OSError: if it cannot be read.
    """
    path = pathlib.Path(path)
    try:
        tables = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"space: {path} is not a TOML file: {error}") from error
    fields = {field.name: field for field in dataclasses.fields(Settings)}
    if not tables:
        raise ValueError(f"space: expected a table for each option in {path}, received none")
    space = keras_tuner.HyperParameters()
    for name, table in tables.items():
        if name not in Settings.names(TRAINING):
            raise ValueError(f"space: {name} in {path} is not an option that can be searched")
        try:
            _add(space, fields[name], table)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise ValueError(f"space: [{name}] in {path}: {error}") from error
    return space


def _add(space, field, table):
    """Adds the option of a field of `Settings` to the space."""
    name, kind = field.name, base_type(field.type)
    if not isinstance(kind, type):
        raise ValueError("expected an option that is a number, a text, true or false; it is a list")
    unknown = set(table) - {"choices", "min", "max", "step", "sampling"}
    if unknown:
        raise ValueError(f"expected choices, or min and max, received {', '.join(sorted(unknown))}")
    if "choices" in table:
        if set(table) != {"choices"} or not isinstance(table["choices"], list):
            raise ValueError("expected a list of choices and nothing else")
        space.Choice(name, [_checked(value, field) for value in table["choices"]], ordered=False)
        return
    missing = {"min", "max"} - set(table)
    if missing:
        raise ValueError(f"expected choices, or min and max, received no {missing.pop()}")
    if kind not in (int, float):
        raise ValueError(f"expected choices for an option of type {kind.__name__}")
    bounds = [_checked(table[key], field) for key in ("min", "max")]
    if not all(map(math.isfinite, bounds)):
        raise ValueError(f"expected a finite min and max, received {bounds[0]} and {bounds[1]}")
    if not bounds[0] < bounds[1]:
        raise ValueError(f"expected min below max, received {bounds[0]} and {bounds[1]}")
    options = {"sampling": table.get("sampling", "linear")}
    if "step" in table:
        options["step"] = _typed(table["step"], kind)
        if not options["step"] > 0:
            raise ValueError(f"expected a step above 0, received {options['step']}")
    (space.Int if kind is int else space.Float)(name, *bounds, **options)


def _checked(value, field):
    """A value that the option may have, of its type."""
    value = _typed(value, base_type(field.type))
    check(field, value)
    return value


def _typed(value, kind):
    if isinstance(value, bool) != (kind is bool):
        raise ValueError(f"expected values of type {kind.__name__}, received {value!r}")
    if kind is float and isinstance(value, int):
        return float(value)
    if not isinstance(value, kind):
        raise ValueError(f"expected values of type {kind.__name__}, received {value!r}")
    return value
