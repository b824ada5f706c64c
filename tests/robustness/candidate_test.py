"""Networks from files, with the images they are tested on."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from anp_tf import data
from anp_tf.attacks import input_gradient
from anp_tf.errors import WorkdirError
from anp_tf.layers import mask_layers
from anp_tf.pruning import insert_masks
from anp_tf.robustness import candidate as module
from anp_tf.robustness import from_model, from_network, from_workdir
from anp_tf.robustness.candidate import digest
from anp_tf.serving import export_saved_model
from anp_tf.workdir import load_network


def dense(shape=(28, 28, 1), classes=10):
    keras.utils.set_random_seed(4)
    layers = [keras.layers.Flatten(), keras.layers.Dense(12, activation="relu")]
    return keras.Sequential([keras.Input(shape), *layers, keras.layers.Dense(classes)])


@pytest.fixture(scope="module")
def network():
    return dense()


@pytest.fixture(scope="module")
def batch(small_data_dir):
    examples = data.load("mnist", "test", small_data_dir).take(6)
    return tf.constant(examples.images / np.float32(255)), examples.labels


def test_keras_file(network, batch, tmp_path, small_data_dir):
    path = tmp_path / "network.keras"
    network.save(path)
    candidate = from_model(path, "mnist", limit=30, data_dir=small_data_dir)
    np.testing.assert_allclose(candidate.network(batch[0]), network(batch[0]), atol=1e-6)
    assert (len(candidate.examples), candidate.dataset, candidate.masked) == (30, "mnist", None)
    assert len(from_model(path, "mnist", data_dir=small_data_dir).examples) == 100


def test_a_file_that_changes_while_it_is_read(tmp_path, small_data_dir, monkeypatch):
    """Its digest would be that of a network that is not the one that is judged."""
    path, network = tmp_path / "network.keras", dense()
    network.save(path)

    def load_and_change(path):
        found = load_network(path)
        network.layers[-1].bias.assign_add(tf.ones_like(network.layers[-1].bias))
        network.save(path)
        return found

    monkeypatch.setattr(module, "load_network", load_and_change)
    with pytest.raises(ValueError, match=r"network\.keras was changed while it was read"):
        from_model(path, "mnist", limit=30, data_dir=small_data_dir)


def test_a_network_with_masks_is_slimmed(network, batch, tmp_path, small_data_dir):
    masked = insert_masks(network)
    mask_layers(masked)[0].prune([0, 5])
    masked.save(tmp_path / "network.keras")
    candidate = from_model(tmp_path / "network.keras", "mnist", data_dir=small_data_dir)
    assert not mask_layers(candidate.network)
    assert mask_layers(candidate.masked)
    np.testing.assert_allclose(candidate.network(batch[0]), masked(batch[0]), atol=1e-5)


@pytest.mark.parametrize("versions", [True, False])
def test_own_saved_model(network, batch, tmp_path, small_data_dir, versions):
    """Logits and gradients are those of the network it was exported from."""
    written = export_saved_model(network, tmp_path / "saved")
    path = tmp_path / "saved" if versions else written
    candidate = from_model(path, "mnist", data_dir=small_data_dir)
    assert candidate.path == written
    np.testing.assert_allclose(candidate.network(batch[0]), network(batch[0]), atol=1e-5)
    gradients = [input_gradient(n, *batch) for n in (candidate.network, network)]
    np.testing.assert_allclose(*gradients, atol=1e-6)


def test_saved_model_of_plain_keras(network, batch, tmp_path, small_data_dir):
    network.export(tmp_path / "plain", verbose=False)
    candidate = from_model(tmp_path / "plain", "mnist", data_dir=small_data_dir)
    np.testing.assert_allclose(candidate.network(batch[0]), network(batch[0]), atol=1e-5)


def test_workdir(finished, batch):
    candidate = from_workdir(finished.path / "anp_vs", limit=20)
    assert candidate.settings.method == "anp_vs"
    assert len(candidate.examples) == 20
    assert not mask_layers(candidate.network)
    other = from_workdir(finished.path / "standard")
    assert other.masked is None
    assert len(other.examples) == 50
    assert candidate.digest != other.digest


def test_digest_is_of_names_and_contents(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("1")
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    (tmp_path / "b" / "file").write_text("2")
    (tmp_path / "c" / "file").rename(tmp_path / "c" / "other")
    assert len({digest(tmp_path / name) for name in "abc"}) == 3


def two_outputs(path):
    class Pair(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 28, 28, 1])])
        def __call__(self, x):
            flat = tf.reshape(x, [-1, 784])[:, :10]
            return {"a": flat, "b": flat}

    module = Pair()
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.__call__})


def without_signature(path):
    tf.saved_model.save(tf.Module(), str(path))


def damaged(path):
    dense().export(path, verbose=False)
    content = (path / "saved_model.pb").read_bytes()
    (path / "saved_model.pb").write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "neither a .keras file nor a SavedModel"),
        (without_signature, "has no signature serving_default"),
        (two_outputs, "output_name: expected one of a, b, which .* returns, received None"),
        (damaged, "cannot load a network from"),
    ],
    ids=["missing", "no signature", "two outputs", "damaged"],
)
def test_errors(tmp_path, small_data_dir, make, message):
    make(tmp_path / "model")
    with pytest.raises(WorkdirError, match=message):
        from_model(tmp_path / "model", "mnist", data_dir=small_data_dir)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": (32, 32, 1)}, r"it takes \[32, 32, 1\], they are \[28, 28, 1\]"),
        ({"shape": (1, 28, 28)}, "expected channels_first=True"),
        ({"classes": 7}, "it returns logits of 7 classes, the data set has 10"),
        ({"classes": 1}, "expected binary if that is the logit of class 1"),
    ],
)
def test_a_network_for_other_data_is_refused(tmp_path, small_data_dir, options, message):
    dense(**options).save(tmp_path / "other.keras")
    with pytest.raises(ValueError, match=message):
        from_model(tmp_path / "other.keras", "mnist", data_dir=small_data_dir)


@pytest.mark.parametrize(
    "examples",
    [
        lambda x, y: tf.data.Dataset.from_tensor_slices((x, y, np.ones(6))).batch(3),
        lambda x, y: tf.data.Dataset.from_tensor_slices({"image": x, "label": y}).batch(3),
        lambda x, y: tf.data.Dataset.from_tensor_slices(x).batch(3),
        lambda x, y: tf.data.Dataset.from_tensor_slices((x, {"label": y})).batch(3),
        lambda x, y: (x, y),
    ],
    ids=["weights", "dict", "images alone", "dict of labels", "arrays"],
)
def test_what_are_no_pairs_of_images_and_labels(network, batch, examples):
    with pytest.raises(ValueError, match="examples: expected a data set of batches of pixels and"):
        from_network(network, examples(*batch), digest="a network")
