"""Errors that end a command, and those of TensorFlow and Keras in one sentence."""

import os
import re
import sys

NOTES = re.compile(
    r"\{\{function_node .*?\}\}|\[\[\{?\{?node.*?\]\]|\[Op:[^\]]*\]|\(?node [^\s)]*\)?$"
)
COLOURS = re.compile(r"\x1b\[\d*m")  # of a terminal
PREFIX = re.compile(r"^(Graph execution error:|in user code:|\w+Error:)\s*")
LONGEST = 300  # characters of an error of TensorFlow


class WorkdirError(ValueError):
    """A workdir is missing, incomplete, or of another configuration."""


class OtherRunError(WorkdirError):
    """A workdir holds a run of other options, `name=value` in its message, or other data."""


class CheckpointError(ValueError):
    """There are checkpoints, but none that this run can go on from."""


class NonFiniteError(RuntimeError):
    """A variable, a loss or a gradient is NaN or infinite."""


class Stopped(BaseException):
    """A signal asked the run to stop; its state is saved.

    No `Exception`: it may be raised anywhere, and is not to be taken for a damaged file.
    """


class WorkerLost(Stopped):
    """Another worker has ended, or cannot be reached."""


def nobody_reads():
    """The error that ends a run whose output is closed; Python will not fail to flush it, then."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return Stopped("stopped, as nobody reads the output; the same command goes on from there")


def of_tensorflow(error):
    """Whether an error is one of TensorFlow's operations, without importing TensorFlow."""
    return any(
        (kind.__module__, kind.__name__) == ("tensorflow.python.framework.errors_impl", "OpError")
        for kind in type(error).__mro__
    )


def sentence(error):
    """What an error says: the paragraph after a graph's or a function's trace, as one line.

    Args:
        error: Exception, or the text of one.

    Returns:
        Text without line breaks; of TensorFlow's own errors at most 300 characters.
    """
    text = str(getattr(error, "message", error)).strip()
    whole = not hasattr(error, "message")
    if "Graph execution error" in text or "in user code" in text:
        whole = False
        lines = [line for line in text.splitlines() if line and not line[0].isspace()]
        lines = [line for line in lines if not _of_a_trace(line)] or [text.splitlines()[-1]]
        if "in user code" in text:  # the exception's own line comes last, indented
            lines = [re.split(r"\n\s*\n", text)[-1]]
        text = " ".join(lines)
    text = " ".join(COLOURS.sub("", NOTES.sub("", text)).split())
    text = PREFIX.sub("", PREFIX.sub("", text)).strip() or repr(error)
    return text if whole or len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _of_a_trace(line):
    starts = ("Graph execution error", "Detected at node", "<stack traces", "in user code")
    return line.startswith(starts)
