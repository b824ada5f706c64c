"""Networks in `.keras` files."""

import re
import zipfile

from anp_tf.errors import WorkdirError

# As Keras says that it does not know a layer or a function, and of which module it is.
UNKNOWN = re.compile(r"Could not locate (\w+) '([^']+)'.*?'module': '([^']+)'", re.DOTALL)


def read_network(path):
    """The network in a `.keras` file, a path that exists.

    Raises:
        WorkdirError: if the file is damaged, or has a layer that is not registered.
    """
    if path.is_file() and not zipfile.is_zipfile(path):  # Keras says that it is not found
        raise WorkdirError(
            f"cannot load a network from {path}: it is damaged, or no file that Keras has saved"
        )
    import keras  # takes seconds

    import anp_tf.layers  # noqa: F401 - registers the mask layers for loading

    try:
        return keras.saving.load_model(path, compile=False)
    except Exception as error:  # Keras raises errors of many types for damaged files.
        raise WorkdirError(f"cannot load a network from {path}: {_reason(error)}") from error


def _reason(error):
    """Why Keras could not load a file, in one line."""
    text = str(error).strip()
    if unknown := UNKNOWN.search(text):
        kind, name, module = unknown.groups()
        return (
            f"it has the {kind} {name}, which is not registered: import the module that registers "
            f"it, {module} (--imports={module})"
        )
    return text.splitlines()[0] if text else repr(error)
