"""Modules of the user's: with networks, or with what registers the layers of networks."""

import importlib
import pathlib
import sys

from anp_tf.errors import sentence


def own_module(name):
    """A module, which is found from the current folder too; whatever it raises is raised."""
    here = str(pathlib.Path.cwd())
    sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(here)


def import_modules(names):
    """Imports the modules that `--imports` names.

    Raises:
        ValueError: if one cannot be imported.
    """
    for name in names:
        try:
            own_module(name)
        except Exception as error:  # whatever a user's file may raise
            said = f"{type(error).__name__}: {sentence(error)}"
            raise ValueError(f"imports: cannot import {name}: {said}") from error
