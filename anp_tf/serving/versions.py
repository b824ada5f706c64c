"""The versions of a network in a folder, named as TensorFlow Serving reads them."""

import pathlib
import re

LARGEST = 2**63 - 1  # TensorFlow Serving's versions are int64
FOLDER = re.compile(r"(\d+)", re.ASCII)
FILE = re.compile(r"(\d+)\.(?:keras|onnx|micro|.+\.tflite)", re.ASCII)


def checked_version(directory, version):
    """The version, or one above the highest there is where it is None."""
    if version is None:
        version = 1 + max(versions(directory), default=0)
    is_integer = isinstance(version, int) and not isinstance(version, bool)
    if not is_integer or not 1 <= version <= LARGEST:
        raise ValueError(
            f"Argument `version` must be an integer of at least 1 and at most {LARGEST}, since "
            "TensorFlow Serving reads versions from the folders' names. "
            f"Received: version={version!r}"
        )
    return version


def latest_version(directory):
    """The SavedModel of the highest version in a directory, or None if there is none."""
    directory = pathlib.Path(directory)
    saved = [path for v in set(versions(directory)) if _is_saved_model(path := directory / str(v))]
    return max(saved, key=lambda path: int(path.name), default=None)


def versions(directory):
    """The versions of the networks in a folder, which need not exist.

    They are SavedModels `3`, files `3.keras`, `3.onnx`, `3.float32.tflite` and the like, and
    folders `3.micro`.
    """
    directory = pathlib.Path(directory)
    paths = directory.iterdir() if directory.is_dir() else ()
    return [version for path in paths if (version := _version(path)) is not None]


def _version(path):
    """The version that a file or folder is of, or None."""
    match = (FOLDER if _is_saved_model(path) else FILE).fullmatch(path.name)
    return match and int(match[1])


def _is_saved_model(path):
    return (path / "saved_model.pb").is_file()
