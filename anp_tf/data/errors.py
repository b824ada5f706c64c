"""Errors of data, each in one line."""

import re

from anp_tf.errors import sentence


class DataError(ValueError):
    """A data set, or what was asked of it, is not as it has to be; the message is one line."""


def at_least(name, value, least):
    if value < least:
        raise DataError(f"{name} must be at least {least}, got {value}")


def unused(path, **given):
    """A DataError for an option that is given and that a set at this path has no use for."""
    for name, value in given.items():
        if value is not None:
            raise DataError(f"{name} is not for a set of this kind, got {name}={value} for {path}")


def in_short(error):
    """Returns an exception's type and message as one line of at most some 250 characters."""
    message = re.sub(r'Failed to construct .*?\}": ', "", sentence(error))  # TFDS's
    return f"{type(error).__name__}: {message[:220]}"
