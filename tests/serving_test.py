"""Exported networks are complete, numbered, and load where anp_tf is not installed."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from anp_tf.layers import BetaBernoulliDropout, mask_layers
from anp_tf.models import lenet5_caffe
from anp_tf.pruning import slim
from anp_tf.serving import export_saved_model, saved_model_bytes


def lenet(seed=0):
    """A small LeNet-5-Caffe with masks that prune a third of the units."""
    model = lenet5_caffe(lambda name: BetaBernoulliDropout(name=name), width_multiplier=0.2)
    rng = np.random.default_rng(seed)
    for layer in mask_layers(model):
        layer.a_u.assign(rng.choice([-20.0, 1.0, 5.0], layer.units))
    return model


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).random((5, 28, 28, 1), np.float32)


# Both ways to load a SavedModel; the second is the one of TensorFlow Serving.
LOAD = """
import sys
sys.modules["anp_tf"] = sys.modules["keras"] = None  # an import raises ImportError
import numpy as np
import tensorflow as tf
images, path = np.load(sys.argv[1]), sys.argv[2]
results = tf.saved_model.load(path).signatures["serving_default"](pixels=tf.constant(images))
results = {name: value.numpy() for name, value in results.items()}
with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    meta = tf.compat.v1.saved_model.loader.load(session, ["serve"], path)
    signature = meta.signature_def["serving_default"]
    outputs = {name: info.name for name, info in signature.outputs.items()}
    again = session.run(outputs, {signature.inputs["pixels"].name: images})
    results |= {f"session_{name}": value for name, value in again.items()}
assert not [name for name in sys.modules if name.startswith(("anp_tf.", "keras."))]
np.savez(sys.argv[3], **results)
"""


def test_loads_where_neither_anp_tf_nor_keras_is_installed(tmp_path, images):
    model = lenet()
    path = export_saved_model(slim(model), tmp_path / "models")
    files = [str(tmp_path / "images.npy"), str(path), str(tmp_path / "results.npz")]
    np.save(files[0], images)
    subprocess.run([sys.executable, "-I", "-c", LOAD, *files], cwd=tmp_path, check=True)
    logits = np.asarray(model(images))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    with np.load(files[2]) as results:
        assert len(results) == 4
        for prefix in ("", "session_"):
            np.testing.assert_allclose(results[f"{prefix}logits"], logits, atol=1e-5)
            np.testing.assert_allclose(results[f"{prefix}probabilities"], probabilities, atol=1e-5)


def test_signature(tmp_path):
    loaded = tf.saved_model.load(export_saved_model(lenet5_caffe(), tmp_path))
    assert list(loaded.signatures) == ["serving_default"]
    signature = loaded.signatures["serving_default"]
    _, inputs = signature.structured_input_signature
    assert inputs == {"pixels": tf.TensorSpec((None, 28, 28, 1), tf.float32, name="pixels")}
    assert {name: (spec.shape.as_list(), spec.dtype) for name, spec in outputs_of(signature)} == {
        "logits": ([None, 10], tf.float32),
        "probabilities": ([None, 10], tf.float32),
    }


def outputs_of(signature):
    return signature.structured_outputs.items()


def test_the_weights_are_variables_and_stored_once(tmp_path):
    network = lenet5_caffe()
    path = export_saved_model(network, tmp_path)
    stored = tf.train.list_variables(str(path / "variables" / "variables"))
    shapes = sorted(tuple(shape) for _, shape in stored if shape)
    assert shapes == sorted(tuple(weight.shape) for weight in network.weights)
    assert (path / "saved_model.pb").stat().st_size < 200_000
    size = saved_model_bytes(path)
    assert size == sum(file.stat().st_size for file in path.glob("**/*") if file.is_file())
    assert 4 * network.count_params() < size < 4 * network.count_params() + 250_000


def test_dropout_masks_and_batch_normalisation_are_in_inference_mode(tmp_path, images):
    x = inputs = keras.Input((28, 28, 1))
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3)(x))
    x = BetaBernoulliDropout(kl_weight=1.0, name="mask")(x)
    x = keras.layers.Dropout(0.5)(keras.layers.Flatten()(x))
    network = keras.Model(inputs, keras.layers.Dense(10)(x))
    network.get_layer("mask").prune([1])
    before = [weight.copy() for weight in network.get_weights()]
    loaded = tf.saved_model.load(export_saved_model(network, tmp_path))
    serve = loaded.signatures["serving_default"]
    expected = network(images, training=False)
    for _ in range(2):  # neither random nor changed by being called
        np.testing.assert_allclose(serve(pixels=images)["logits"], expected, atol=1e-5)
    assert all(np.array_equal(a, b) for a, b in zip(before, network.get_weights(), strict=True))
    graph = serve.graph.as_graph_def()
    kinds = {node.op for node in graph.node}
    kinds |= {node.op for function in graph.library.function for node in function.node_def}
    assert "Conv2D" in kinds
    assert not [kind for kind in kinds if "Random" in kind or "Assign" in kind]


def test_half_precision_networks_return_float32(tmp_path, images):
    inputs = keras.Input((28, 28, 1))
    outputs = keras.layers.Dense(10, dtype="mixed_bfloat16")(keras.layers.Flatten()(inputs))
    loaded = tf.saved_model.load(export_saved_model(keras.Model(inputs, outputs), tmp_path))
    results = loaded.signatures["serving_default"](pixels=images)
    assert results["logits"].dtype == results["probabilities"].dtype == tf.float32
    np.testing.assert_allclose(tf.reduce_sum(results["probabilities"], axis=1), 1, atol=1e-5)


@pytest.fixture(scope="module")
def tiny():
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])


def test_versions(tmp_path, tiny):
    directory = tmp_path / "a" / "b"
    assert export_saved_model(tiny, directory) == directory / "1"
    assert export_saved_model(tiny, str(directory), version=9) == directory / "9"
    (directory / ".tmp-40-1").mkdir()
    (directory / "notes").mkdir()
    assert export_saved_model(tiny, directory) == directory / "10"
    assert export_saved_model(tiny, directory, version=2) == directory / "2"
    before = sorted(directory.rglob("*"))
    with pytest.raises(FileExistsError, match="9 exists"):
        export_saved_model(tiny, directory, version=9)
    assert sorted(directory.rglob("*")) == before


@pytest.mark.parametrize("version", [0, -1, 1.0, "3", True])
def test_invalid_versions(tmp_path, tiny, version):
    with pytest.raises(ValueError, match="`version` must be an integer of at least 1"):
        export_saved_model(tiny, tmp_path / "models", version=version)
    assert not (tmp_path / "models").exists()


def test_a_failed_export_leaves_nothing(tmp_path, tiny, monkeypatch):
    save = tf.saved_model.save

    def fail(*args, **kwargs):
        save(*args, **kwargs)
        raise OSError("no space left on device")

    monkeypatch.setattr(tf.saved_model, "save", fail)
    with pytest.raises(OSError, match="no space"):
        export_saved_model(tiny, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_network_has_one_input_and_one_output(tmp_path):
    inputs = [keras.Input((4,)), keras.Input((4,))]
    with pytest.raises(ValueError, match="Received: 2 inputs and 1 outputs"):
        export_saved_model(keras.Model(inputs, keras.layers.Add()(inputs)), tmp_path)


def test_bytes_of_something_else(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no saved_model.pb"):
        saved_model_bytes(tmp_path)
