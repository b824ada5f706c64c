"""Checkpoints of the whole state of a training run, each written whole or not at all."""

import json
import logging
import pathlib
import re
import shutil
import tempfile

import numpy as np
import tensorflow as tf

from anp_tf.errors import CheckpointError, NonFiniteError
from anp_tf.files import atomic_directory, without_wildcards
from anp_tf.interruption import passing
from anp_tf.train.distribution import Devices

FORMAT = 1
log = logging.getLogger(__name__)


class Checkpoints:
    """The newest few checkpoints of a run, in a folder each, named by the step.

    A checkpoint holds every variable given here and a dict of arrays and plain values beside them.
    Of several workers the chief writes; the others save and restore too, as the variables of
    metrics are sums over all workers.

    Args:
        directory: Folder of the checkpoints; made if missing.
        variables: Dict from a name to a Keras variable, all that `fit` changes.
        keep: Integer, how many to keep.
        devices: `Devices` that the run trains on; None for one.
    """

    def __init__(self, directory, variables, keep=3, devices=None):
        self.directory = pathlib.Path(directory)
        self.variables = variables
        self.keep = keep
        self.devices = devices or Devices()
        if self.devices.chief:
            self.directory.mkdir(parents=True, exist_ok=True)
            for leftover in self.directory.glob(".tmp-*"):
                shutil.rmtree(leftover)
        self._state = tf.train.Checkpoint(state=[v.value for v in variables.values()])
        self._layout = [[name, list(v.shape), str(v.dtype)] for name, v in variables.items()]

    def paths(self):
        """The checkpoints' folders, newest first."""
        found = [path for path in self.directory.glob("*") if path.name.isdigit()]
        return sorted(found, key=lambda path: int(path.name), reverse=True)

    def last_good(self):
        """Says in words which checkpoint is the newest."""
        paths = self.paths()
        return f"the last good checkpoint is {paths[0]}" if paths else "there is no checkpoint yet"

    def save(self, step, extra, arrays=()):
        """Writes a checkpoint and removes the oldest beyond `keep`.

        Args:
            step: Integer, the number of steps done.
            extra: Dict of values that JSON can hold.
            arrays: Sequence of NumPy arrays.

        Raises:
            NonFiniteError: if a variable is NaN or infinite; nothing is written then.
            OSError: if the disk is full; earlier checkpoints are intact then.
        """
        for name, variable in self.variables.items():
            if not np.all(np.isfinite(np.asarray(variable))):
                raise NonFiniteError(
                    f"variable {name} is not finite after step {step}; {self.last_good()}"
                )
        path = self.directory / f"{step:08d}"
        if self.devices.of_chief(path.exists()):
            return
        if not self.devices.chief:
            with tempfile.TemporaryDirectory() as folder:
                self._state.write(f"{folder}/state")
            return
        with atomic_directory(path) as folder:
            try:
                with without_wildcards(folder) as place:
                    self._state.write(str(place / "state"))
            except tf.errors.OpError as error:
                reason = re.sub(r"\{\{.*?\}\}|\[Op:.*", "", error.message).strip()
                message = f"cannot write a checkpoint in {self.directory}: {reason}"
                raise OSError(message) from error
            np.savez(folder / "arrays.npz", *arrays)
            meta = {"format": FORMAT, "step": step, "layout": self._layout, "extra": extra}
            (folder / "meta.json").write_text(json.dumps(meta))
        for old in self.paths()[self.keep :]:
            shutil.rmtree(old, ignore_errors=True)

    def restore(self):
        """Restores the newest complete checkpoint.

        A damaged one is passed over with a warning, and removed once an earlier one is restored.

        Returns:
            None if there is no checkpoint, else `(step, extra, arrays)` as given to `save`.

        Raises:
            CheckpointError: if the checkpoint is of another network, or if all are damaged.
        """
        paths = self.paths()
        for index, path in enumerate(paths):
            try:
                restored = self._read(path)
                for damaged in paths[:index] if self.devices.chief else ():
                    shutil.rmtree(damaged)
                return restored
            except CheckpointError:
                raise
            except Exception as error:
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                log.warning("checkpoint %s is damaged and passed over: %s", path, reason)
        if paths:
            raise CheckpointError(
                f"all {len(paths)} checkpoints in {self.directory} are damaged; remove the folder "
                "to start the run anew"
            )
        return None

    def _read(self, path):
        passing("restore")
        meta = json.loads((path / "meta.json").read_text())
        if meta["format"] != FORMAT:
            raise CheckpointError(
                f"checkpoint {path} has format {meta['format']}; this version reads {FORMAT}"
            )
        if meta["layout"] != self._layout:
            raise CheckpointError(
                f"checkpoint {path} is of another network: "
                + _difference(meta["layout"], self._layout)
            )
        with (path / "arrays.npz").open("rb") as file, np.load(file) as stored:
            arrays = [stored[f"arr_{index}"] for index in range(len(stored.files))]
        with without_wildcards(path) as place:
            self._state.read(str(place / "state")).assert_consumed()
        return meta["step"], meta["extra"], arrays


def _difference(found, expected):
    for theirs, ours in zip(found, expected, strict=False):
        if theirs != ours:
            return f"it has {theirs[0]} {theirs[1]} where {ours[0]} {ours[1]} was expected"
    return f"it has {len(found)} variables where {len(expected)} were expected"
