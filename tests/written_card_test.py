"""Model cards of earlier releases: what is read from them and changed in them."""

import json
import pathlib
import re
import shutil

import pytest

from anp_tf.export.card import model_card
from anp_tf.export.release import add_micro
from anp_tf.export.written_card import data_settings, lines_on_files, renew_card
from anp_tf.robustness import digest
from anp_tf.settings import Settings
from anp_tf.workdir import WorkdirError

SHIPPED = pathlib.Path(__file__).parents[1] / "saved_models" / "mnist_cpu" / "anp_vs"


def test_a_card_says_what_the_verdicts_beside_it_say(tmp_path):
    folder = shutil.copytree(SHIPPED, tmp_path / "anp_vs")
    before = (folder / "README.md").read_text()
    assert renew_card(folder).read_text() == before  # the shipped card is of its verdicts

    judged = json.loads((folder / "robustness.json").read_text())
    (result,) = judged.values()
    result["clean_accuracy"] = 12.3
    (folder / "robustness.json").write_text(json.dumps(judged))
    (folder / "checks.json").unlink()
    file = folder / "1.micro" / "network.tflite"
    of_file = {"standard": {**result, "network": digest(file), "clean_accuracy": 45.6}}
    (folder / "1.micro" / "robustness.json").write_text(json.dumps(of_file))
    after = renew_card(folder).read_text()
    shown = re.findall(r"\| none \| \| ([\d.]+) ", after)
    assert shown == ["12.30", "45.60"]
    assert "Of the file in `1.micro`:\n\nWorst case" in after
    assert "Checks of" not in after
    assert [text.split("Worst case")[0] for text in (after, before)] == [
        before.split("Worst case")[0]
    ] * 2
    assert after.split("Trained by")[1] == before.split("Trained by")[1]
    assert renew_card(folder).read_text() == after

    file.write_bytes(b"another file")
    assert "Of the file" not in renew_card(folder).read_text()


def test_a_card_keeps_what_is_proved(tmp_path):
    folder = shutil.copytree(SHIPPED.parents[1] / "mnist_proved", tmp_path / "proved")
    before = (folder / "README.md").read_text()
    assert "Proved (`--prove`)" in before
    assert renew_card(folder).read_text() == before
    assert "Of the file `1.int8.tflite`:" in before
    (folder / "certificate.json").unlink()
    (folder / "1.int8.tflite").unlink()
    after = renew_card(folder).read_text()
    assert "Proved (`--prove`)" not in after
    assert "Of the file" not in after


def test_lines_on_files_that_are_there(tmp_path):
    folder = shutil.copytree(SHIPPED, tmp_path / "anp_vs")
    rows, below = lines_on_files(folder, 1)
    assert rows == ["| `1` | 194,015 |  |  |", "| `1.micro` | 18,536 |  |  |"]
    assert below[0].startswith("`1.micro` is for microcontrollers")
    assert below[1].startswith("Made by `python -m anp_tf.export")
    assert below[2:] == [""]
    assert lines_on_files(folder, 2) == ([], [])
    shutil.rmtree(folder / "1.micro")
    assert lines_on_files(folder, 1) == (rows[:1], [])
    (folder / "README.md").unlink()
    assert lines_on_files(folder, 1) == ([], [])


@pytest.mark.parametrize("dataset", ["pets", "../pets", "pets.npz"])
def test_data_that_are_not_there(dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = shutil.copytree(SHIPPED, tmp_path / "anp_vs", ignore=lambda *_: ["1.micro"])
    card = folder / "README.md"
    card.write_text(card.read_text().replace("--dataset=mnist", f"--dataset={dataset}"))
    before = card.read_text()
    with pytest.raises(WorkdirError, match=rf"{dataset}.*README.md names the data, by a path from"):
        add_micro(folder)
    assert not (folder / "1.micro").exists()
    assert card.read_text() == before


def test_a_newer_version_without_a_saved_model(tmp_path):
    folder = shutil.copytree(SHIPPED, tmp_path / "anp_vs", ignore=lambda *_: ["1.micro"])
    (folder / "2.onnx").touch()
    before = (folder / "README.md").read_text()
    with pytest.raises(WorkdirError, match=r"no SavedModel of its newest version, whose data READ"):
        add_micro(folder)
    assert not list(folder.glob("*.micro"))
    assert (folder / "README.md").read_text() == before


NOT_CARDS = {
    "none": None,
    "no table": "# A network\n\nTrained by\n\n```sh\npython -m anp_tf.train --dataset=mnist\n```\n",
    "no command": "# A network\n\n| file |\n|---|\n| `1` |\n",
}


@pytest.mark.parametrize("kind", NOT_CARDS)
@pytest.mark.parametrize("change", [renew_card, add_micro])
def test_what_is_no_card_is_not_changed(kind, change, tmp_path):
    folder = shutil.copytree(
        SHIPPED, tmp_path / "anp_vs", ignore=lambda *_: ["1.micro", "README.md"]
    )
    if NOT_CARDS[kind]:
        (folder / "README.md").write_text(NOT_CARDS[kind])
    before = sorted(folder.rglob("*"))
    with pytest.raises(WorkdirError, match=r"no README.md of a network"):
        change(folder)
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("place", ["robustness.json", "1.micro/robustness.json", "checks.json"])
def test_damaged_verdicts_are_named(place, tmp_path):
    folder = shutil.copytree(SHIPPED, tmp_path / "anp_vs")
    before = (folder / "README.md").read_text()
    (folder / place).write_text('{"a": {}}')
    with pytest.raises(WorkdirError, match=rf"{place} is damaged; remove it: expected a dict with"):
        renew_card(folder)
    assert (folder / "README.md").read_text() == before


def test_a_card_says_how_the_data_are_read(tmp_path):
    options = {"dataset": "my pictures/pets", "image_size": (8.0, 6.0), "test_share": 0.3}
    card = tmp_path / "README.md"
    card.write_text(model_card(Settings(**options, method="at", label_key="kind"), None, []))
    expected = Settings(**options, label_key="kind", data_dir="there")
    assert data_settings(tmp_path, "there") == expected
    card.write_text(card.read_text().replace("--dataset", "--data"))
    with pytest.raises(WorkdirError, match=r"README.md does not say what data the network is of"):
        data_settings(tmp_path)
