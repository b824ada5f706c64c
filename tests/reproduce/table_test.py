"""Tables made of results, by hand."""

import json

import pytest

from anp_tf.reproduce import wang2018
from anp_tf.reproduce.plan import Run
from anp_tf.reproduce.runner import make_runs
from anp_tf.reproduce.sparsity import draw, sparsity_record
from anp_tf.reproduce.table import COLUMN_HEADS, markdown, table_record
from anp_tf.robustness import digest
from anp_tf.settings import Settings
from anp_tf.workdir import Workdir

SOURCE = "source"


def results(**figures):
    others = {"sampled_white_box_accuracy", "standard_attack_accuracy"}
    row = dict.fromkeys(set(COLUMN_HEADS) - others, 1.0)
    row |= {"seed": 0, "black_box_source": SOURCE, "test_examples": 1000}
    return {**row, **figures}


@pytest.fixture
def run(tmp_path):
    """`run(method, seed, results)`: a run, done if there are results."""

    def make_run(method, seed=0, figures=None, source=SOURCE, **changes):
        folder = tmp_path / f"{method}{seed}{len(changes)}{changes.get('beta', '')}"
        folder.mkdir()
        workdir = Workdir(folder)
        settings = Settings(method=method, seed=seed, **changes)
        workdir.begin(workdir.start(settings))
        if figures is not None:
            workdir.network.touch()
            workdir.save_results(results(seed=seed, **figures))
        workdir.log_epoch({"epoch": 1, "seconds": 10.0})
        workdir.log_epoch({"epoch": 2, "seconds": 20.5})
        return Run(method, settings, workdir, source and Workdir(source))

    return make_run


def test_means_and_deviations_over_seeds(run):
    runs = [
        run("at", 0, {"white_box_accuracy": 90.0}),
        run("at", 1, {"white_box_accuracy": 93.0}),
        run("at", 2, {"white_box_accuracy": 96.0}),
        run("anp_vs", 0, {"flops_reduction": 12.345, "white_box_accuracy": 85.7}),
        run("bp"),
    ]
    record = table_record("mnist", ["bp", "at", "anp_vs", "at_vs"], runs)
    bp, at, anp_vs, at_vs = record["rows"]
    assert at["measured"]["white_box_accuracy"] == {
        "mean": 93.0,
        "std": 3.0,
        "values": [90.0, 93.0, 96.0],
        "images": 1000,
    }
    assert at["seeds"] == [0, 1, 2]
    assert at["training_seconds"] == [30.5] * 3
    assert at["paper"]["white_box_accuracy"] == 88.03
    assert anp_vs["measured"]["flops_reduction"]["std"] is None
    assert bp["measured"] == at_vs["measured"] == {}
    assert json.loads(json.dumps(record)) == record

    _, _, head, _, *lines = markdown(record).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    head = [cell.strip() for cell in head.strip("|").split("|")]
    table = {row[0]: dict(zip(head, row, strict=True)) for row in cells}
    assert table["`at`"]["white-box, %"] == "88.03 / 93.00 ± 3.00"
    assert table["`anp_vs`"]["FLOPs, x"] == "10.57 / 12.35"
    assert table["`anp_vs`"]["white-box, %"] == "91.31 / 85.70 (83.38-87.81)"
    assert table["`bp`"]["white-box, %"] == "0.00 / -"  # not made yet: never filled in
    assert table["`at_vs`"]["white-box, %"] == "- / -"
    assert (table["`at`"]["seeds"], table["`bp`"]["seeds"]) == ("3", "-")


def test_what_the_standard_attack_leaves_is_a_column(run):
    made = run("at", 0, {})
    suite = {"robust_accuracy": 86.0, "test_examples": 500, "network": digest(made.workdir.network)}
    others = {
        "standard, Linf, 0.3": {**suite, "network": "of another one"},
        "standard, Linf, 0.31": {**suite, "robust_accuracy": 1.0},
        "standard, L2, 0.3": {**suite, "robust_accuracy": 2.0},
    }
    made.workdir.robustness.write_text(json.dumps(others))
    assert "standard attack" not in markdown(table_record("mnist", ["at"], [made]))
    made.workdir.robustness.write_text(json.dumps({**others, "standard, Linf, 0.3": suite}))
    table = markdown(table_record("mnist", ["at"], [made]))
    assert "| standard attack, % |" in table
    assert "| - / 86.00 (82.65-88.92) |" in table  # by SciPy's exact test of 430 of 500


