"""Files and folders that are written whole or not at all.

What a killed process leaves behind, the next one that writes the same file or folder removes.
"""

import contextlib
import json
import os
import pathlib
import platform
import re
import secrets
import shutil
import tempfile

from anp_tf.errors import WorkdirError
from anp_tf.interruption import passing

WILDCARDS = frozenset("*?[]\\")  # which TensorFlow's file functions expand


def check_folder(name, path):
    """A `WorkdirError` if a file is where a folder is, or is to be made.

    Args:
        name: Of the argument that names the folder.
        path: Of the folder.
    """
    path = pathlib.Path(path)
    there = next((place for place in (path, *path.parents) if place.exists()), None)
    if there is not None and not there.is_dir():
        raise WorkdirError(
            f"{name}: expected a folder, or a place for one, received {path}, where {there} is a "
            "file: name another place, or move the file"
        )


def check_parent(name, path):
    """A `ValueError` unless the folder of a file that an argument names is there."""
    if not pathlib.Path(path).absolute().parent.is_dir():
        raise ValueError(f"{name}: there is no folder for {path}")


def check_written(name, path, is_own):
    """A `ValueError` unless a file that an argument names can be written, and no foreign one lost.

    Args:
        name: Of the argument.
        path: Of the file.
        is_own: Function from the path to whether it is one that a command may write again.
    """
    check_parent(name, path)
    path = pathlib.Path(path)
    if path.exists() and not is_own(path):
        raise ValueError(
            f"{name}: expected a new file, or one that this command wrote, received {path}, which "
            "holds something else"
        )


@contextlib.contextmanager
def atomic_directory(path):
    """Yields a temporary folder that becomes `path` when the block ends without an error.

    The files are flushed to disk first, so that after a crash or a power cut `path` either is not
    there or is complete. After an error the temporary folder is removed.

    Args:
        path: The folder to make. It must not exist; its parents are made.

    Raises:
        FileExistsError: if `path` exists.
    """
    path = pathlib.Path(path)
    if path.exists():
        raise FileExistsError(f"{path} exists already and is not overwritten")
    _remove_leftovers(path, f".tmp-{path.name}-", "")
    temporary = path.with_name(f".tmp-{path.name}-{_process()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        with errors_with_path(path):
            yield temporary
        for folder, _, files in os.walk(temporary):
            for name in files:
                _flush(os.path.join(folder, name))
            _flush(folder)
        passing(path.name)
        os.replace(temporary, path)
        _flush(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def atomic_file(path):
    """Yields a temporary path whose file replaces `path` when the block ends without an error.

    The temporary name ends like `path`, since writers choose a format by the ending.
    """
    path = pathlib.Path(path)
    _remove_leftovers(path, ".tmp-", f"-{path.name}")
    temporary = path.with_name(f".tmp-{_process()}-{secrets.token_hex(4)}-{path.name}")
    try:
        with errors_with_path(path):
            yield temporary
        _flush(temporary)
        passing(path.name)
        os.replace(temporary, path)
        _flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _process():
    """What tells this process from all that may write to the same disk."""
    return f"{os.getpid()}@{platform.node()}"


def _remove_leftovers(path, start, end):
    """Removes what processes of this machine that are no more left where a path is written."""
    own = re.compile(rf"{re.escape(start)}(\d+)@{re.escape(platform.node())}.*{re.escape(end)}")
    for name in os.listdir(path.parent) if path.parent.is_dir() else ():
        match = own.fullmatch(name)
        if match and not _runs(int(match[1])):
            leftover = path.with_name(name)
            with contextlib.suppress(OSError):
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()


def _runs(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's
        return True
    return True


def read_json(path, damaged=WorkdirError, kind=dict, keys=(), each=None):
    """What a JSON file holds, or None if there is none.

    Args:
        path: `pathlib.Path`.
        damaged: Class of the error that is raised if it is damaged.
        kind: `dict` or `list`, what it must hold.
        keys: Sequence of keys that the dict must have.
        each: Sequence of keys; its values, or items, must be dicts that have them. None: may be
            anything.
    """
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise damaged(f"{path} is damaged; remove it: {error}") from error
    _check_json(path, content, kind, keys, damaged)
    if each is not None:
        for value in content.values() if kind is dict else content:
            _check_json(path, value, dict, each, damaged)
    return content


def _check_json(path, content, kind, keys, damaged):
    named = f" with {', '.join(keys)}" if keys else ""
    if not isinstance(content, kind) or any(key not in content for key in keys):
        raise damaged(
            f"{path} is damaged; remove it: expected a {kind.__name__}{named}, received "
            f"{str(content)[:80]}"
        )


def write_json(path, content):
    """Writes what JSON can hold to a file, whole or not at all."""
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


@contextlib.contextmanager
def without_wildcards(folder):
    """Yields a path of the folder that TensorFlow does not take for a pattern.

    TensorFlow expands `*`, `?` and brackets in the names of checkpoints, so that a folder `run[1]`
    would not be found; it gets a link elsewhere.
    """
    if not WILDCARDS & set(str(folder)):
        yield folder
        return
    with tempfile.TemporaryDirectory() as place:
        link = pathlib.Path(place) / "folder"
        link.symlink_to(pathlib.Path(folder).absolute(), target_is_directory=True)
        yield link


def check_plain(name, path):
    """A ValueError if what is written to this path could not be found again.

    Args:
        name: String, of the argument or flag.
        path: The folder.
    """
    found = sorted(WILDCARDS & set(str(path)))
    if found:
        raise ValueError(
            f"{name}: expected a path without {' '.join(found)}, which TensorFlow takes for "
            f"wildcards, received {path}"
        )


@contextlib.contextmanager
def errors_with_path(path):
    """Adds the path to an `OSError` of the block that names no file, such as a full disk's."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def _flush(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
