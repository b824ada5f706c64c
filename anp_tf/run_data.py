"""Whether data are those of a run: by their classes, their number and labels, a table's columns."""

import contextlib
import dataclasses
import pathlib

from anp_tf.errors import OtherRunError, WorkdirError
from anp_tf.files import read_json, write_json
from anp_tf.run_config import is_gone
from anp_tf.workdir import columns_of


def check_training_data(workdir, training):
    """An `OtherRunError` if a run began with other training `Examples`."""
    before = (read_json(workdir.origin) or {}).get("data")
    if before is None or before == training.identity:
        return
    found = read_json(workdir.origin, keys=("training_examples",))
    raise OtherRunError(
        f"workdir {workdir.path} is of other data: it began with {found['training_examples']:,} "
        f"training examples, and the data set now has {len(training):,}, or other labels; give "
        "the data of the run, or another workdir"
    )


def check_test_data(workdir, test, divided):
    """An `OtherRunError` if test `Examples` are not of the data that a run was trained on.

    They have the same classes, and a table's columns the same ranges. Of a set that is divided, as
    the Boolean says, they are those of the first time, which is written down in `run.json`: others
    may have been training examples.
    """
    origin = read_json(workdir.origin) or {}
    names = test.class_names and list(test.class_names)
    identity = test.identity if divided else None
    for what, before, now in (
        ("classes", workdir.class_names(), names),
        ("columns", workdir.column_ranges(), columns_of(test)),
        ("examples", origin.get("test_data"), identity),
    ):
        if before is not None and now != before:
            raise OtherRunError(
                f"workdir {workdir.path} is of other data: the test part has other {what} than "
                "when the run was trained; give the data of the run"
            )
    if divided and origin and "test_data" not in origin:
        with contextlib.suppress(OSError):  # of a folder that is only read
            write_json(workdir.origin, {**origin, "test_data": identity})


def moved_to(workdir, settings, place):
    """The `Settings` of a run whose data are at another place now.

    Raises:
        WorkdirError: if they are still where they were, or the place has another name.
    """
    before = settings.dataset
    if pathlib.Path(place).name != pathlib.Path(before).name or not is_gone(before):
        raise WorkdirError(
            f"dataset: expected the new place of {before}, the data of workdir {workdir.path}, "
            f"which is gone, received {place}; on other data judge --model={workdir.network}"
        )
    return dataclasses.replace(settings, dataset=place)
