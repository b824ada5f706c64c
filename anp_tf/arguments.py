"""Errors that name an argument, what was expected and what was received."""

import math
import numbers


def check(name, value, valid, expected):
    """A ValueError that names the argument, unless it is valid."""
    if not valid:
        raise ValueError(
            f"Invalid value received for argument `{name}`. Expected {expected}. "
            f"Received: {name}={value!r}"
        )


def check_count(name, value, least=1):
    """The value as an integer; a ValueError that names the argument unless it is at least `least`.

    Numbers without a fraction count as integers; True and False do not.
    """
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    valid = is_number and math.isfinite(value) and value == int(value) and value >= least
    check(name, value, valid, f"an integer of at least {least}")
    return int(value)
