"""Tables as text."""

import io

import rich.box
import rich.console
import rich.table


def as_text(table, width=100):
    """A `rich` table as a string of at most `width` columns, without colours."""
    text = io.StringIO()
    rich.console.Console(file=text, width=width).print(table)
    return text.getvalue().rstrip()


def plain_table(title, columns, rows, width=130):
    """Rows of strings under their columns' names; all columns but the first two are numbers."""
    table = rich.table.Table(box=rich.box.SIMPLE, title=title)
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index < 2 else "right")
    for row in rows:
        table.add_row(*row)
    return as_text(table, width)
