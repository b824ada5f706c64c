"""Checkpoints are whole or not there, and damaged ones are passed over."""

import json
import logging

import keras
import numpy as np
import pytest
import tensorflow as tf

from anp_tf.errors import CheckpointError, NonFiniteError
from anp_tf.train import checkpoints as module
from anp_tf.train.checkpoints import Checkpoints


def variables(*shapes):
    return {
        f"v{index}": keras.Variable(np.zeros(shape, np.float32), name=f"v{index}")
        for index, shape in enumerate(shapes or [(3,), (200, 10)])
    }


def fill(state, value):
    for index, variable in enumerate(state.values()):
        variable.assign(np.full(variable.shape, value + index / 10, np.float32))


def values(state):
    return [np.unique(variable.numpy()).tolist() for variable in state.values()]


@pytest.fixture
def saved(tmp_path):
    """Checkpoints of steps 1, 2 and 3, whose variables hold 1, 2 and 3."""
    state = variables()
    checkpoints = Checkpoints(tmp_path, state)
    for step in (1, 2, 3):
        fill(state, step)
        checkpoints.save(step, {"best": step}, [np.full(4, step)])
    return checkpoints


def names(checkpoints):
    return sorted(path.name for path in checkpoints.directory.iterdir())


def test_restore_of_nothing(tmp_path):
    assert Checkpoints(tmp_path / "new" / "folder", variables()).restore() is None


def test_restores_the_newest(saved):
    state = variables()
    step, extra, arrays = Checkpoints(saved.directory, state).restore()
    assert (step, extra) == (3, {"best": 3})
    np.testing.assert_array_equal(arrays, [[3, 3, 3, 3]])
    assert values(state) == [[3.0], [np.float32(3.1)]]


@pytest.mark.parametrize("name", ["run[1]", "a*b", "what?", "back\\slash"])
def test_folders_with_wildcards_in_their_names(tmp_path, name):
    state = variables()
    checkpoints = Checkpoints(tmp_path / name, state)
    fill(state, 4)
    checkpoints.save(4, {})
    fill(state, 0)
    assert checkpoints.restore()[0] == 4
    assert values(state) == [[4.0], [np.float32(4.1)]]


def test_arrays_keep_type_shape_and_order(tmp_path):
    rng = np.random.default_rng(0)
    arrays = [rng.random((2, 3), np.float32), np.arange(5), np.float64(0.1), np.zeros((0, 2))]
    arrays += [np.array(index) for index in range(12)]
    checkpoints = Checkpoints(tmp_path, variables())
    checkpoints.save(1, {}, arrays)
    _, _, restored = checkpoints.restore()
    for ours, theirs in zip(restored, arrays, strict=True):
        np.testing.assert_array_equal(ours, theirs, strict=True)


def test_every_type_of_variable_is_restored_bit_for_bit(tmp_path):
    start = {"float32": 0.1, "float64": 0.1, "int32": -7, "int64": 2**40, "bool": True}
    state = {kind: keras.Variable(value, dtype=kind) for kind, value in start.items()}
    Checkpoints(tmp_path, state).save(1, {})
    for variable in state.values():
        variable.assign(tf.zeros_like(variable))
    Checkpoints(tmp_path, state).restore()
    for kind, value in start.items():
        assert state[kind].numpy() == np.array(value, kind)


def test_keeps_the_newest_few(tmp_path):
    checkpoints = Checkpoints(tmp_path, variables(), keep=2)
    for step in (9, 10, 100, 101):
        checkpoints.save(step, {})
    assert names(checkpoints) == ["00000100", "00000101"]


def test_newest_is_by_number(tmp_path):
    checkpoints = Checkpoints(tmp_path, variables())
    for step in (99_999_999, 100_000_000):
        checkpoints.save(step, {})
    assert checkpoints.restore()[0] == 100_000_000


def test_step_that_is_saved_is_not_written_again(saved):
    fill(saved.variables, 7)
    saved.save(3, {"best": 7})
    step, extra, _ = saved.restore()
    assert (step, extra) == (3, {"best": 3})
    assert values(saved.variables)[0] == [3.0]


def test_other_files_are_left_alone(saved):
    (saved.directory / "notes.txt").touch()
    saved.save(4, {})
    assert names(saved) == ["00000002", "00000003", "00000004", "notes.txt"]


