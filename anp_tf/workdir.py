"""The folder of a training run: its configuration, metrics, checkpoints, network and results."""

import contextlib
import dataclasses
import fcntl
import json
import logging
import os
import pathlib
import shutil

from anp_tf.errors import WorkdirError
from anp_tf.files import atomic_file, check_folder, errors_with_path, read_json, write_json
from anp_tf.network_file import read_network
from anp_tf.own_modules import own_module
from anp_tf.run_config import RunConfig

log = logging.getLogger(__name__)


class Workdir:
    """Reads and writes the files of a run.

    Args:
        path: The folder, as the user names it.
    """

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.config = self.path / "config.cfg"
        self.metrics = self.path / "metrics.jsonl"
        self.checkpoints = self.path / "checkpoints"
        self.tensorboard = self.path / "tensorboard"
        self.network = self.path / "network.keras"
        self.results = self.path / "results.json"
        self.robustness = self.path / "robustness.json"
        self.checks = self.path / "checks.json"
        self.certificate = self.path / "certificate.json"
        self.origin = self.path / "run.json"
        self.labels = self.path / "labels.json"
        self.columns = self.path / "columns.json"

    @property
    def _run_config(self):
        return RunConfig(self.path, self.config, self.origin)

    @contextlib.contextmanager
    def locked(self):
        """Makes the folder if need be, and keeps other processes from training in it.

        The lock is the operating system's: it goes when the process ends, however it ends. A folder
        that was made here goes again if it is empty when an error ends the block.

        Raises:
            WorkdirError: if another process trains there, or if a file is in the way.
            OSError: if the folder cannot be made.
        """
        is_new = not self.path.exists()
        self._make()
        folder = os.open(self.path, os.O_RDONLY)
        try:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise WorkdirError(f"another process trains in workdir {self.path}") from error
            except OSError as error:
                log.warning("workdir %s cannot be locked on its file system: %s", self.path, error)
            yield
        except BaseException:
            if is_new:
                with contextlib.suppress(OSError):  # it is not empty
                    self.path.rmdir()
            raise
        finally:
            os.close(folder)

    def _make(self):
        check_folder("workdir", self.path)
        self.path.mkdir(parents=True, exist_ok=True)

    def start(self, settings, overwrite=False):
        """What a run of these settings comes to here; nothing is changed but by `begin`.

        A run may go on to more epochs than it had. Where it has finished, its network will be
        removed, which the checkpoints make again.

        Args:
            settings: `Settings`.
            overwrite: Boolean; a run that has finished, or is of another configuration, is removed.

        Returns:
            `Start`.

        Raises:
            OtherRunError: if the folder holds the checkpoints or the network of another
                configuration, or of none, or a file of no run that the run would replace.
            WorkdirError: if the run would remove what it starts from.
        """
        resumable = any(self.checkpoints.glob("[0-9]*"))
        replaced = (self.metrics, self.results, self.origin, self.labels, self.columns)
        return self._run_config.start(settings, overwrite, self.network, resumable, replaced)

    def begin(self, start):
        """Removes what a `Start` removes, and writes its configuration.

        Raises:
            OSError: if it cannot be written.
        """
        self._make()
        if start.removes == "run":
            self.clear()
        if start.removes == "network":
            self.network.unlink(missing_ok=True)
        self._run_config.write(start.written, start.asked)

    def use(self, settings, used):
        """Writes down the `Settings` that are used in place of those that were asked for."""
        now = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}
        asked = {name: value for name, value in now.items() if value != getattr(used, name)}
        self._run_config.write(used, {**self._run_config.asked(), **asked})

    def clear(self):
        """Removes a run: all files that it has written but for exports."""
        for path in (self.checkpoints, self.tensorboard):
            shutil.rmtree(path, ignore_errors=True)
        for path in vars(self).values():
            if path.is_file():
                path.unlink()

    def settings(self):
        """The `Settings` the run was started with.

        Raises:
            WorkdirError: if there is no readable configuration; one of several runs names them.
        """
        return self._run_config.settings()

    def check_one_run(self, name):
        """A `WorkdirError` that names the runs in the folder, if it is that of several.

        Args:
            name: Of the argument that names the folder.
        """
        self._run_config.check_one_run(name)

    def load_network(self, name="workdir"):
        """The trained network, masks included.

        Args:
            name: Of the argument that names the folder, for errors.

        Raises:
            WorkdirError: if the training has not finished, the file is damaged, or the folder is
                that of several runs, which are named.
        """
        self.check_one_run(name)
        if not self.network.exists():
            said = "" if name == "workdir" else f"{name}: "
            raise WorkdirError(f"{said}{self.path} has no {self.network.name}: train it first")
        return load_network(self.network)

    def save_network(self, network):
        """Writes `network.keras`, whole or not at all."""
        with atomic_file(self.network) as temporary:
            network.save(temporary)

    def save_results(self, results, path=None):
        """Writes `results.json` (or another file) whole or not at all, and returns its path.

        Beside the results it has what `run.json` says of the training, its `seconds`, and
        `core_minutes`, the processor time that it took, of all cores together.
        """
        path = pathlib.Path(path or self.results)
        write_json(path, {**results, **(read_json(self.origin) or {}), **self._time()})
        return path

    def _time(self):
        epochs, time = self.epochs(), {}
        for name, key, unit in (("seconds", "seconds", 1), ("core_minutes", "core_seconds", 60)):
            spent = [record.get(key) for record in epochs]
            if spent and None not in spent:
                time[name] = round(sum(spent) / unit, 2)
        return time

    def describe(self, examples):
        """Writes down the names of the classes, and the ranges of a table's columns."""
        if examples.class_names:
            write_json(self.labels, list(examples.class_names))
        if examples.columns:
            write_json(self.columns, columns_of(examples))

    def class_names(self):
        """List of the names of the classes, or None where they are not known."""
        return read_json(self.labels, kind=list)

    def column_ranges(self):
        """List of dicts of a column's `name`, `low` and `high`; None unless it is of a table."""
        return read_json(self.columns, kind=list, each=("name", "low", "high"))

    def load_results(self, keys=()):
        """The results row in `results.json`.

        Raises:
            WorkdirError: if the file is damaged, or has not these keys.
        """
        return read_json(self.results, keys=keys)

    def log_epoch(self, record):
        """Appends a line to `metrics.jsonl`."""
        with errors_with_path(self.metrics), self.metrics.open("a") as file:
            file.write(json.dumps(record) + "\n")
            file.flush()
            os.fsync(file.fileno())  # the checkpoint that follows relies on it

    def epochs(self):
        """The records of `metrics.jsonl`; a damaged line, as one cut off by a crash, ends them."""
        records = []
        if self.metrics.exists():
            for line in self.metrics.read_text(errors="replace").splitlines():
                try:
                    record = json.loads(line)
                except ValueError:
                    break
                if not isinstance(record, dict) or type(record.get("epoch")) is not int:
                    break
                records.append(record)
        return records

    def forget_epochs(self, beyond):
        """Keeps the first `beyond` epochs' lines in `metrics.jsonl`, those a checkpoint covers."""
        lines = [json.dumps(record) + "\n" for record in self.epochs() if record["epoch"] <= beyond]
        with atomic_file(self.metrics) as temporary:
            temporary.write_text("".join(lines))


