"""The figure of what is proved and of what attacks leave."""

import json

import keras
import numpy as np
import pytest

from anp_tf import data
from anp_tf.progress import silent
from anp_tf.reproduce import proved
from anp_tf.robustness import from_network
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
    named = proved.named_paths(["runs/at", "best=runs/anp=vs/network.keras", "x/y.keras", "run.1"])
    assert {name: str(path) for name, path in named.items()} == {
        "at": "runs/at",
        "best": "runs/anp=vs/network.keras",
        "y": "x/y.keras",
        "run.1": "run.1",
    }
    for texts in ([], ["runs/at", "at=other"], ["a/b=runs/at"], ["=runs/at"], ["..=runs/at"]):
        with pytest.raises(ValueError, match="networks: expected"):
            proved.named_paths(texts)


def test_paths_with_an_equals_sign(tmp_path, monkeypatch):
    """They need no name if they are there, and could have no name before that sign."""
    monkeypatch.chdir(tmp_path)
    for path in ("runs/lr=0.1/net.keras", "lr=1", "a=b", "b"):
        (tmp_path / path).mkdir(parents=True)
    named = proved.named_paths(["runs/lr=0.1/net.keras", "lr=1", "a=b", "c=runs/lr=0.1"])
    assert {name: str(path) for name, path in named.items()} == {
        "net": "runs/lr=0.1/net.keras",
        "lr=1": "lr=1",
        "a": "b",
        "c": "runs/lr=0.1",
    }


def network_of(seed):
    random = np.random.default_rng(seed)
    layers = [keras.Input((28, 28, 1)), keras.layers.Flatten()]
    layers += [keras.layers.Dense(6, activation="relu"), keras.layers.Dense(10)]
    network = keras.Sequential(layers)
    network.set_weights([random.normal(0, 0.1, weight.shape) for weight in network.weights])
    return network


def no_progress(title, total):
    raise AssertionError(f"{title} is made again")


@pytest.mark.slow
def test_points_are_made_once(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (30, 28, 28, 1), np.uint8)
    network = network_of(1)
    labels = np.argmax(network(images / np.float32(255)), -1).astype(np.int32)
    examples = data.Examples(images, labels, 10)
    candidates = {"a network": from_network(network, examples, digest="a network")}
    made = []

    def counter(title, total):
        made.append(title)
        return silent(title, total)

    arguments = (tmp_path, 0, ["fgsm"], ["interval", "crown"])
    first = proved.make_points(candidates, [0.005], *arguments, counter=counter)
    assert made == ["a network  ε 0.005  fgsm", "a network  ε 0.005  proofs"]
    again = proved.make_points(candidates, [0.005], *arguments, counter=no_progress)
    assert again == first == json.loads((tmp_path / "proved.json").read_text())
    stranger = {**first[0], "network": "of an earlier call"}
    (tmp_path / "proved.json").write_text(json.dumps([stranger, *first]))
    narrow, wide = proved.make_points(candidates, [0.05, 0.005], *arguments)
    kept = json.loads((tmp_path / "proved.json").read_text())
    assert kept == [narrow, wide, stranger]
    assert (narrow["epsilon"], wide["epsilon"]) == (0.005, 0.05)
    for each in (narrow, wide):
        assert each["parameters"] == 784 * 6 + 6 + 60 + 10
        assert each["sparsity_percent"] is None
        assert each["clean"] == 100
        assert each["proved"] == round(100 * each["outcomes"].count("p") / 30, 4)
        assert sum(each["proved_by"].values()) <= each["outcomes"].count("p")
    assert 100 > narrow["attacked"] >= narrow["proved"] > wide["proved"]
    assert narrow["attacked"] > wide["attacked"] >= wide["proved"]
    shown = f"{narrow['proved']:.1f}-{narrow['attacked']:.1f}"
    assert shown in proved.points_table([narrow, wide])

    with pytest.raises(ValueError, match=r"it is known how many units .*; received a network"):
        proved.check_sparsities(candidates)
    known = [{**each, "sparsity_percent": 80.0} for each in (narrow, wide)]
    proved.draw_by_sparsity(known, tmp_path / "sparsity.svg")
    assert (tmp_path / "sparsity.svg").read_text().startswith("<?xml")


@pytest.mark.slow
def test_the_command(tmp_path, data_dir, commands):
    """A `.keras` file, then beside it a workdir of a network without masks."""
    network_of(0).save(tmp_path / "file.keras")
    workdir = Workdir(tmp_path / "run")
    workdir.begin(workdir.start(Settings(method="standard", data_dir=str(data_dir))))
    workdir.save_network(network_of(1))
    figure = tmp_path / "figure"
    flags = ["--figure=proved", f"--workdir={figure}", "--attacks=fgsm", "--epsilons=0.02,1/255"]
    flags += ["--limit_test_examples=60", "--proofs=interval,crown", "--proof_minutes=1"]
    networks = [f"one={tmp_path / 'file.keras'}", str(workdir.path)]
    outcome = commands.run("reproduce", *flags, f"--networks={networks[0]}")
    assert outcome.code == 0, outcome.err
    assert "one  ε 0.02  proofs  60 in" in outcome.out
    outcome = commands.run("reproduce", *flags, f"--networks={','.join(networks)}")
    assert outcome.code == 0, outcome.err
    assert "one  ε" not in outcome.out  # it is not made again
    assert str(figure / "proved.svg") in outcome.out
    assert (figure / "proved.svg").read_text().startswith("<?xml")
    points = json.loads((figure / "proved.json").read_text())
    assert [(each["network"], each["epsilon"], each["sparsity_percent"]) for each in points] == [
        ("one", 1 / 255, None),
        ("one", 0.02, None),
        ("run", 1 / 255, 0.0),
        ("run", 0.02, 0.0),
    ]


def test_sparsities_that_are_not_known_are_told_before_the_attacks(
    commands, tmp_path, small_data_dir
):
    network_of(0).save(tmp_path / "file.keras")
    flags = [f"--networks={tmp_path / 'file.keras'}", f"--data_dir={small_data_dir}"]
    outcome = commands.run(
        "reproduce", "--figure=proved_sparsity", f"--workdir={tmp_path / 'figure'}", *flags
    )
    assert outcome.code == 2
    assert "--networks: expected networks of which it is known" in outcome.err
    assert not (tmp_path / "figure").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--figure=sparsity", "--networks=a"], "--networks: expected together with --figure="),
        (["--figure=proved"], "--networks: expected workdirs or .keras files, received none"),
        (["--figure=proved", "--networks=a", "--epsilons=x"], "--epsilons: expected numbers"),
        (["--figure=proved", "--networks=a", "--epsilons="], "--epsilons: expected at least one"),
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
