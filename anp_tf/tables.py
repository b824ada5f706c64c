"""Tables as text, which a notebook shows as HTML."""

import html
import io

import rich.box
import rich.console
import rich.table
import rich.text


class TextTable(str):
    """A string that a notebook shows as a table in place of its characters.

    Args:
        text: The string.
        html: What the notebook shows.
    """

    __slots__ = ("html",)

    def __new__(cls, text, html):
        table = super().__new__(cls, text)
        table.html = html
        return table

    def _repr_html_(self):
        return self.html


def as_text(table, width=100, notes=()):
    """A `rich` table of strings, and lines below it, without colours.

    Args:
        table: `rich.table.Table`.
        width: Integer, columns that the table takes at most.
        notes: Sequence of strings.

    Returns:
        `TextTable`.
    """
    text = io.StringIO()
    # In a notebook a console would show the table in place of writing it.
    rich.console.Console(file=text, width=width, force_jupyter=False).print(table)
    return TextTable("\n".join([text.getvalue().rstrip(), *notes]), _html(table, notes))


def plain_table(title, columns, rows, width=130, notes=(), texts=1):
    """Rows of strings under their columns' names; all columns but the first ones are numbers.

    Args:
        title: Text.
        columns: Sequence of strings.
        rows: Iterable of sequences of strings.
        width, notes: As for `as_text`.
        texts: Integer, how many columns are no numbers.
    """
    table = rich.table.Table(box=rich.box.SIMPLE, title=title)
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index < texts else "right")
    for row in rows:
        table.add_row(*row)
    return as_text(table, width, notes)


def markdown_table(columns, rows, texts=1):
    """A Markdown table of strings, a list of lines.

    Args:
        columns: Sequence of the columns' names.
        rows: Iterable of sequences of cells.
        texts: Integer, how many columns are texts, the first ones; the others are numbers.
    """
    line = "|---" * texts + "|---:" * (len(columns) - texts) + "|"
    head, *others = (f"| {' | '.join(cells)} |" for cells in (columns, *rows))
    return [head, line, *others]


def _html(table, notes):
    def row(kind, texts):
        cells = (
            f'<{kind} style="text-align: {column.justify}">{_plain(text)}</{kind}>'
            for column, text in zip(table.columns, texts, strict=True)
        )
        return f"<tr>{''.join(cells)}</tr>"

    head = row("th", [column.header for column in table.columns])
    rows = zip(*(column.cells for column in table.columns), strict=True)
    return "".join(
        [
            "<table>",
            f"<caption>{_plain(table.title)}</caption>" if table.title else "",
            f"<thead>{head}</thead>" if table.show_header else "",
            f"<tbody>{''.join(row('td', texts) for texts in rows)}</tbody></table>",
            *(f"<p>{html.escape(note)}</p>" for note in notes),
        ]
    )


def _plain(text):
    return html.escape(rich.text.Text.from_markup(text).plain)
