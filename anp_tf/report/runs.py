"""The runs that a report is on."""

import collections
import dataclasses
import pathlib

import keras

from anp_tf.errors import WorkdirError
from anp_tf.report.facts import facts, summary
from anp_tf.report.records import read_certificate, read_checklist, read_suites
from anp_tf.report.tables import deployment_table, results_table
from anp_tf.robustness import digest
from anp_tf.settings import Settings
from anp_tf.workdir import Workdir

REQUIRED_RESULTS = (  # of a results row; more is shown where it is there
    *("clean_accuracy", "white_box_accuracy", "white_box_vulnerability", "sparsity_percent"),
    *("flops_reduction", "dense_flops", "slim_flops"),
    *("dense_parameter_bytes", "slim_parameter_bytes", "latency_milliseconds"),
    *("attack", "epsilon", "step_size", "test_examples"),
)


@dataclasses.dataclass(frozen=True, eq=False)
class ReportedRun:
    """A finished run.

    Attributes:
        label: String, its name in tables and figures, unlike that of the other runs.
        workdir: `Workdir`.
        settings: `Settings` of the run.
        results: Dict, its results row.
        network: The trained network, masks included.
        suites: What `read_suites` returns.
        checklist: What `read_checklist` returns.
        certificate: What `read_certificate` returns.
    """

    label: str
    workdir: Workdir
    settings: Settings
    results: dict
    network: keras.Model
    suites: list
    checklist: dict | None
    certificate: dict | None

    def digest(self):
        """The SHA-256 of the network's file, hexadecimal."""
        return digest(self.workdir.network)


def load_runs(paths):
    """Reads finished runs of one data set.

    Args:
        paths: Sequence of at least one workdir.

    Returns:
        List of `ReportedRun`. A label is the method; where several runs are of the same, the method
        and as much of the end of the workdir as tells them apart.

    Raises:
        WorkdirError: if a workdir is named twice, is not one, has not finished or is damaged.
        ValueError: if the runs are of different data sets, or read them differently.
    """
    workdirs = [Workdir(path) for path in paths]
    for path, count in collections.Counter(w.path.resolve() for w in workdirs).items():
        if count > 1:
            raise WorkdirError(f"workdir: expected each workdir once, received {path} twice")
    settings = [workdir.settings() for workdir in workdirs]
    runs = []
    for workdir, each, label in zip(workdirs, settings, _labels(workdirs, settings), strict=True):
        network = workdir.load_network()
        if not workdir.results.exists():
            raise WorkdirError(
                f"{workdir.path} has no {workdir.results.name}: run python -m anp_tf.evaluate "
                f"--workdir={workdir.path} first"
            )
        results = workdir.load_results()
        missing = [key for key in REQUIRED_RESULTS if key not in results]
        if missing:
            raise _damaged(workdir, f"it has no {missing[0]}")
        records = [read(workdir) for read in (read_suites, read_checklist, read_certificate)]
        runs.append(ReportedRun(label, workdir, each, results, network, *records))
        _check_shown(runs[-1])
    for run in runs[1:]:
        _check_same(runs[0], run, "data set", lambda run: run.settings.dataset)
        _check_same(runs[0], run, "way to read the data", lambda run: run.settings.data_options)
        _check_same(runs[0], run, "image shape", lambda run: run.network.input_shape[1:])
        _check_same(runs[0], run, "number of classes", lambda run: run.network.output_shape[-1])
    return runs


def _check_shown(run):
    """A `WorkdirError` if what a report shows of the results row cannot be made of it."""
    try:
        for show in (facts, results_table, deployment_table):
            show([run])
        summary(run)
    except KeyError as error:
        raise _damaged(run.workdir, f"it has no {error}") from error
    except (ArithmeticError, AttributeError, TypeError, ValueError) as error:
        raise _damaged(run.workdir, error) from error


def _damaged(workdir, reason):
    return WorkdirError(
        f"{workdir.results} is damaged; run python -m anp_tf.evaluate --workdir={workdir.path} "
        f"again: {reason}"
    )


def _labels(workdirs, settings):
    """A label for each run."""
    methods = [each.method for each in settings]
    places = [workdir.path.absolute().parts for workdir in workdirs]
    labels = []
    for method, place in zip(methods, places, strict=True):
        rivals = [
            parts
            for other, parts in zip(methods, places, strict=True)
            if other == method and parts != place
        ]
        length = 1
        while any(parts[-length:] == place[-length:] for parts in rivals):
            length += 1
        end = pathlib.PurePath(*place[-length:])
        labels.append(f"{method} ({end})" if rivals else method)
    return labels


def _check_same(first, other, what, value):
    if value(first) != value(other):
        raise ValueError(
            f"workdir: expected runs of one {what}, received {value(first)} "
            f"({first.workdir.path}) and {value(other)} ({other.workdir.path})"
        )
