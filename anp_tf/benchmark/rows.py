"""The rows of a benchmark in a file, from which it goes on."""

import dataclasses

from anp_tf.errors import WorkdirError
from anp_tf.files import check_parent, read_json, write_json


def read_rows(path, kind):
    """The rows in a file: a list of them, empty where there is no file yet.

    Args:
        path: `pathlib.Path`; None: no file.
        kind: Dataclass of a row.

    Raises:
        ValueError: if there is no folder for the file, or it is damaged.
    """
    if path is None:
        return []
    check_parent("rows", path)
    try:
        return [kind(**row) for row in read_json(path, kind=list, each=()) or []]
    except TypeError as error:
        raise WorkdirError(f"{path} is damaged; remove it: {error}") from error


def write_rows(path, rows):
    """Writes rows to a file, whole or not at all; none where the path is None."""
    if path is not None:
        write_json(path, [dataclasses.asdict(row) for row in rows])
