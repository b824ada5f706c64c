"""What a notebook shows of the objects of a first program."""

import pathlib
import xml.etree.ElementTree

import nbclient
import nbformat
import numpy as np
import pytest
import rich.table

from anp_tf import data
from anp_tf.attacks import FGSM, L2, NFGSM, PGD, SquarePGD, Transfer
from anp_tf.layers import BetaBernoulliDropout
from anp_tf.losses import cross_entropy
from anp_tf.models import lenet5_caffe
from anp_tf.pruning import cost, mask_summary
from anp_tf.robustness import Robustness
from anp_tf.tables import as_text

ROOT = pathlib.Path(__file__).parents[1]


def margin(logits, y):
    return cross_entropy(logits, y)


@pytest.mark.parametrize(
    ("attack", "text"),
    [
        (PGD(epsilon=0.3, step_size=0.01, steps=40), "PGD(epsilon=0.3, step_size=0.01, steps=40)"),
        (
            PGD(epsilon=2, step_size=1, steps=1, random_start=False, norm=L2(), targeted=True),
            "PGD(epsilon=2.0, step_size=1.0, steps=1, random_start=False, targeted=True, "
            "norm=L2())",
        ),
        (FGSM(epsilon=0.1, loss=margin), "FGSM(epsilon=0.1, loss=margin)"),
        (NFGSM(epsilon=0.1), "NFGSM(epsilon=0.1)"),
        (
            SquarePGD(queries=5, epsilon=0.3, step_size=0.1, steps=2),
            "SquarePGD(queries=5, epsilon=0.3, step_size=0.1, steps=2)",
        ),
        (Transfer(FGSM(epsilon=0.1), margin), "Transfer(FGSM(epsilon=0.1), margin)"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_attacks_say_what_was_asked_for(attack, text):
    assert repr(attack) == text


def test_what_else_is_one_line():
    images = np.zeros((1200, 28, 28, 1), np.uint8)
    examples = data.Examples(images, np.zeros(1200, np.int32), 10)
    assert repr(examples) == "Examples(1,200 of 28 x 28 x 1, uint8, 10 classes)"
    assert repr(Robustness(1000, 0.981, 0.9020, 0.01234)) == (
        "Robustness(1,000 examples: clean 98.10 %, adversarial 90.20 %, vulnerability 0.0123)"
    )
    costs = cost(lenet5_caffe(width_multiplier=0.1))
    assert "\n" not in repr(costs)
    assert len(repr(costs)) < 100
    for figure in (costs.flops, costs.parameters, costs.parameter_bytes):
        assert f" {figure:,} " in repr(costs)


def html_of(shown):
    """The caption, the rows of texts, and the lines below them."""
    root = xml.etree.ElementTree.fromstring(f"<div>{shown._repr_html_()}</div>")
    rows = [["".join(cell.itertext()) for cell in row] for row in root.iter("tr")]
    return root.findtext("table/caption"), rows, [note.text for note in root.findall("p")]


def test_tables_are_html():
    caption, rows, notes = html_of(Robustness(1000, 0.981, 0.9020, None))
    assert (caption, notes) == ("1,000 examples", [])
    assert rows[1:] == [
        ["clean accuracy, %", "98.10 (97.05-98.85)"],
        ["under attack, %", "90.20 (88.19-91.97)"],
    ]
    network = lenet5_caffe(lambda name: BetaBernoulliDropout(name=name), width_multiplier=0.1)
    costs = cost(network)
    _, rows, notes = html_of(costs)
    assert rows[0][:3] == ["layer", "kind", "flops"]
    assert rows[-1][2] == f"{costs.flops:,}"
    assert notes == [f"peak activation memory: {costs.peak_activation_bytes:,} bytes"]
    shown = []
    mask_summary(network, shown.append)
    caption, rows, notes = html_of(shown[0])
    assert caption == f'Masks of "{network.name}"'
    assert rows[0][4] == "min E[z]"
    assert len(rows) == 6
    assert notes[0].startswith("latent features: relu1")
    assert all(text in shown[0] for text in (caption, *notes))


def test_html_is_escaped():
    table = rich.table.Table("<a>", title="x & y", show_header=False)
    table.add_row("1 < 2")
    assert html_of(as_text(table, notes=["<b>"])) == ("x & y", [["1 < 2"]], ["<b>"])


CELLS = """\
import keras
import anp_tf
network = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(3)])
anp_tf.cost(network)
---
anp_tf.PGD(epsilon=0.3, step_size=0.01, steps=40)
---
masked = anp_tf.insert_masks(
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, "relu"), keras.layers.Dense(2)])
)
anp_tf.mask_summary(masked, print_fn=display)
"""


@pytest.mark.slow
def test_in_a_notebook(tmp_path):
    cells = [nbformat.v4.new_code_cell(text) for text in CELLS.split("---\n")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": ROOT}}).execute()
    shown = [
        [output for output in cell.outputs if output.output_type != "stream"] for cell in cells
    ]
    ((costs,), (attack,), (masks,)) = shown
    assert costs.data["text/html"].startswith("<table>")
    assert costs.data["text/plain"].startswith("Cost(1 layers, ")
    assert attack.data["text/plain"] == "PGD(epsilon=0.3, step_size=0.01, steps=40)"
    assert "<caption>Masks of" in masks.data["text/html"]
