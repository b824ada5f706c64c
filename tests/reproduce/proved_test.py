"""The figure of what is proved and of what attacks leave."""

import json

import keras
import numpy as np
import pytest

from anp_tf.reproduce import proved
from anp_tf.settings import Settings
from anp_tf.workdir import Workdir


def point(epsilon, outcomes, network="a", **others):
    return {"network": network, "epsilon": epsilon, "outcomes": outcomes, **others}


def test_what_is_known_in_one_ball_is_used_in_the_others():
    points = [point(0.2, "opob"), point(0.1, "pobo"), point(0.3, "oooo"), point(0.1, "oopo", "b")]
    found = proved.consistent(points)
    assert [(each["network"], each["epsilon"]) for each in found] == [
        ("a", 0.2),
        ("a", 0.1),
        ("a", 0.3),
        ("b", 0.1),
    ]
    assert [each["outcomes"] for each in found] == ["opbb", "ppbo", "oobb", "oopo"]
    assert [each["proved"] for each in found] == [25, 50, 0, 25]
    assert [each["attacked"] for each in found] == [50, 75, 50, 100]
    assert proved.consistent(found) == found


@pytest.mark.parametrize("epsilon", [0.1, 0.2])
def test_proved_and_broken_is_an_error(epsilon):
    points = [point(0.2, "oop"), point(epsilon, "oob")]
    with pytest.raises(RuntimeError, match=r"Image 2 is both proved and broken for a and epsilon"):
        proved.consistent(points)
    assert proved.consistent([point(0.2, "oop"), point(0.3, "oob")])


def test_names_of_networks():
    named = proved.named_paths(["runs/at", "best=runs/anp=vs/network.keras", "x/y.keras"])
    assert {name: str(path) for name, path in named.items()} == {
        "at": "runs/at",
        "best": "runs/anp=vs/network.keras",
        "y": "x/y.keras",
    }
    for texts in ([], ["runs/at", "at=other"], ["a/b=runs/at"], ["=runs/at"]):
        with pytest.raises(ValueError, match="networks: expected"):
            proved.named_paths(texts)


def network_of(seed):
    random = np.random.default_rng(seed)
    layers = [keras.Input((28, 28, 1)), keras.layers.Flatten()]
    layers += [keras.layers.Dense(6, activation="relu"), keras.layers.Dense(10)]
    network = keras.Sequential(layers)
    network.set_weights([random.normal(0, 0.1, weight.shape) for weight in network.weights])
    return network


@pytest.fixture
def folder(tmp_path, data_dir):
    """A `.keras` file, and a workdir of a network without masks."""
    network_of(0).save(tmp_path / "file.keras")
    workdir = Workdir(tmp_path / "run")
    workdir.open(Settings(method="standard", data_dir=str(data_dir)))
    workdir.save_network(network_of(1))
    return tmp_path


def test_the_command(folder, commands):
    flags = ["--figure=proved", f"--workdir={folder / 'figure'}", "--attacks=fgsm"]
    flags += ["--limit_test_examples=60", "--proofs=interval,crown", "--proof_minutes=1"]
    one = f"--networks=one={folder / 'file.keras'}"
    outcome = commands.run("reproduce", *flags, one, "--epsilons=0.02")
    assert outcome.code == 0, outcome.err
    assert "one  ε 0.02  proofs  60 in" in outcome.out
    first = json.loads((folder / "figure" / "proved.json").read_text())
    both = f"{one},{folder / 'run'}"
    outcome = commands.run("reproduce", *flags, both, "--epsilons=0.02,1/255")
    assert outcome.code == 0, outcome.err
    assert "one  ε 0.02 " not in outcome.out  # it is not made again
    assert str(folder / "figure" / "proved.svg") in outcome.out
    assert (folder / "figure" / "proved.svg").read_text().startswith("<?xml")
    points = json.loads((folder / "figure" / "proved.json").read_text())
    assert [(each["network"], each["epsilon"]) for each in points] == [
        (name, epsilon) for name in ("one", "run") for epsilon in (1 / 255, 0.02)
    ]
    assert [each["sparsity_percent"] for each in points] == [None, None, 0.0, 0.0]
    for each in points:
        assert each["parameters"] == 784 * 6 + 6 + 60 + 10
        assert each["proved"] == pytest.approx(100 * each["outcomes"].count("p") / 60, abs=1e-3)
        assert each["proved"] <= each["attacked"] <= each["clean"] + 1e-3
        assert sum(each["proved_by"].values()) <= each["outcomes"].count("p")
    for wide, narrow in (points[1::-1], points[3:1:-1]):
        assert wide["proved"] <= narrow["proved"]
        assert wide["attacked"] <= narrow["attacked"]
    assert sum(each["proved"] for each in points) > 0
    assert points[1]["proof_seconds"] == first[0]["proof_seconds"]

    with pytest.raises(ValueError, match="expected networks of which it is known how many units"):
        proved.draw_by_sparsity(points, folder / "sparsity.svg")
    proved.draw_by_sparsity(points[2:], folder / "sparsity.svg")
    assert (folder / "sparsity.svg").read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--figure=sparsity", "--networks=a"], "--networks: expected together with --figure="),
        (["--figure=proved"], "--networks: expected workdirs or .keras files, received none"),
        (["--figure=proved", "--networks=a", "--epsilons=x"], "--epsilons: expected numbers"),
        (["--figure=proved", "--networks=a", "--proofs=magic"], "--proofs: expected one of"),
        (["--figure=proved", "--networks=a", "--attacks=pdg"], "did you mean pgd?"),
        (["--figure=proved", "--networks=a", "--proof_minutes=0"], "--proof_minutes: expected a"),
        (["--figure=proved", "--networks=nowhere"], "nowhere"),
    ],
)
def test_errors(commands, tmp_path, flags, message):
    outcome = commands.run("reproduce", f"--workdir={tmp_path / 'figure'}", *flags)
    assert outcome.code == 2
    (line,) = outcome.err.splitlines()
    assert message in line
    assert not (tmp_path / "figure").exists()
