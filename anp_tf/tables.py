"""Tables as text."""

import io

import rich.console


def as_text(table, width=100):
    """A `rich` table as a string of at most `width` columns, without colours."""
    text = io.StringIO()
    rich.console.Console(file=text, width=width).print(table)
    return text.getvalue().rstrip()