# ------------------------------------------------------------------------ writing that fails


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nothing_that_is_not_finite_is_written(saved, bad):
    value = np.ones((200, 10), np.float32)
    value[117, 3] = bad
    saved.variables["v1"].assign(value)
    with pytest.raises(NonFiniteError) as caught:
        saved.save(4, {})
    assert str(caught.value) == (
        "variable v1 is not finite after step 4; "
        f"the last good checkpoint is {saved.directory / '00000003'}"
    )
    assert names(saved) == ["00000001", "00000002", "00000003"]


def fail(*args, **kwargs):
    raise OSError(28, "No space left on device")


def fail_as_tensorflow(*args, **kwargs):
    raise tf.errors.ResourceExhaustedError(None, None, "state.tmp; No space left on device")


@pytest.mark.parametrize(
    ("where", "failure"),
    [
        pytest.param("_state.write", fail_as_tensorflow, id="variables"),
        pytest.param("np.savez", fail, id="arrays"),
        pytest.param("json.dumps", fail, id="meta"),
    ],
)
def test_full_disk_leaves_the_earlier_ones(saved, monkeypatch, where, failure):
    owner, name = where.split(".")
    owner = saved._state if owner == "_state" else getattr(module, owner)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, failure)
        with pytest.raises(OSError, match="No space left on device"):
            saved.save(4, {})
    assert names(saved) == ["00000001", "00000002", "00000003"]
    assert saved.restore()[0] == 3
    saved.save(4, {})
    assert names(saved) == ["00000002", "00000003", "00000004"]


def test_a_checkpoint_has_its_name_only_when_it_is_whole(saved, monkeypatch):
    seen, savez = [], np.savez

    def watched(*args):
        seen.extend(name for name in names(saved) if not name.startswith(".tmp-"))
        savez(*args)

    monkeypatch.setattr(module.np, "savez", watched)
    saved.save(4, {})
    assert seen == ["00000001", "00000002", "00000003"]
    assert names(saved) == ["00000002", "00000003", "00000004"]


def test_what_a_kill_left_half_written_is_removed(saved):
    half = saved.directory / ".tmp-00000004-123"
    half.mkdir()
    (half / "state.index").touch()
    assert Checkpoints(saved.directory, variables()).restore()[0] == 3
    assert not half.exists()


# ------------------------------------------------------------------------- reading that fails


def truncate(path):
    path.write_bytes(path.read_bytes()[:-20])


def garble(path):
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 8] = bytes(255 - byte for byte in content[middle : middle + 8])
    path.write_bytes(content)


FILES = ("state.index", "state.data-00000-of-00001", "arrays.npz", "meta.json")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", [truncate, garble, lambda path: path.unlink()])
def test_damaged_one_is_passed_over_with_a_warning(saved, caplog, name, damage):
    damage(saved.directory / "00000003" / name)
    fill(saved.variables, 9)
    with caplog.at_level(logging.WARNING):
        step, extra, arrays = saved.restore()
    assert (step, extra, arrays[0][0]) == (2, {"best": 2}, 2)
    assert values(saved.variables) == [[2.0], [np.float32(2.1)]]
    assert len(caplog.messages) == 1
    path = saved.directory / "00000003"
    assert caplog.messages[0].startswith(f"checkpoint {path} is damaged and passed over: ")
    assert len(caplog.messages[0].splitlines()) == 1
    assert names(saved) == ["00000001", "00000002"]


def test_two_damaged_ones(saved, caplog):
    truncate(saved.directory / "00000003" / "state.index")
    (saved.directory / "00000002" / "meta.json").write_text("[]")
    assert saved.restore()[0] == 1
    assert len(caplog.messages) == 2


def test_all_damaged_is_an_error_and_removes_nothing(saved):
    for path in saved.paths():
        truncate(path / "arrays.npz")
    with pytest.raises(CheckpointError, match=r"all 3 checkpoints in .* are damaged; remove the"):
        saved.restore()
    assert names(saved) == ["00000001", "00000002", "00000003"]


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([(3,), (200, 11)], r"it has v1 \[200, 10\] where v1 \[200, 11\] was expected"),
        ([(3,)], "it has 2 variables where 1 were expected"),
        ([(3,), (200, 10), (1,)], "it has 2 variables where 3 were expected"),
    ],
)
def test_of_another_network(saved, shapes, message):
    with pytest.raises(CheckpointError, match=f"checkpoint .*3 is of another network: {message}"):
        Checkpoints(saved.directory, variables(*shapes)).restore()
    assert names(saved) == ["00000001", "00000002", "00000003"]


def test_of_another_format(saved):
    path = saved.directory / "00000003" / "meta.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    with pytest.raises(CheckpointError, match="has format 99; this version reads 1"):
        saved.restore()
