"""Callbacks that could not do their work after the first epoch are an error before it."""

import os
import pathlib
import tempfile
from collections import defaultdict

import keras

from anp_tf.errors import sentence

MONITORING = (keras.callbacks.EarlyStopping, keras.callbacks.ReduceLROnPlateau)


def check_callbacks(model, callbacks, names):
    """Checks what callbacks of Keras monitor, and that a `ModelCheckpoint` can save.

    A callback whose `mode` is "auto" is told whether more or less is better. What comes after a
    callback of one's own may monitor what that puts into the logs.

    Args:
        model: `NetworkTrainer`.
        callbacks: List of Keras callbacks.
        names: List of what will be in the logs of an epoch.

    Raises:
        ValueError: if a callback monitors what will not be there, or something of which it is not
            known whether more is better; or if a file cannot be written.
    """
    known = True  # what is in the logs
    for callback in callbacks:
        checkpoint = isinstance(callback, keras.callbacks.ModelCheckpoint)
        monitors = callback.save_best_only if checkpoint else isinstance(callback, MONITORING)
        if monitors and (known or callback.monitor in names):
            _check_monitor(model, callback, names)
        is_own = type(callback).__module__.partition(".")[0] != "keras"
        known = known and not (is_own or isinstance(callback, keras.callbacks.LambdaCallback))
        if checkpoint:
            _check_saving(model, callback, names, known)


def _check_monitor(model, callback, names):
    kind, monitor = type(callback).__name__, callback.monitor
    if monitor not in names:
        hint = ""
        if monitor.startswith("val_") and not any(name.startswith("val_") for name in names):
            hint = "; `fit` needs validation_data= for it"
        raise ValueError(
            f"{kind} monitors {monitor!r}, which will not be there{hint}. "
            f"There will be: {', '.join(names)}"
        )
    if callback.mode in ("min", "max"):
        return
    callback.mode = _better(model, monitor.removeprefix("val_"))
    if callback.mode is None:
        callback.mode = "auto"
        raise ValueError(
            f"{kind} monitors {monitor!r}, of which it is not known whether more is better: "
            'give it mode="max" or mode="min"'
        )


def _better(model, name):
    """ "max" or "min", whichever is better of a metric; None if it is not known."""
    directions = {metric.name: getattr(metric, "_direction", None) for metric in model.metrics}
    if directions.get(name):
        return {"up": "max", "down": "min"}[directions[name]]
    if name in ("accuracy", "adversarial_accuracy", "sparsity", "weight_sparsity"):
        return "max"
    if name in ("loss", "adversarial_loss", "vulnerability", "kl"):
        return "min"
    return None


def _check_saving(model, callback, names, known):
    """Saves the network once, beside where it will be saved."""
    values = {"epoch": 1, "batch": 1, **dict.fromkeys(names, 0.0)}
    try:
        path = callback.filepath.format_map(values if known else defaultdict(float, values))
        path = pathlib.Path(path)
    except (KeyError, IndexError, ValueError) as error:
        raise ValueError(
            f"ModelCheckpoint cannot name its file: {callback.filepath!r} has {error}, and there "
            f"will be: epoch, {', '.join(names)}"
        ) from error
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    save = model.save_weights if callback.save_weights_only else model.save
    try:
        with tempfile.TemporaryDirectory(prefix=".trial-", dir=folder) as trial:
            save(os.path.join(trial, path.name))
    except Exception as error:  # What layers, Keras and the file system may raise.
        raise ValueError(f"ModelCheckpoint cannot save to {path}: {sentence(error)}") from error