def columns_of(examples):
    """List of dicts of a table's columns: `name`, `low` and `high`; None of images."""
    names = ("name", "low", "high")
    return examples.columns and [dict(zip(names, c, strict=True)) for c in examples.columns]


def holds_results(path):
    """Whether a file is one of `Workdir.save_results`."""
    try:
        found = json.loads(pathlib.Path(path).read_text())
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and "method" in found


def network_path(path):
    """The `pathlib.Path` of the network in a workdir, or of a `.keras` file."""
    path = pathlib.Path(path)
    return path if path.suffix == ".keras" else Workdir(path).network


def load_network(path, name="workdir"):
    """A network from a workdir or a `.keras` file.

    Args:
        path: Of either.
        name: Of the argument that names it, for errors.

    Raises:
        WorkdirError: if there is none, the file is damaged, or the folder is that of several runs,
            which are named.
    """
    path = pathlib.Path(path)
    if path.suffix != ".keras":
        return Workdir(path).load_network(name)
    if not path.exists():
        raise WorkdirError(f"there is no network at {path}")
    _import_its_module(path)
    return read_network(path)


def _import_its_module(path):
    """Imports the module of a run's own network, if it can be: it may register its layers."""
    run = Workdir(path.parent)
    if path.name == run.network.name and run.config.exists():
        with contextlib.suppress(Exception):  # the network may do without
            module, colon, _ = run.settings().network.partition(":")
            if colon:
                own_module(module)