def test_what_the_seeds_of_a_mean_do_not_share_is_said(run):
    """Two of three seeds were judged by the standard attack, on other numbers of images."""
    runs = [run("at", seed, {}) for seed in range(3)]
    for made, accuracy, images in zip(runs[:2], (86.0, 90.0), (500, 1000), strict=True):
        suite = {"robust_accuracy": accuracy, "test_examples": images}
        suite["network"] = digest(made.workdir.network)
        made.workdir.robustness.write_text(json.dumps({"standard, Linf, 0.3": suite}))
    record = table_record("mnist", ["at"], runs)
    assert record["rows"][0]["measured"]["standard_attack_accuracy"]["images"] == [500, 1000]
    assert "| - / 88.00 ± 2.83, 2 of 3 seeds, on 500 to 1,000 images |" in markdown(record)


def test_a_row_without_its_black_box_attack_is_not_done(run):
    assert run("at", 0, {}).done
    assert not run("at", 1, {"black_box_source": None}).done
    assert not run("at", 2, {"black_box_source": "another"}).done
    assert run("at", 3, {"black_box_source": None}, source=None).done


def test_a_row_attacked_from_a_source_that_has_trained_on_is_not_done(run, tmp_path):
    source = Workdir(tmp_path / "source")
    source.path.mkdir()
    source.network.write_text("a network")
    made = run("at", 0, {"black_box_source": str(source.path)}, source=source.path)
    assert made.done  # as of an earlier version, which did not write down the digest
    made.workdir.save_results({**made.workdir.load_results(), **made.black_box_source()})
    assert made.done
    source.network.write_text("another network")
    assert not made.done
    assert not run("at", 4).done


def test_only_what_is_not_done_is_made(run, monkeypatch, capsys):
    trained = []

    def train(settings, workdir):
        trained.append(settings.method)
        workdir.begin(workdir.start(settings))
        workdir.network.touch()
        return settings.method

    monkeypatch.setattr("anp_tf.reproduce.runner.train", train)
    runs = [run("standard", 0, {}), run("at"), run("trades", 0, {}), run("at_vs")]
    make_runs(runs, lambda run, network: results(clean_accuracy=len(network)))
    assert trained == ["at", "at_vs"]
    assert runs[1].workdir.load_results()["clean_accuracy"] == 2
    assert all(run.done for run in runs)
    first, second = capsys.readouterr().out.splitlines()
    # 30.5 s in the 200 epochs of `trades`: a run that had as much has nothing left.
    assert first == "running: at; left after it: at_vs; training left: about 0:00:00"
    assert second.startswith("running: at_vs; left after it: nothing")
    make_runs(runs, None)
    assert capsys.readouterr().out == ""


def test_points_of_the_sparsity_curve(run, tmp_path):
    runs = [
        run("anp_vs", 0, {"sparsity_percent": 60.0, "white_box_accuracy": 88.0}, beta=2.0),
        run("anp_vs", 0, {"sparsity_percent": 20.0, "white_box_accuracy": 90.0}, beta=1.0),
        run("admm", 0, {"weight_sparsity_percent": 80.0}, target_sparsity=0.8),
        run("anp", 0, {"sparsity_percent": 50.0}, mask_freeze_at=0.1, target_units=(4, 20)),
        run("bp"),
    ]
    points = sparsity_record(runs)
    assert [(p["method"], p["sparsity_percent"], p["sparsity_of"]) for p in points] == [
        ("anp_vs", 60.0, "units"),
        ("anp_vs", 20.0, "units"),
        ("admm", 80.0, "weights"),
        ("anp", 50.0, "units"),
    ]
    strengths = [points[0]["beta"], points[2]["target_sparsity"], points[3]["target_units"]]
    assert strengths == [2.0, 0.8, (4, 20)]
    for point in points:
        assert (point["dataset"], point["epsilon"], point["attack"]) == ("mnist", 0.3, "PGD-40")
    draw(points, tmp_path / "sparsity.svg")
    assert (tmp_path / "sparsity.svg").read_text().startswith("<?xml")


def test_table_of_wang2018(run):
    runs = wang2018.wang2018_runs("folder", Settings())
    measured = dict.fromkeys(wang2018.COLUMNS, 12.34)
    record = wang2018.wang2018_record([run("at", 0, measured, source=None), *runs[1:]])
    lines = wang2018.wang2018_markdown(record).splitlines()[4:]
    assert len(lines) == 10
    assert lines[0].startswith("| fgsm | none | 0.0 / 12.3 | 99.2 / 12.3 |")
    assert lines[1].startswith("| fgsm | weight | 96.0 / - | 99.0 / - |")
