"""Keeps what compiled code prints off the screen; for command lines only."""

import contextlib
import os

STDERR = 2


@contextlib.contextmanager
def silent_stderr():
    """A context in which the process's standard error goes nowhere; exceptions come through."""
    screen, nowhere = os.dup(STDERR), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, STDERR)
        yield
    finally:
        os.dup2(screen, STDERR)
        os.close(screen)
        os.close(nowhere)
