"""The command `python -m anp_tf.benchmark`, as processes; no speed is asserted."""

import importlib.util
import json
import pathlib
import re

import keras
import numpy as np
import pytest

from anp_tf.benchmark import attack, peers
from anp_tf.benchmark.command import holds_record
from anp_tf.models import lenet5_caffe, resnet18, vgg16
from anp_tf.pruning import cost

SHIPPED = pathlib.Path(__file__).parents[1] / "saved_models" / "mnist_cpu" / "anp_vs"


@pytest.mark.slow
def test_slim(commands, tmp_path):
    flags = ["--width_multiplier=0.0625", "--repeats=1", f"--json={tmp_path / 'record.json'}"]
    outcome = commands.run("benchmark", "slim", f"--shipped={SHIPPED}", *flags)
    assert outcome.code == 0, outcome.err
    record = json.loads((tmp_path / "record.json").read_text())
    assert list(record) == ["slim"]
    record = record["slim"]
    names = ["lenet5_caffe, mnist anp_vs"]
    names += [
        f"{network}, {share} % of the units pruned{rounded}"
        for network in ("vgg16", "resnet18")
        for share in (50, 75, 90)
        for rounded in ("", ", widths rounded up to 8s")
    ]
    figures = ["dense bytes", "slimmed bytes", "FLOPs", *(f"batch {n}" for n in (1, 32, 256))]
    forms = [f"{name}, {form}" for name in names for form in ("SavedModel", "LiteRT")]
    assert set(record) == {f"{form}, {figure}" for form in forms for figure in figures}
    assert all(value > 0 for value in record.values())
    row = json.loads((SHIPPED / "results.json").read_text())
    small = f"{names[0]}, LiteRT"
    assert record[f"{small}, FLOPs"] == pytest.approx(row["flops_reduction"])
    assert record[f"{small}, dense bytes"] > 20 * record[f"{small}, slimmed bytes"]
    for build, name in ((vgg16, names[1]), (resnet18, names[7])):
        half = cost(build(width_multiplier=1 / 32)).flops  # half the units of each layer
        dense = cost(build(width_multiplier=1 / 16)).flops
        assert record[f"{name}, SavedModel, FLOPs"] == pytest.approx(dense / half, rel=0.05)
    for name in names:
        assert name in outcome.out


@pytest.mark.slow
def test_commands(commands):
    outcome = commands.run("benchmark", "commands", "--repeats=1")
    assert outcome.code == 0, outcome.err
    shown = dict(re.findall(r"^ *(\S.*?)  +([\d.]+) *$", outcome.out, re.MULTILINE))
    assert {"import anp_tf", "anp-tf train --help", "a wrong flag"} <= shown.keys()
    assert all(float(seconds) > 0 for seconds in shown.values())


@pytest.mark.slow
def test_attack(commands, tmp_path):
    flags = ["--width_multiplier=0.05", "--repeats=1", f"--json={tmp_path / 'record.json'}"]
    outcome = commands.run("benchmark", "attack", *flags, "--op_threads=1")
    assert outcome.code == 0, outcome.err
    record = json.loads((tmp_path / "record.json").read_text())["attack"]
    for case in ("lenet5_caffe, batch 128", "vgg16, batch 32"):
        assert 0 < record[f"{case}: share of the matrix product rate"] < 1
        for peer in ("plain tf.function", "ART", "foolbox"):
            rates = [record[f"{case}: {name}, images/s"] for name in ("anp_tf", peer)]
            faster = record[f"{case}: {peer}, {attack.FASTER_BY}"]
            assert faster == pytest.approx(rates[0] / rates[1])
            assert peer in outcome.out
    for package in ("cleverhans", "torch"):
        installed = importlib.util.find_spec(package) is not None
        name = {"torch": "PyTorch"}.get(package, package)
        assert (f"{name} is not installed" in outcome.out) != installed


@pytest.mark.slow
@pytest.mark.parametrize("network", ["lenet5_caffe", "wide_cnn"])
def test_training(commands, tmp_path, network):
    flags = [f"--network={network}", "--width_multiplier=0.1"]
    flags += ["--batch_size=4", "--attack_steps=2", "--repeats=1", "--mixed_precision=bfloat16"]
    flags += ["--methods=standard,at,anp_vs"]
    outcome = commands.run("benchmark", "training", *flags, f"--json={tmp_path / 'record.json'}")
    assert outcome.code == 0, outcome.err
    record = json.loads((tmp_path / "record.json").read_text())["training"]
    subjects = [
        "standard",
        "at",
        "anp_vs",
        *(f"anp_vs, {share} % pruned" for share in (50, 80, 90)),
    ]
    subjects.append("anp_vs, 80 % pruned, masks fixed")
    figures = ("{}, images/s", "{}, time, in at's")
    assert set(record) == {figure.format(name) for name in subjects for figure in figures}
    assert record["at, time, in at's"] == 1
    assert all(value > 0 for value in record.values())


