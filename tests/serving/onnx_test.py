"""ONNX files against the networks they were made of, in ONNX Runtime."""

from types import SimpleNamespace

import keras
import numpy as np
import onnxruntime
import pytest
import tensorflow as tf

from anp_tf.models import resnet18
from anp_tf.models.comparison import computes_in_half
from anp_tf.serving import export_onnx, signatures
from anp_tf.serving import onnx as module


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


def head(x, inputs):
    return keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(x)))


NETWORKS = {
    "depthwise groups": lambda x: keras.layers.Conv2D(6, 3, 2, "same", groups=3)(x),
    "groups": lambda x: keras.layers.Conv2D(6, 2, groups=2, activation="softmax")(
        keras.layers.Conv2D(4, 1)(x)
    ),
    "erfc": lambda x: keras.layers.Conv2D(3, 2, activation="gelu")(x),
    "expm1": lambda x: keras.layers.Conv2D(3, 2, activation="celu")(x),
    "both in half": lambda x: keras.ops.celu(keras.layers.Dense(4, "gelu", dtype="float16")(x)),
    "a constant of TensorFlow's": lambda x: x - tf.constant([0.1, 0.2, 0.3]),
    "a preprocessing": lambda x: keras.applications.resnet.preprocess_input(x * 255),
    "a pixel, normalized": lambda x: keras.layers.LayerNormalization()(
        keras.layers.DepthwiseConv2D(7, padding="same")(keras.layers.Conv2D(6, 4)(x))
    ),
    "attention": lambda x: keras.layers.MultiHeadAttention(2, 4)(*[x[:, 0]] * 2),
}


@pytest.mark.parametrize("body", NETWORKS.values(), ids=NETWORKS)
def test_whatever_is_in_a_network(body, tmp_path):
    inputs = keras.Input((4, 4, 3))
    network = head(body(inputs), inputs)
    export_onnx(network, tmp_path / "network.onnx")
    pixels = np.random.default_rng(0).random((3, 4, 4, 3), np.float32)
    expected = np.asarray(network(pixels))
    logits = run(tmp_path / "network.onnx", pixels)["logits"]
    share = 1e-2 if computes_in_half(network) else 1e-4
    np.testing.assert_allclose(logits, expected, atol=share * np.abs(expected).max())


def test_operations_that_onnx_lacks_are_named(tmp_path):
    inputs = keras.Input((4, 4, 3))
    network = head(keras.ops.erfinv(inputs / 2), inputs)
    with pytest.raises(ValueError, match=r"ONNX does not have. Received: Erfinv \(`.*`\)$"):
        export_onnx(network, tmp_path / "network.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_computes_something_else_is_not_written(tmp_path, monkeypatch, slimmed):
    def other(network, check):
        serve, specs = signatures.predict(network, check)
        return lambda pixels: serve(pixels * 1.01), specs

    monkeypatch.setattr(module, "signatures", SimpleNamespace(**vars(signatures)))
    module.signatures.predict = other
    with pytest.raises(ValueError, match="ONNX file does not compute what the network does"):
        export_onnx(slimmed, tmp_path / "network.onnx")
    assert list(tmp_path.iterdir()) == []


def test_files_are_not_overwritten(slimmed, tmp_path):
    (tmp_path / "mine.onnx").write_text("precious")
    with pytest.raises(FileExistsError, match=r"mine\.onnx exists already"):
        export_onnx(slimmed, tmp_path / "mine.onnx")
    assert (tmp_path / "mine.onnx").read_text() == "precious"


def test_a_file_that_is_made_meanwhile_is_not_overwritten(slimmed, tmp_path, monkeypatch):
    path = tmp_path / "network.onnx"

    def slow(network, convert=module._converted):
        path.write_text("theirs")
        return convert(network)

    monkeypatch.setattr(module, "_converted", slow)
    with pytest.raises(FileExistsError, match=r"network\.onnx exists already"):
        export_onnx(slimmed, path)
    assert [(file, file.read_text()) for file in tmp_path.iterdir()] == [(path, "theirs")]
