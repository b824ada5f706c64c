"""Whether data are those of a run."""

import json

import numpy as np
import pytest

from anp_tf import data
from anp_tf.errors import OtherRunError, WorkdirError
from anp_tf.robustness import test_examples_of as examples_of
from anp_tf.run_data import check_test_data, moved_to
from anp_tf.settings import Settings
from anp_tf.workdir import Workdir


def images(labels, names=("cat", "dog")):
    return data.from_arrays(np.zeros((len(labels), 3, 3)), labels, class_names=names)


@pytest.fixture
def workdir(tmp_path):
    """A run that began with two classes."""
    workdir = Workdir(tmp_path / "run")
    workdir.begin(workdir.start(Settings()))
    workdir.origin.write_text(json.dumps({"training_examples": 4, "data": "aa"}))
    workdir.describe(images([0, 1]))
    return workdir


def test_the_classes_are_those_of_the_training(workdir):
    check_test_data(workdir, images([0, 1, 1]), divided=False)
    check_test_data(workdir, images([1, 0]), divided=False)  # another test part
    with pytest.raises(OtherRunError, match=r"run is of other data: the test part has other class"):
        check_test_data(workdir, images([0, 1], ("ape", "cat")), divided=False)


def test_what_was_set_aside_for_testing_stays(workdir):
    """Of a set without a test part, others may have been training examples."""
    for _ in range(2):
        check_test_data(workdir, images([0, 1, 1]), divided=True)
    with pytest.raises(OtherRunError, match="the test part has other examples than when"):
        check_test_data(workdir, images([0, 1, 0]), divided=True)
    assert json.loads(workdir.origin.read_text())["training_examples"] == 4


def test_a_folder_that_is_only_read_has_no_record(workdir, monkeypatch):
    def refused(path, content):
        raise PermissionError(path)

    monkeypatch.setattr("anp_tf.run_data.write_json", refused)
    check_test_data(workdir, images([0, 1, 1]), divided=True)


def test_columns_have_the_ranges_of_the_training(workdir, tmp_path):
    table = tmp_path / "t.csv"
    rows = [f"{x / 8},{x % 2}" for x in range(40)]
    table.write_text("\n".join(["a,label", *rows]))
    workdir.describe(data.load(table, "train"))
    workdir.labels.unlink()
    settings = Settings(dataset=str(table), limit_test_examples=3)
    assert len(examples_of(workdir, settings)) == 3
    table.write_text("\n".join(["a,label", *rows, "10,1", "-3,0", "11,0", "12,1"]))
    with pytest.raises(OtherRunError, match="the test part has other columns than when"):
        examples_of(workdir, settings)


def test_data_that_are_gone(workdir, tmp_path, monkeypatch):
    monkeypatch.setattr("anp_tf.run_config.is_gone", lambda place: not (tmp_path / place).exists())
    settings = Settings(dataset=str(tmp_path / "pics"))
    with pytest.raises(
        WorkdirError, match=r"not at .*pics any more: expected --dataset, their new"
    ):
        examples_of(workdir, settings)
    place = str(tmp_path / "new" / "pics")
    assert moved_to(workdir, settings, place).dataset == place
    with pytest.raises(WorkdirError, match=r"^dataset: expected the new place of .*pics.*which is"):
        moved_to(workdir, settings, str(tmp_path / "new" / "others"))
    (tmp_path / "pics").mkdir()
    with pytest.raises(WorkdirError, match=r"received .*new/pics; on other data judge --model=.*"):
        moved_to(workdir, settings, place)


def test_sets_that_are_divided(tmp_path):
    for name in ("pics/cat", "parts/train", "set"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "set" / "dataset_info.json").touch()
    paths = {name: tmp_path / name for name in ("pics", "t.csv", "parts", "set", "a.npz")}
    divided = {name for name, path in paths.items() if data.is_divided(path)}
    assert divided == {"pics", "t.csv"}
    assert not data.is_divided("mnist")
