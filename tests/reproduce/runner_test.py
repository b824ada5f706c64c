"""Rows of a table."""

import json

import numpy as np
import pytest

from anp_tf import data
from anp_tf.models import lenet5_caffe
from anp_tf.reproduce import runner
from anp_tf.reproduce.plan import table_runs
from anp_tf.settings import Settings
from anp_tf.train.prepare import digests_of_others

WIDTH = 0.1


@pytest.fixture
def examples(monkeypatch):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (20, 28, 28, 1), np.uint8)
    examples = data.Examples(images, rng.integers(0, 10, 20).astype(np.int32), 10)
    monkeypatch.setattr(runner, "test_examples_of", lambda workdir, settings: examples)
    return examples


@pytest.mark.slow
def test_black_box_images_are_made_once_a_seed(examples, monkeypatch, tmp_path):
    settings = Settings(width_multiplier=WIDTH, eval_attack_steps=2)
    source, *runs = table_runs(tmp_path, settings, ["standard", "at"], 2)
    source.workdir.begin(source.workdir.start(source.settings))
    source.workdir.save_network(lenet5_caffe(width_multiplier=WIDTH))
    made = []

    def images(settings, *arguments):
        made.append(settings.seed)
        return black_box_images(settings, *arguments)

    black_box_images = runner.black_box_images
    monkeypatch.setattr(runner, "black_box_images", images)
    row = runner.row_maker()
    network = lenet5_caffe(width_multiplier=WIDTH)
    measured = [row(run, network) for run in runs]
    assert made == [0, 1]
    assert [results["method"] for results in measured] == ["standard", "at"] * 2
    vulnerability = [results["black_box_vulnerability"] for results in measured]
    assert vulnerability[0] == vulnerability[1] != vulnerability[2] == vulnerability[3]
    assert measured[0]["black_box_source"] == str(tmp_path / "source")


def test_a_row_that_started_from_another_network_is_told(tmp_path, caplog):
    _, standard, row = runs = table_runs(tmp_path, Settings(), ["pretrained_at"], 1)
    assert [run.name for run in runs[1:]] == ["seed0/standard", "seed0/pretrained_at"]
    for run in runs:
        run.workdir.begin(run.workdir.start(run.settings))
        run.workdir.network.write_bytes(b"a network")
    row.workdir.origin.write_text(json.dumps(digests_of_others(row.settings)))
    row.workdir.results.write_text(json.dumps(row.black_box_source()))
    runner.make_runs(runs, None)
    assert not caplog.records
    standard.workdir.network.write_bytes(b"trained on")
    runner.make_runs(runs, None)
    (told,) = caplog.records
    message = told.getMessage()
    assert message.startswith("seed0/pretrained_at is of another network init_from=")
    assert "seed0/standard than is there now" in message
    standard.workdir.network.unlink()
    assert not digests_of_others(row.settings)  # of what is gone
