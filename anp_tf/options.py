"""Options: fields of a record that say of themselves what they are for and which values they take.

All that is known of an option stands in one call of `option`; the sets of options that may change
between two starts of a run, or that a search may touch, are derived from it.
"""

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Callable

MACHINE = "machine"  # where, how fast and how often; may change between two starts of a run
DATA = "data"  # what the network is for
RUN = "run"  # how runs are made and compared: what a search leaves as it is
EVALUATION = "evaluation"  # how the network is judged; an evaluation may have others
TRAINING = "training"  # how the network is trained; a search may try others

# Groups of options in the help of a command, by what a method says that it reads; others are in
# the group of their scope.
GROUPS = {
    "uses_attack": "attack",
    "learns_masks": "masks",
    "uses_masks": "masks",
    "default_beta": "masks",
    "suppresses": "method",
    "takes": "method",
    "uses_random_weights": "method",
}


class Range(typing.NamedTuple):
    """Values that an option may have, and how an error says so."""

    holds: Callable
    expected: str


def _finite(holds, expected):
    return Range(lambda value: math.isfinite(value) and holds(value), f"a value {expected}")


FINITE = _finite(lambda v: True, "that is finite")
ABOVE_0 = _finite(lambda v: v > 0, "above 0")
ABOVE_MINUS_80 = _finite(lambda v: v > -80, "above -80")
AT_LEAST_0 = _finite(lambda v: v >= 0, "at least 0")
AT_LEAST_1 = _finite(lambda v: v >= 1, "at least 1")
AT_LEAST_0_OR_INFINITE = Range(lambda v: v >= 0, "a value at least 0")
LENGTH = _finite(lambda v: 0 < v <= 1, "in (0, 1], in pixel units, such as 8/255")
INSIDE = _finite(lambda v: 0 < v < 1, "in (0, 1)")
SHARE = _finite(lambda v: 0 <= v <= 1, "in [0, 1]")
BELOW_1 = _finite(lambda v: 0 <= v < 1, "in [0, 1)")
ABOVE_0_TO_1 = _finite(lambda v: 0 < v <= 1, "in (0, 1]")
SEED = _finite(lambda v: 0 <= v < 2**31, "in [0, 2**31)")
NAME = Range(bool, "a name")


def one_among(names):
    """The range of an option that is one of some names."""
    return Range(lambda value: value in names, f"one of {', '.join(names)}")


def option(default, text, valid=None, scope=TRAINING, of=None, path=False, group=None):
    """A field of a record of options.

    Args:
        default: Its default; of an option whose type allows None, None: not given.
        text: Help text.
        valid: `Range`, or a sequence of names of which it is one; None: any value of its type.
        scope: What it is about: one of the words above.
        of: Name of the attribute by which a method says that it reads the option; None: all
            methods do, or those whose `takes` names it.
        path: Boolean, whether it may name a place.
        group: Its group in the help, unless that follows from `of` or `scope`.
    """
    names = None if valid is None or isinstance(valid, Range) else tuple(valid)
    known = {
        "help": text,
        "range": one_among(names) if names else valid,
        "names": names,
        "scope": scope,
        "of": of,
        "path": path,
        "group": group or GROUPS.get(of, scope),
    }
    return dataclasses.field(default=default, metadata=known)


