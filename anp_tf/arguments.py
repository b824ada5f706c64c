"""Errors that name an argument, what was expected and what was received."""

import numbers


def check(name, value, valid, expected):
    """A ValueError that names the argument, unless it is valid."""
    if not valid:
        raise ValueError(
            f"Invalid value received for argument `{name}`. Expected {expected}. "
            f"Received: {name}={value!r}"
        )


def check_count(name, value):
    """The value as an integer; a ValueError that names the argument unless it is at least 1."""
    valid = isinstance(value, numbers.Real) and value == int(value) and value >= 1
    check(name, value, valid, "an integer of at least 1")
    return int(value)
