"""ONNX files against the networks they were made of, in ONNX Runtime."""

import numpy as np
import onnxruntime
import pytest

from anp_tf.models import resnet18
from anp_tf.serving import export_onnx


def run(path, pixels):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [value.name for value in session.get_inputs()] == ["pixels"]
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(None, {"pixels": pixels}), strict=True))


def test_outputs(masked, slimmed, images, tmp_path):
    path = tmp_path / "new" / "network.onnx"
    export_onnx(slimmed, path)
    logits = np.asarray(masked(images))
    outputs = run(path, images)
    assert outputs.keys() == {"logits", "probabilities"}
    np.testing.assert_allclose(outputs["logits"], logits, atol=1e-5)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(outputs["probabilities"], probabilities, atol=1e-5)


def test_batch_normalization_and_strides(tmp_path):
    network = resnet18(width_multiplier=1 / 16)
    export_onnx(network, tmp_path / "network.onnx")
    pixels = np.random.default_rng(0).random((3, 32, 32, 3), np.float32)
    logits = run(tmp_path / "network.onnx", pixels)["logits"]
    np.testing.assert_allclose(logits, network(pixels), atol=1e-5)


def test_files_are_not_overwritten(slimmed, tmp_path):
    (tmp_path / "mine.onnx").write_text("precious")
    with pytest.raises(FileExistsError, match=r"mine\.onnx exists already"):
        export_onnx(slimmed, tmp_path / "mine.onnx")
    assert (tmp_path / "mine.onnx").read_text() == "precious"
