"""The figure of robust accuracy against FLOPs."""

import json
import pathlib

import pytest

from anp_tf.errors import WorkdirError
from anp_tf.reproduce.frontier import frontier_points, frontier_table

SHIPPED = pathlib.Path(__file__).parents[2] / "saved_models" / "mnist_cpu"


def recorded(folder, flops, robust, epsilon=0.3, dataset="mnist", dense=9000):
    """A folder with the records of a network."""
    folder.mkdir()
    results = {"dataset": dataset, "epsilon": epsilon, "flops_reduction": flops}
    results |= {"sparsity_percent": 50.0, "slim_parameter_bytes": 4000}
    results["dense_parameter_bytes"] = dense
    (folder / "results.json").write_text(json.dumps(results))
    verdict = {
        "network": "abc",
        "test_examples": 200,
        "clean_accuracy": 95.0,
        "robust_accuracy": robust,
    }
    text = json.dumps({"noise, Linf, 0.3": verdict, f"standard, Linf, {epsilon:g}": verdict})
    (folder / "robustness.json").write_text(text)
    return folder


def test_the_frontier_is_what_nothing_cheaper_beats(tmp_path):
    figures = {"dense": (1, 90.0), "cut": (4, 90.0), "weak": (4, 80.5), "tiny": (9, 85.0)}
    figures |= {"large": (1, 91.5)}
    paths = {name: recorded(tmp_path / name, *each) for name, each in figures.items()}
    points = frontier_points(paths)
    assert [(point["network"], point["on_frontier"]) for point in points] == [
        ("tiny", True),
        ("cut", True),
        ("weak", False),
        ("large", True),
        ("dense", False),
    ]
    line = next(line for line in frontier_table(points).splitlines() if "weak" in line)
    assert "80.5 (74.3-85.8)" in line  # binomial test of 161 of 200


def test_networks_that_do_not_compare(tmp_path):
    paths = {
        "a": recorded(tmp_path / "a", 1, 90.0),
        "b": recorded(tmp_path / "b", 1, 90.0, epsilon=0.2),
        "c": recorded(tmp_path / "c", 1, 90.0, dataset="kmnist"),
        "large": recorded(tmp_path / "large", 1, 90.0, dense=18000),
    }
    with pytest.raises(ValueError, match=r"of the same epsilon, received {'a': 0.3, 'b': 0.2}"):
        frontier_points({name: paths[name] for name in "ab"})
    with pytest.raises(ValueError, match="of the same dataset"):
        frontier_points({name: paths[name] for name in "ac"})
    with pytest.raises(ValueError, match="of the same dense_parameter_bytes"):
        frontier_points({name: paths[name] for name in ("a", "large")})
    (paths["b"] / "robustness.json").unlink()
    with pytest.raises(WorkdirError, match=r"no result of the standard attack at epsilon 0\.2"):
        frontier_points(paths)
    (paths["a"] / "network.keras").write_text("of another network")
    with pytest.raises(WorkdirError, match="no result of the standard attack"):
        frontier_points({"a": paths["a"]})
    with pytest.raises(WorkdirError, match=r"results\.json does not exist"):
        frontier_points({"d": tmp_path / "d"})


def test_the_command(tmp_path, commands):
    networks = f"--networks=AT={SHIPPED / 'at'},ANP-VS={SHIPPED / 'anp_vs'}"
    outcome = commands.run(
        "reproduce", "--figure=frontier", f"--workdir={tmp_path / 'figure'}", networks
    )
    assert outcome.code == 0, outcome.err
    assert "ANP-VS" in outcome.out
    points = json.loads((tmp_path / "figure" / "frontier.json").read_text())
    assert [point["network"] for point in points] == ["ANP-VS", "AT"]
    assert (tmp_path / "figure" / "frontier.svg").read_text().startswith("<?xml")
