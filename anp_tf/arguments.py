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


def check_number(name, value, holds=None, expected="a number", infinite=False):
    """A ValueError that names the argument, unless it is a number that fits.

    NaN, True and False are no numbers here.

    Args:
        name: The argument.
        value: What was given for it.
        holds: Function of a number, whether it fits; None: any does.
        expected: In words, what fits.
        infinite: Boolean, whether the number may be infinite.
    """
    fits = _is_number(value)
    if fits and abs(value) == math.inf and not infinite:
        fits, expected = False, f"{expected}, and finite"
    check(name, value, fits and (holds is None or holds(value)), expected)


def check_count(name, value, least=1):
    """The value as an integer; a ValueError that names the argument unless it is at least `least`.

    Numbers without a fraction count as integers; True and False do not.
    """
    valid = _is_number(value) and abs(value) < math.inf and value == int(value) and value >= least
    check(name, value, valid, f"an integer of at least {least}")
    return int(value)


def check_seed(name, value):
    """The value as an integer; a ValueError that names the argument unless it has 32 bits.

    As a seed of TensorFlow, a larger one would be another one without a word.
    """
    valid = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    valid = valid and -(2**31) <= value < 2**31
    check(name, value, valid, "an integer of 32 bits, from -2**31 to 2**31 - 1")
    return int(value)


def check_kind(name, value, kind):
    """A ValueError that names the argument, unless it is an object of a class, or None."""
    check(name, value, value is None or isinstance(value, kind), f"a `{kind.__name__}`, or None")


def _is_number(value):
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and value == value
