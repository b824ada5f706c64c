"""Files and folders appear whole or not at all."""

import errno
import os
import pathlib
import re

import pytest

from anp_tf.files import atomic_directory, atomic_file, check_plain, read_json


class CrashError(Exception):
    """What the writer raises."""


def write_half(path):
    path.write_text("half")
    raise CrashError


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_directory_appears_when_the_block_ends(tmp_path):
    target = tmp_path / "parent" / "new"
    with atomic_directory(target) as temporary:
        assert not target.exists()
        (temporary / "sub").mkdir()
        (temporary / "sub" / "file.txt").write_text("content")
    assert (target / "sub" / "file.txt").read_text() == "content"
    assert names(target.parent) == ["new"]


def test_directory_is_not_there_after_an_error(tmp_path):
    target = tmp_path / "new"
    with pytest.raises(CrashError), atomic_directory(target) as temporary:
        write_half(temporary / "file.txt")
    assert names(tmp_path) == []


def test_directory_is_never_overwritten(tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "file.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="old"), atomic_directory(tmp_path / "old"):
        pass
    assert (tmp_path / "old" / "file.txt").read_text() == "precious"
    assert names(tmp_path) == ["old"]


def test_directory_ignores_what_an_earlier_crash_left(tmp_path):
    with atomic_directory(tmp_path / "new") as temporary:
        pass
    (tmp_path / "new").rmdir()
    temporary.mkdir()
    (temporary / "stale.txt").write_text("stale")
    with atomic_directory(tmp_path / "new") as again:
        (again / "fresh.txt").write_text("fresh")
    assert names(tmp_path / "new") == ["fresh.txt"]


def test_what_a_killed_process_left_is_removed(tmp_path):
    pid = os.fork()
    if not pid:  # it ends within both blocks
        with atomic_file(tmp_path / "a.json") as file, atomic_directory(tmp_path / "b") as folder:
            file.touch()
            (folder / "file.txt").touch()
            os._exit(0)
    os.waitpid(pid, 0)
    assert len(names(tmp_path)) == 2
    with atomic_file(tmp_path / "a.json") as used, atomic_directory(tmp_path / "b") as folder:
        used.touch()
        with atomic_file(tmp_path / "a.json") as other:  # as another thread may
            other.touch()
        assert names(tmp_path) == sorted(["a.json", used.name, folder.name])
    assert names(tmp_path) == ["a.json", "b"]


@pytest.mark.parametrize("kind", [str, pathlib.Path])
def test_file_replaces_the_old_one(tmp_path, kind):
    target = tmp_path / "table.json"
    target.write_text("old")
    with atomic_file(kind(target)) as temporary:
        assert temporary.suffix == ".json"
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert names(tmp_path) == ["table.json"]


def test_file_keeps_the_old_one_after_an_error(tmp_path):
    target = tmp_path / "table.json"
    target.write_text("old")
    with pytest.raises(CrashError), atomic_file(target) as temporary:
        write_half(temporary)
    assert target.read_text() == "old"
    assert names(tmp_path) == ["table.json"]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "Expecting value"),
        ("[]", {}, "expected a dict, received []"),
        ("null", {"kind": list}, "expected a list, received None"),
        ('{"a": 1}', {"keys": ("a", "b")}, "expected a dict with a, b, received {'a': 1}"),
        ('{"a": {"b": 1}, "c": {}}', {"each": ("b",)}, "expected a dict with b, received {}"),
        ("[1]", {"kind": list, "each": ()}, "expected a dict, received 1"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, text, options, message):
    path = tmp_path / "file.json"
    assert read_json(path, **options) is None
    path.write_text(text)
    with pytest.raises(CrashError, match=re.escape(f"{path} is damaged; remove it: {message}")):
        read_json(path, CrashError, **options)


def test_naming_adds_the_path_of_a_full_disk(tmp_path):
    with (
        pytest.raises(OSError, match=r"No space left.*out\.txt") as caught,
        atomic_file(tmp_path / "out.txt"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize("path", ["out[1]", "a*b", "c?"])
def test_paths_that_tensorflow_takes_for_patterns(tmp_path, path):
    with pytest.raises(ValueError, match="directory: expected a path without"):
        check_plain("directory", tmp_path / path)
    check_plain("directory", tmp_path / "plain, with a space")
