"""`benchmark verdict`: the same network in PyTorch, and how the figures are put together."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from anp_tf.attacks import FGSM, Noise
from anp_tf.benchmark import verdict

SHIPPED = pathlib.Path(__file__).parents[1] / "saved_models"


@pytest.mark.parametrize("name", ["mnist_cpu/anp_vs", "cifar10_20k_cpu/anp_vs"])
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
    measured = verdict.benchmark_verdict(network, 40, progress=said.append)
    assert list(measured.figures) == ["anp_tf, none", "anp_tf, fgsm", "anp_tf, noise"]
    none, fgsm, noise = (stage[verdict.LEFT] for stage in measured.figures.values())
    assert none > 90 > 60 > fgsm
    assert noise == fgsm  # of the images that were left
    assert "AutoAttack is not installed" in said[-1]
    record = measured.record()
    spent = [record[f"{name}, seconds"] for name in measured.figures]
    assert record["anp_tf, seconds of all"] == pytest.approx(sum(spent))
    assert "robust accuracy, %" in measured.table()