@dataclasses.dataclass(frozen=True)
class Options:
    """A record of options, checked when it is made.

    Subclasses say by `defaults` what options that are None are, and by `check_together` which
    values do not go together.

    Raises:
        ValueError: if a value is not valid; the message begins with the option's name.
    """

    def __post_init__(self):
        for field in dataclasses.fields(self):
            check(field, getattr(self, field.name))
        for name, value in self.defaults():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        self.check_together()

    def defaults(self):
        """Pairs of a name and a value, of options that depend on others; later ones on earlier."""
        return ()

    def check_together(self):
        """Raises a ValueError if values do not go together."""

    @classmethod
    def names(cls, *scopes):
        """The options of some scopes, in order."""
        return [f.name for f in dataclasses.fields(cls) if f.metadata["scope"] in scopes]

    def of_the_run(self):
        """Dict of all options but those that may change between two starts of a run."""
        free = self.names(MACHINE)
        return {name: value for name, value in vars(self).items() if name not in free}

    def flag_lines(self):
        """The record as the lines of a flagfile; options that are None are left out."""
        lines = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type is bool:
                lines.append(f"--{field.name}" if value else f"--no{field.name}")
            elif isinstance(value, tuple):
                lines.append(f"--{field.name}={','.join(map(str, value))}")
            elif value is not None:
                lines.append(f"--{field.name}={exact_text(value)}")
        return lines

    @classmethod
    def from_flag_lines(cls, lines):
        """The record that `flag_lines` wrote.

        Raises:
            ValueError: if a line is not a known flag with a value of its type.
        """
        return cls(**cls.values_of(lines))

    @classmethod
    def values_of(cls, lines):
        """Dict of the values that the lines of a flagfile give to options."""
        fields = {field.name: field for field in dataclasses.fields(cls)}
        switches = {name for name, field in fields.items() if field.type is bool}
        values = {}
        for line in map(str.strip, lines):
            if not line or line.startswith("#"):
                continue
            name, equals, text = line.removeprefix("--").partition("=")
            if not equals and name in switches:
                values[name] = True
            elif not equals and name.removeprefix("no") in switches:
                values[name.removeprefix("no")] = False
            elif equals and name in fields:
                try:
                    values[name] = parse(fields[name].type, text)
                except ValueError as error:
                    raise ValueError(f"{error} in the line {line!r}") from error
            else:
                raise ValueError(f"unknown flag in the line {line!r}")
        return values


def near(value, known):
    """The end of a message that names the nearest of some names, if one is near."""
    found = difflib.get_close_matches(str(value), known, n=1)
    return f"; did you mean {found[0]}?" if found else ""


def check(field, value):
    """A ValueError unless a value is in the range of its option; None is, where its type allows."""
    valid, names = field.metadata["range"], field.metadata["names"]
    if valid is None or (value is None and base_type(field.type) is not field.type):
        return
    if not valid.holds(value):
        hint = near(value, names or ())
        shown = repr(value) if isinstance(value, str) else exact_text(value)
        finite = " and finite" if value in (math.inf, -math.inf) else ""
        raise ValueError(f"{field.name}: expected {valid.expected}{finite}, received {shown}{hint}")


def one_of(name, value, known):
    """A ValueError with near matches unless the value of an argument is one of `known`."""
    if value not in known:
        hint = near(value, known)
        raise ValueError(f"{name}: expected one of {', '.join(known)}, received {value!r}{hint}")


def base_type(annotation):
    """The type behind `X | None`."""
    if isinstance(annotation, types.UnionType):
        return next(kind for kind in typing.get_args(annotation) if kind is not types.NoneType)
    return annotation


def number(text):
    """The float of a text, which may be a fraction such as `8/255`."""
    above, slash, below = str(text).partition("/")
    try:
        return float(above) / float(below) if slash else float(above)
    except ZeroDivisionError as error:
        raise ValueError(f"could not convert string to float: {text!r}") from error


def length_text(value):
    """A length in pixel units for people: `8/255` where it is one, or 4 significant digits."""
    short = f"{value:.4g}"
    if float(short) == value or not 0 < value < 1:
        return short
    halves = round(2 * 255 * value)
    is_part = math.isclose(halves, 2 * 255 * value, rel_tol=5e-5)
    return f"{halves / 2:g}/255" if is_part else short


def exact_text(value):
    """The text of a value of which `number` makes the same: `8/255` for 0.03137254901960784."""
    if value is None:
        return "none"
    text = length_text(value) if isinstance(value, float) else ""
    return text if "/" in text and number(text) == value else str(value)


def parse(annotation, text):
    """The value of an option from its text; a ValueError if it is not of the option's type."""
    kind = base_type(annotation)
    if typing.get_origin(kind) is tuple:
        return tuple(parse(typing.get_args(kind)[0], part) for part in text.split(",") if part)
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError(f"expected true or false, received {text!r}")
        return text.lower() == "true"
    return number(text) if kind is float else kind(text)
