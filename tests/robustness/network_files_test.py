"""Networks in deployed files: their logits, and how they are judged without gradients."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from anp_tf import data
from anp_tf.errors import WorkdirError
from anp_tf.robustness import (
    Interface,
    Threat,
    attack_candidate,
    attack_table,
    entered,
    from_network,
    network_file,
)
from anp_tf.serving import export_litert, export_onnx

SHAPE = (6, 6, 1)
X = np.random.default_rng(1).random((9, *SHAPE)).astype(np.float32)


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Conv2D(4, 3, activation="relu"), keras.layers.Flatten()]
    return keras.Sequential([keras.Input(SHAPE), *layers, keras.layers.Dense(4)])


@pytest.fixture(scope="module")
def files(network, tmp_path_factory):
    """Files of every kind, by their names."""
    folder = tmp_path_factory.mktemp("files")
    for precision in ("float32", "float16", "int8"):
        export_litert(network, folder / f"{precision}.tflite", precision, X)
    export_onnx(network, folder / "float32.onnx")
    plain = tf.lite.TFLiteConverter.from_concrete_functions(
        [
            tf.function(lambda x: network(x, training=False)).get_concrete_function(
                tf.TensorSpec([1, *SHAPE])
            )
        ]
    )
    plain.optimizations = [tf.lite.Optimize.DEFAULT]
    plain.representative_dataset = lambda: ([x[None]] for x in X)
    plain.inference_input_type = plain.inference_output_type = tf.int8
    with warnings.catch_warnings():  # the converter's own
        warnings.simplefilter("ignore")
        (folder / "integers.tflite").write_bytes(plain.convert())
    return folder


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("float32.tflite", 1e-5),
        ("float16.tflite", 1e-2),
        ("int8.tflite", 0.1),
        ("integers.tflite", 0.1),
        ("float32.onnx", 1e-5),
    ],
)
def test_logits(network, files, name, tolerance):
    """Eagerly and in graphs, for batches of any size, those of one image at a time as well."""
    file = entered(network_file(files / name), X)
    expected = network(X)
    traced = tf.function(file, input_signature=[tf.TensorSpec([None, *SHAPE])])
    for call in (file, traced):
        np.testing.assert_allclose(call(X), expected, atol=tolerance)
        np.testing.assert_allclose(call(X[:2]), expected[:2], atol=tolerance)
    assert file(X).dtype == tf.float32


def test_outputs_by_name(network, files):
    for name in ("float32.tflite", "float32.onnx"):
        file = network_file(files / name, "probabilities")
        np.testing.assert_allclose(file(X), tf.nn.softmax(network(X)), atol=1e-5)
        with pytest.raises(WorkdirError, match=r"output_name: expected one of .*received none"):
            network_file(files / name, "none")


@pytest.mark.parametrize("name", ["a.tflite", "a.onnx"])
def test_damaged_and_missing_files(tmp_path, name):
    with pytest.raises(WorkdirError, match="there is no network at"):
        network_file(tmp_path / name)
    (tmp_path / name).write_bytes(b"damaged")
    with pytest.raises(WorkdirError, match="cannot load a network from") as error:
        network_file(tmp_path / name)
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def examples(network):
    images = np.random.default_rng(2).integers(0, 256, (24, *SHAPE), np.uint8)
    labels = np.argmax(network(images / np.float32(255)), -1).astype(np.int32)
    return data.Examples(images, labels, 4)


@pytest.mark.slow
def test_a_file_is_judged_by_square_and_by_transfer(network, files, examples, tmp_path):
    file = network_file(files / "int8.tflite")
    candidate = from_network(file, examples, digest="1", path="int8.tflite")
    source = from_network(network, examples, digest="2")
    arguments = (["standard"], tmp_path, Threat(0.05))
    alone, _ = attack_candidate(candidate, *arguments, queries=60)
    assert [row["name"] for row in alone["attacks"]] == ["square", "square 2"]
    assert alone["not_made"] == ["apgd-ce", "apgd-t", "fab-t"]
    assert "gives no gradients" in alone["not_made_because"]
    assert "Not made: apgd-ce, apgd-t, fab-t, for the network gives no" in attack_table(alone)
    assert alone["attacks"][1]["fooled"] >= 0
    result, _ = attack_candidate(
        candidate, ["standard"], tmp_path / "2", Threat(0.05), queries=60, source=source
    )
    names = ["transfer apgd-ce", "transfer apgd-t", "transfer fab-t", "square", "square 2"]
    assert [row["name"] for row in result["attacks"]] == names
    assert result["source"] == "2"
    assert result["robust_accuracy"] <= alone["robust_accuracy"] < alone["clean_accuracy"]
    with pytest.raises(ValueError, match="attack: none of pgd can be made"):
        attack_candidate(candidate, ["pgd"], *arguments[1:])


@pytest.mark.slow
def test_an_input_that_is_rounded(network, examples, tmp_path):
    """Square is made, the others are named, and by transfer they are made."""

    def rounded(x):
        return network(tf.round(x * 255) / 255, training=False)

    candidate = from_network(rounded, examples, digest="1")
    result, _ = attack_candidate(candidate, ["apgd", "square"], tmp_path, Threat(0.05), queries=60)
    assert [row["name"] for row in result["attacks"]] == ["square", "square 2"]
    assert result["not_made"] == ["apgd"]
    assert result["robust_accuracy"] < result["clean_accuracy"]
    line = result["not_made_because"]
    assert "\n" not in line
    assert len(line) < 300


@pytest.mark.parametrize("name", ["standard", "square"])
def test_square_is_for_images(tmp_path, name):
    rows = np.random.default_rng(0).random((9, 3)).astype(np.float32)
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    candidate = from_network(
        network, data.Examples(rows, np.arange(9, dtype=np.int32) % 2, 2), digest="1"
    )
    with pytest.raises(ValueError, match=r"attack: square, .* of shape \[3\], such as apgd-ce"):
        attack_candidate(candidate, [name], tmp_path, Threat(0.05))


@pytest.mark.parametrize("pixels", [pytest.param((0, 255), marks=pytest.mark.slow), (-1, 1)])
def test_pixels_of_another_range(examples, tmp_path, pixels):
    low, high = pixels

    def network(x):  # brighter or not than the middle of its range
        sums = tf.reduce_mean((x - low) / (high - low), [1, 2, 3]) - 0.5
        inside = tf.cast(tf.reduce_any((x > 1) | (x < 0), [1, 2, 3]), tf.float32)
        return tf.stack([-9 * sums, 9 * sums], -1) * inside[:, None]

    labels = ((examples.images / 255).mean((1, 2, 3)) > 0.5).astype(np.int32)
    known = data.Examples(examples.images, labels, 2)
    with pytest.raises(ValueError, match=r"pixels: expected the range .* far better with other"):
        attack_candidate(from_network(network, known, digest="1"), ["fgsm"], tmp_path, Threat(0.01))
    results = {}
    for given in (pixels, (0, 1)):
        candidate = from_network(network, known, digest="1", interface=Interface(pixels=given))
        folder = tmp_path / str(given)
        results[given], _ = attack_candidate(candidate, ["fgsm", "noise"], folder, Threat(0.01))
    assert results[0, 1]["not_made"] == ["fgsm"]  # for it has gradients in its own range alone
    assert results[pixels]["clean_accuracy"] == 100
    assert results[0, 1]["clean_accuracy"] == 0
    # The radius stays in units of [0, 1]: the exact worst case of this network.
    distance = np.abs((examples.images / 255).mean((1, 2, 3)) - 0.5)
    expected = 100 * np.mean(distance > 0.01)
    assert results[pixels]["robust_accuracy"] == pytest.approx(expected)
    assert results[pixels]["interface"] == {"pixels": pixels}


def test_images_from_any_data_set(network, examples, tmp_path):
    x = examples.images / np.float32(255)
    stream = tf.data.Dataset.from_generator(
        lambda: zip(x, examples.labels[:, None], strict=True),
        output_signature=(tf.TensorSpec(SHAPE), tf.TensorSpec([1], tf.int64)),
    ).batch(5)
    results = []
    for index, images in enumerate((stream, examples)):
        candidate = from_network(network, images, digest="1")
        assert candidate.count == 24
        folder = tmp_path / str(index)
        result, _ = attack_candidate(candidate, ["fgsm"], folder, Threat(0.05, batch_size=7))
        del result["attacks"][0]["seconds"]
        results.append(result)
    assert results[0] == results[1]


def test_data_sets_that_are_no_batches_of_images_and_labels(network, examples):
    x, y = examples.images / np.float32(255), examples.labels
    for arrays, size, message in (
        ((x, np.eye(4, dtype=int)[y]), 5, r"not one-hot. Received: int64 of shape \(None, 4\)"),
        ((x, y), None, "examples: expected a data set of batches"),
        ((x, y + 4), 5, r"the labels must be classes of the network .* they are from \d to \d"),
        ((x, -1 - y), 5, r"the labels must be classes of the network .* to -\d"),
    ):
        images = tf.data.Dataset.from_tensor_slices(arrays)
        with pytest.raises(ValueError, match=message) as error:
            from_network(network, images.batch(size) if size else images, digest="1")
        assert "\n" not in str(error.value)
