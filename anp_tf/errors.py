"""Errors of TensorFlow and Keras in one sentence, without their traces."""

import re

NOTES = re.compile(
    r"\{\{function_node .*?\}\}|\[\[\{?\{?node.*?\]\]|\[Op:[^\]]*\]|\(?node [^\s)]*\)?$"
)
PREFIX = re.compile(r"^(Graph execution error:|in user code:|\w+Error:)\s*")
LONGEST = 300


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
    text = " ".join(NOTES.sub("", text).split())
    text = PREFIX.sub("", PREFIX.sub("", text)).strip() or repr(error)
    return text if whole or len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _of_a_trace(line):
    starts = ("Graph execution error", "Detected at node", "<stack traces", "in user code")
    return line.startswith(starts)