@pytest.mark.slow
def test_scaling(commands, tmp_path):
    outcome = commands.run(
        "benchmark", "scaling", "--repeats=1", f"--json={tmp_path / 'record.json'}"
    )
    assert outcome.code == 0, outcome.err
    record = json.loads((tmp_path / "record.json").read_text())["scaling"]
    settings = {"steps": (5, 10, 20, 40), "batch size": (16, 32, 64, 128, 256)}
    settings |= {"width": (0.25, 0.5, 1, 2), "sparsity": (0, 0.5, 0.8, 0.9)}
    names = {f"{name} {value:g}" for name, values in settings.items() for value in values}
    assert {key.split(",")[0] for key in record} == names
    work = {name: record[f"{name}, MFLOP an image"] / 1000 for name in names}
    for name in names:
        done = work[name] * record[f"{name}, images/s"]
        assert record[f"{name}, GFLOP/s"] == pytest.approx(done)
    assert work["steps 40"] == pytest.approx(8 * work["steps 5"])
    assert work["batch size 16"] == pytest.approx(work["batch size 256"])
    assert work["sparsity 0.9"] < 0.05 * work["sparsity 0"]
    flops = cost(lenet5_caffe()).flops  # and as much for the gradient, in 20 steps
    assert work["width 1"] == pytest.approx(2 * 20 * flops / 1e9)


@pytest.mark.slow
def test_a_package_that_computes_something_else_is_not_compared(monkeypatch):
    def wrong(network, budget, x, y):
        peer = peers.plain(network, budget, x, y)
        return peers.Peer(peer.attack, peer.logits + 1)

    def far(network, budget, x, y):
        peer = peers.plain(network, budget, x, y)
        return peers.Peer(lambda: np.clip(peer.attack() + 0.1, 0, 1), peer.logits)

    for function, message in ((wrong, "other computes other logits"), (far, "leave the ball")):
        monkeypatch.setattr(attack, "PEERS", {"anp_tf": peers.ours, "other": function})
        with pytest.raises(RuntimeError, match=message):
            attack.benchmark_attack(width_multiplier=0.05, repeats=1)


@pytest.mark.parametrize("build", [lenet5_caffe, vgg16])
def test_a_network_in_pytorch(build):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from anp_tf.benchmark.torch_graph import TorchGraph, as_torch, signature_of

    network = build(width_multiplier=0.1)
    random = np.random.default_rng(0)
    for weight in network.weights:
        if weight.dtype == "float32":
            weight.assign(np.array(weight) + 0.1 * random.random(weight.shape))
    x = random.random((3, *network.input_shape[1:])).astype(np.float32)
    with torch.no_grad():
        actual = TorchGraph(signature_of(network))(as_torch(x)).numpy()
    expected = np.array(network(x, training=False))
    np.testing.assert_allclose(actual, expected, atol=1e-4 * np.abs(expected).max())
    pixels = keras.Input(network.input_shape[1:])
    network = keras.Model(pixels, keras.layers.Activation("tanh")(pixels))
    with pytest.raises(ValueError, match="of a kind not known here: Tanh"):
        TorchGraph(signature_of(network))(as_torch(x))


def test_files_of_ones_own_are_not_overwritten(commands, tmp_path):
    path = tmp_path / "mine.json"
    path.write_text('{"mine": 1}')
    outcome = commands.run("benchmark", "commands", "--repeats=1", f"--json={path}")
    assert outcome.code == 2
    assert "--json: expected a new file, or one that this command wrote" in outcome.err
    assert path.read_text() == '{"mine": 1}'
    path.write_text('{"commands": {"a wrong flag, seconds": 0.1}}')
    assert holds_record(path)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["smile"],
            "unexpected argument 'smile'; flags start with --, subjects are agreement, attack, "
            "training, networks, scaling, slim, verdict, commands",
        ),
        (["agreement"], "agreement needs --shipped, the folder of an exported network"),
        (["slim", "--repeats=0"], "--repeats: expected a value above 0, received 0"),
        (["attack", "--op_threads=-1"], "--op_threads: expected a value at least 0, received -1"),
        (
            ["attack", "--networks=vgg"],
            "--networks: expected some of lenet5_caffe, vgg16",
        ),
        (["training", "--methods=anp"], "--methods: expected at and others of standard, bp, at,"),
        (
            ["training", "--network=vgg"],
            "received 'vgg'; did you mean vgg16?",
        ),
        (
            ["training", "--mixed_precision=half"],
            "--mixed_precision: expected none or bfloat16, received 'half'",
        ),
        (["slim", "--shipped=nowhere"], "--shipped: expected a place that exists"),
    ],
)
def test_bad_values(commands, flags, message):
    outcome = commands.run("benchmark", *flags)
    assert outcome.code == 2
    assert len(outcome.err.splitlines()) == 1
    assert message in outcome.err
