"""Points at which tests end a process."""

import signal

import pytest

from anp_tf import interruption
from anp_tf.files import atomic_directory, atomic_file
from anp_tf.interruption import VARIABLE, passing


@pytest.fixture
def asked(monkeypatch):
    """A function that asks for a signal, and the signals that came."""
    came = []
    monkeypatch.setattr(interruption.os, "kill", lambda pid, number: came.append(number))

    def ask(text):
        interruption._passes.clear()
        monkeypatch.setenv(VARIABLE, text)
        return came

    return ask


def test_the_signal_comes_once_when_the_point_is_passed_so_often(asked):
    came = asked("step:3")
    for expected in (0, 0, 1, 1):
        passing("step")
        passing("epoch")
        assert len(came) == expected
    assert came == [signal.SIGKILL]


def test_another_signal(asked):
    came = asked("step:1:SIGTERM")
    passing("step")
    assert came == [signal.SIGTERM]


def test_without_the_variable_nothing_is_counted(asked, monkeypatch):
    came = asked("step:1")
    monkeypatch.delenv(VARIABLE)
    passing("step")
    assert not came
    assert not interruption._passes


def test_files_and_folders_are_points(asked, tmp_path):
    came = asked("row.json:1")
    with atomic_file(tmp_path / "row.json") as temporary:
        temporary.touch()
        assert not came
    assert len(came) == 1
    asked("saved:1")
    with atomic_directory(tmp_path / "saved"):
        pass
    assert len(came) == 2


@pytest.mark.parametrize("text", ["", "step", "step:0", "step:one", "step:1:SIGNONE", "step:1:9"])
def test_malformed(asked, text):
    asked(text)
    with pytest.raises(ValueError, match=f"{VARIABLE}: expected POINT:COUNT.*received '{text}'"):
        passing("step")
