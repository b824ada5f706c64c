"""Model cards and what is released with them."""

import json
import shlex
import shutil

import pytest

from anp_tf.release import model_card, release
from anp_tf.settings import Settings
from anp_tf.workdir import Workdir


def test_release(finished, tmp_path):
    workdir = Workdir(shutil.copytree(finished.path / "anp_vs", tmp_path / "run"))
    path = release(workdir, tmp_path / "served")
    assert path == tmp_path / "served" / "1"
    assert (path / "saved_model.pb").is_file()
    row = json.loads((tmp_path / "served" / "results.json").read_text())
    assert row == workdir.load_results()
    card = (tmp_path / "served" / "README.md").read_text()
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    assert f"SavedModel of {size:,} bytes" in card
    lines = [line for line in card.splitlines() if line.startswith("| ") and line != "| | |"]
    figures = dict(line.strip("| ").split(" | ") for line in lines)
    assert figures["clean accuracy, %"] == f"{row['clean_accuracy']:.4g}"
    assert figures["units pruned, %"] == f"{row['sparsity_percent']:.4g}"
    assert figures["parameter bytes"] == f"{row['slim_parameter_bytes']:,}"
    assert figures["latency, batch 1, ms"] == f"{row['latency_milliseconds']['1']['slim']:.3g}"
    assert "black-box accuracy, %" not in figures  # it was not measured
    release(workdir, tmp_path / "served")
    assert (tmp_path / "served" / "2").is_dir()


def test_the_cards_command_repeats_the_run():
    settings = Settings(init_from="a folder/of mine", epsilon=0.2, method="anp", seed=5)
    card = model_card(settings, None, 1000)
    assert "not evaluated" in card
    command = card.split("```sh\n")[1].split("```")[0].replace("\\\n", "")
    _, _, module, workdir, *flags = shlex.split(command)
    assert (module, workdir) == ("anp_tf.train", "--workdir=WORKDIR")
    assert Settings.from_flag_lines(flags) == settings


def test_data_dir_is_not_in_the_card():
    card = model_card(Settings(data_dir="/private"), None, 1)
    assert "private" not in card


@pytest.mark.parametrize("drawn", [None, 77.5])
def test_drawn_weights_are_in_the_card_where_measured(finished, drawn):
    row = Workdir(finished.path / "anp_vs").load_results()
    if drawn is not None:
        row["sampled_white_box_accuracy"] = drawn
    card = model_card(Settings(), row, 1)
    assert ("drawn weights, % | 77.5 |" in card) == (drawn is not None)
