"""What a benchmark measured, as a table and as a record."""

import dataclasses

from anp_tf.tables import plain_table


@dataclasses.dataclass(frozen=True)
class BenchmarkTable:
    """Figures of several subjects.

    Attributes:
        title: Of the table.
        formats: Dict from a figure's name to its format, such as `".1f"`; the table's columns.
        figures: Dict from a subject to a dict from a figure's name to its value; some may be
            missing.
        notes: Dict from a line to a number that stands at its end, with two digits; for what is of
            all subjects.
    """

    title: str
    formats: dict
    figures: dict
    notes: dict = dataclasses.field(default_factory=dict)

    def table(self):
        """A text table, and below it the notes."""
        rows = [
            [subject, *(format(found[n], f) if n in found else "" for n, f in self.formats.items())]
            for subject, found in self.figures.items()
        ]
        notes = [f"{line}: {value:.2f}" for line, value in self.notes.items()]
        return plain_table(self.title, ["", *self.formats], rows, notes=notes)

    def record(self):
        """Dict from the subject and the figure's name to the value."""
        record = {
            f"{subject}, {name}": value
            for subject, found in self.figures.items()
            for name, value in found.items()
        }
        return record | self.notes
