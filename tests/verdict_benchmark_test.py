"""`benchmark verdict`: the same network in PyTorch, and how the figures are put together."""

import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from anp_tf.attacks import FGSM, Noise
from anp_tf.benchmark import verdict
from anp_tf.benchmark.verdict import Stage

SHIPPED = pathlib.Path(__file__).parents[1] / "saved_models"


@pytest.mark.parametrize("name", ["mnist_cpu/anp_vs", "cifar10_cpu/anp_vs"])
def test_a_saved_model_in_pytorch(name):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from anp_tf.benchmark.torch_graph import TorchGraph, as_torch

    served = tf.saved_model.load(str(SHIPPED / name / "1"))
    signature = served.signatures["serving_default"]
    shape = signature.structured_input_signature[1]["pixels"].shape[1:]
    x = np.random.default_rng(0).random((5, *shape), np.float32)
    expected = signature(pixels=tf.constant(x))["logits"].numpy()
    logits = TorchGraph(signature)(as_torch(x)).detach().numpy()
    np.testing.assert_allclose(logits, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.slow
def test_stages(data_dir, monkeypatch):
    def attacks(epsilon, classes, norm):
        return {"fgsm": FGSM(epsilon=0.5), "noise": Noise(epsilon=0.01)}

    def missing(*problem):
        raise ImportError("no such package")

    monkeypatch.setattr(verdict, "standard_attack", attacks)
    monkeypatch.setattr(verdict, "PACKAGES", {"anp_tf": verdict.ours, "AutoAttack": missing})
    said = []
    network = SHIPPED / "mnist_cpu" / "standard"
    stages = verdict.benchmark_verdict(network, 40, progress=said.append)
    assert [stage.attack for stage in stages] == ["none", "fgsm", "noise"]
    none, fgsm, noise = (stage.robust_accuracy for stage in stages)
    assert none > 90 > 60 > fgsm
    assert noise == fgsm  # of the images that were left
    assert "AutoAttack is not installed" in said[-1]
    json.dumps(verdict.record(stages))


def test_table_and_record():
    stages = [Stage("anp_tf", "square", 2.0, 50.0), Stage("AutoAttack", "square", 5.0, 51.0)]
    assert verdict.record(stages)["anp_tf / AutoAttack"] == 2.5
    assert "anp_tf is faster by 2.50" in verdict.table(stages)
