"""Rows of a table."""

import numpy as np
import pytest

from anp_tf import data
from anp_tf.models import lenet5_caffe
from anp_tf.reproduce import runner
from anp_tf.reproduce.plan import table_runs
from anp_tf.settings import Settings

WIDTH = 0.1


@pytest.fixture
def examples(monkeypatch):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (20, 28, 28, 1), np.uint8)
    examples = data.Examples(images, rng.integers(0, 10, 20).astype(np.int32), 10)
    monkeypatch.setattr(runner, "test_examples", lambda settings: examples)
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
