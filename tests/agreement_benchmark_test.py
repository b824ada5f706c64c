"""`benchmark agreement`: rows that are kept, judged on all images, and their table."""

import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from anp_tf.benchmark import agreement, verdict
from anp_tf.benchmark.agreement import Agreement, AgreementRow
from anp_tf.robustness import NORMS

SHIPPED = pathlib.Path(__file__).parents[1] / "saved_models" / "mnist_cpu" / "standard"


def test_rows(small_data_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(small_data_dir))
    made = []

    def package(problem, seed):
        def same(which):
            return problem.x[which]

        def grey(which):
            made.append((seed, len(which)))
            return 0 * same(which) + 0.5

        return {"none": same, "grey": grey, "same": same}

    def missing(problem, seed):
        raise ImportError("no such package")

    monkeypatch.setattr(agreement, "PACKAGES", {"one": package, "other": missing})
    path, said = tmp_path / "rows.json", []
    arguments = {"images": 40, "path": path, "progress": said.append}
    rows = agreement.benchmark_agreement(SHIPPED, **arguments).rows
    assert [(row.attack, row.seed) for row in rows] == [
        (attack, seed) for seed in (0, 1) for attack in ("none", "grey", "same")
    ]
    assert len(rows[0].left) > 35
    assert rows[1].percent() < 50
    assert rows[2].left == rows[0].left  # on all images, not on those that grey left
    assert made == [(seed, len(rows[0].left)) for seed in (0, 1)]
    assert "other is not installed (no such package)" in said
    assert agreement.benchmark_agreement(SHIPPED, **arguments).rows == rows
    path.write_text(json.dumps(json.loads(path.read_text())[1:]))
    again = agreement.benchmark_agreement(SHIPPED, **arguments).rows
    assert [row.left for row in again] == [row.left for row in rows]
    assert len(made) == 2  # none were made again


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the import of foolbox
@pytest.mark.parametrize("norm", ["Linf", "L2"])
@pytest.mark.parametrize("package", ["ART", "foolbox"])
def test_packages(data_dir, package, norm):
    """They move pixels to the edge of the ball, in [0, 1], and a seed gives the same images."""
    problem = verdict.problem_of(SHIPPED, 8, norm, 0.5)
    which = np.array([1, 2, 5])
    pgd = {seed: agreement.PACKAGES[package](problem, seed) for seed in (0, 1)}
    found, again, other = (pgd[seed][agreement.PLAIN_PGD](which) for seed in (0, 0, 1))
    moved = tf.constant(found - problem.x[which])
    np.testing.assert_allclose(NORMS[norm]().lengths(moved), 0.5, atol=0.1)
    assert found.min() >= 0
    assert found.max() <= 1
    np.testing.assert_allclose(again, found, atol=1e-6)
    assert np.abs(other - found).max() > 0.01


def test_table():
    def row(package, attack, seed, left):
        return AgreementRow("net", "L2", 0.5, 8, package, attack, seed, 1.0, left)

    rows = [
        row("a", "none", 0, [0, 1, 2]),
        row("a", "x", 0, [0, 1]),
        row("a", "square", 0, [1, 2]),
        row("a", "pgd", 0, []),
        row("a", "x", 1, [0]),
        row("a", "square", 1, [2]),
        row("b", "pgd", 0, [2]),
    ]
    lines = Agreement(rows).table().splitlines()
    assert lines[0] == "net, 8 images, L2, ε = 0.5: robust accuracy, %"
    assert lines[2:] == [
        "|  | a | b |",
        "|---|---:|---:|",
        "| none | 37.5 |  |",
        "| x | 25.0 and 12.5 |  |",
        "| square | 25.0 and 12.5 |  |",
        "| pgd | 0.0 | 12.5 |",
        "| all but pgd | 12.5 and 0.0 |  |",
    ]
    assert Agreement(rows).record()["b, pgd, seed 0"] == 12.5
