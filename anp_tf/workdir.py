"""The folder of a training run: its configuration, metrics, checkpoints, network and results."""

import contextlib
import dataclasses
import fcntl
import json
import logging
import os
import pathlib

import keras

from anp_tf import layers  # noqa: F401 - registers the mask layers for loading
from anp_tf.files import atomic_file, naming, write_json
from anp_tf.settings import Settings

# Options that may change between two starts of the same run.
FREE = ("data_dir", "op_threads", "distribution", "checkpoint_seconds", "keep_checkpoints")
PATHS = ("init_from", "dataset")  # options that may name a place


log = logging.getLogger(__name__)


class WorkdirError(ValueError):
    """A workdir is missing, incomplete, or of another configuration."""


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

    @contextlib.contextmanager
    def locked(self):
        """Makes the folder if need be, and keeps other processes from training in it.

        The lock is the operating system's: it goes when the process ends, however it ends.

        Raises:
            WorkdirError: if another process trains there.
            OSError: if the folder cannot be made.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        folder = os.open(self.path, os.O_RDONLY)
        try:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise WorkdirError(f"another process trains in workdir {self.path}") from error
            except OSError as error:
                log.warning("workdir %s cannot be locked on its file system: %s", self.path, error)
            yield
        finally:
            os.close(folder)

    def open(self, settings):
        """Writes the configuration of a run, or checks that the folder holds the same run.

        Raises:
            WorkdirError: if the folder holds the checkpoints or the network of another
                configuration.
            OSError: if it cannot be written.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        begun = self.network.exists() or any(self.checkpoints.glob("[0-9]*"))
        if begun and self.config.exists():
            found = self.settings()
            differing = [
                f"--{field.name}={getattr(found, field.name)} (now {getattr(settings, field.name)})"
                for field in dataclasses.fields(Settings)
                if field.name not in FREE
                and not self._same(
                    field.name, getattr(found, field.name), getattr(settings, field.name)
                )
            ]
            if differing:
                raise WorkdirError(
                    f"workdir {self.path} is of another configuration: {', '.join(differing)}; "
                    "give another --workdir"
                )
        with atomic_file(self.config) as temporary:
            lines = [
                "# Written by the run. The same run again:",
                f"# python -m anp_tf.train --flagfile={self.config}",
                f"--workdir={self.path}",
                *settings.flag_lines(),
            ]
            temporary.write_text("\n".join(lines) + "\n")

    def _same(self, name, found, now):
        """Whether an option is what it was, or, of a path, names the same place.

        That is also a place that was moved together with the folder: the way to it from the folder,
        as it was recorded, is what it is from the folder now.
        """
        if found == now or name not in PATHS or None in (found, now):
            return found == now
        (recorded,) = (
            line.removeprefix("--workdir=")
            for line in self.config.read_text().splitlines()
            if line.startswith("--workdir=")
        )
        ways = os.path.relpath(found, recorded), os.path.relpath(now, self.path)
        return ways[0] == ways[1] or os.path.realpath(found) == os.path.realpath(now)

    def settings(self):
        """The `Settings` the run was started with.

        Raises:
            WorkdirError: if there is no readable configuration.
        """
        try:
            lines = self.config.read_text().splitlines()
            return Settings.from_flag_lines(x for x in lines if not x.startswith("--workdir="))
        except (OSError, ValueError) as error:
            raise WorkdirError(
                f"{self.path} is not the workdir of a run: cannot read {self.config.name}: {error}"
            ) from error

    def load_network(self):
        """The trained network, masks included.

        Raises:
            WorkdirError: if the training has not finished, or the file is damaged.
        """
        if not self.network.exists():
            raise WorkdirError(f"{self.path} has no {self.network.name}: train it first")
        return load_network(self.network)

    def save_network(self, network):
        """Writes `network.keras`, whole or not at all."""
        with atomic_file(self.network) as temporary:
            network.save(temporary)

    def save_results(self, results, path=None):
        """Writes `results.json` (or another file) whole or not at all, and returns its path.

        Beside the results it has `core_minutes`, the processor time that training took, of all
        cores together, where epochs say it.
        """
        path = pathlib.Path(path or self.results)
        spent = [record.get("core_seconds") for record in self.epochs()]
        if spent and None not in spent:
            results = {**results, "core_minutes": round(sum(spent) / 60, 2)}
        write_json(path, results)
        return path

    def load_results(self):
        """The results row in `results.json`.

        Raises:
            WorkdirError: if the file is damaged.
        """
        try:
            return json.loads(self.results.read_text())
        except ValueError as error:
            raise WorkdirError(f"{self.results} is damaged; remove it: {error}") from error

    def log_epoch(self, record):
        """Appends a line to `metrics.jsonl`."""
        with naming(self.metrics), self.metrics.open("a") as file:
            file.write(json.dumps(record) + "\n")
            file.flush()
            os.fsync(file.fileno())  # the checkpoint that follows relies on it

    def epochs(self):
        """The records of `metrics.jsonl`; a line cut off by a crash ends them."""
        records = []
        if self.metrics.exists():
            for line in self.metrics.read_text().splitlines():
                try:
                    records.append(json.loads(line))
                except json.JSONDecodeError:
                    break
        return records

    def forget_epochs(self, beyond):
        """Keeps the first `beyond` epochs' lines in `metrics.jsonl`, those a checkpoint covers."""
        lines = [json.dumps(record) + "\n" for record in self.epochs() if record["epoch"] <= beyond]
        with atomic_file(self.metrics) as temporary:
            temporary.write_text("".join(lines))


def load_network(path):
    """A network from a workdir or a `.keras` file.

    Raises:
        WorkdirError: if there is none, or the file is damaged.
    """
    path = pathlib.Path(path)
    if path.suffix != ".keras":
        return Workdir(path).load_network()
    if not path.exists():
        raise WorkdirError(f"there is no network at {path}")
    try:
        return keras.saving.load_model(path, compile=False)
    except Exception as error:  # Keras raises errors of many types for damaged files.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise WorkdirError(f"cannot load a network from {path}: {reason}") from error
