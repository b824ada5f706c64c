"""LiteRT files against the networks they were made of."""

import keras
import numpy as np
import pytest

from anp_tf.models import resnet18, vgg16
from anp_tf.serving import export_litert, litert_network
from anp_tf.serving import litert as module


@pytest.mark.parametrize(
    ("precision", "tolerance"), [("float32", 1e-5), ("float16", 1e-3), ("int8", 0.1)]
)
def test_logits(masked, slimmed, images, tmp_path, precision, tolerance):
    path = tmp_path / "new" / "network.tflite"
    export_litert(slimmed, path, precision, images)
    network = litert_network(path)
    expected = np.asarray(masked(images))
    for pixels, logits in ((images, expected), (images[:2], expected[:2])):
        received = network(pixels)
        assert received.dtype == np.float32
        np.testing.assert_allclose(received, logits, atol=tolerance * np.abs(expected).max())


@pytest.mark.slow
@pytest.mark.parametrize("build", [vgg16, resnet18])
def test_batch_normalization(build, tmp_path):
    network = build(width_multiplier=1 / 16)
    random = np.random.default_rng(0)
    network.set_weights([random.uniform(0.1, 0.5, w.shape) for w in network.get_weights()])
    export_litert(network, tmp_path / "network.tflite")
    pixels = random.random((3, 32, 32, 3), np.float32)
    expected = np.asarray(network(pixels))
    received = litert_network(tmp_path / "network.tflite")(pixels)
    np.testing.assert_allclose(received, expected, rtol=1e-5)


@pytest.mark.slow
def test_less_precise_files_are_smaller(tmp_path):
    network = vgg16(width_multiplier=1 / 8)
    pixels = np.random.default_rng(0).random((4, 32, 32, 3), np.float32)
    sizes = []
    for precision in ("float32", "float16", "int8"):
        path = tmp_path / f"{precision}.tflite"
        export_litert(network, path, precision, pixels)
        sizes.append(path.stat().st_size)
    assert sizes[0] > 1.8 * sizes[1] > 1.8 * 1.5 * sizes[2]


def test_files_are_not_overwritten(slimmed, tmp_path):
    (tmp_path / "mine.tflite").write_text("precious")
    with pytest.raises(FileExistsError, match=r"mine\.tflite exists already"):
        export_litert(slimmed, tmp_path / "mine.tflite")
    assert (tmp_path / "mine.tflite").read_text() == "precious"


def test_a_file_that_is_made_meanwhile_is_not_overwritten(slimmed, tmp_path, monkeypatch):
    path = tmp_path / "network.tflite"

    def slow(*args, convert=module.litert_content):
        path.write_text("theirs")
        return convert(*args)

    monkeypatch.setattr(module, "litert_content", slow)
    with pytest.raises(FileExistsError, match=r"network\.tflite exists already"):
        export_litert(slimmed, path)
    assert [(file, file.read_text()) for file in tmp_path.iterdir()] == [(path, "theirs")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"precision": "int4"}, "one of float32, float16, int8. Received: precision='int4'"),
        ({"precision": "int8"}, "`representative` must be some images"),
    ],
)
def test_invalid_arguments(slimmed, tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        export_litert(slimmed, tmp_path / "network.tflite", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_unfit_representative_images(slimmed, unfit_images, tmp_path):
    with pytest.raises(ValueError, match=r"`representative` must be floats \[images, 28, 28, 1\]"):
        export_litert(slimmed, tmp_path / "network.tflite", "int8", unfit_images)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", ["float64", "float16"])
def test_operations_that_litert_lacks_in_a_precision_are_named(dtype, tmp_path):
    inputs = keras.Input((4, 4, 3), dtype=dtype)
    x = keras.layers.Conv2D(2, 3, dtype=dtype)(inputs)
    outputs = keras.layers.Dense(3, dtype=dtype)(keras.layers.Flatten(dtype=dtype)(x))
    with pytest.raises(ValueError, match=r"Received: BiasAdd, Conv2D(, \w+)*$"):
        export_litert(keras.Model(inputs, outputs), tmp_path / "network.tflite")


def test_operations_that_litert_lacks_are_named(tmp_path):
    inputs = keras.Input((4, 4, 3))
    x = keras.layers.Flatten()(keras.ops.erfinv(inputs / 2))
    network = keras.Model(inputs, keras.layers.Dense(3)(x))
    with pytest.raises(ValueError, match=r"LiteRT does not have. Received: .*Erfinv") as error:
        export_litert(network, tmp_path / "network.tflite")
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def recurrent(x):
    return keras.layers.LSTM(2)(x)


def repeated(x):
    def body(x):
        return keras.ops.fori_loop(0, 3, lambda i, y: 0.5 * y + x, x)

    return keras.layers.Flatten()(keras.layers.Lambda(body, output_shape=x.shape[1:])(x))


@pytest.mark.parametrize(("body", "precision"), [(recurrent, "float32"), (repeated, "int8")])
def test_loops_that_litert_lacks_are_named(body, precision, tmp_path):
    inputs = keras.Input((3, 2))
    network = keras.Model(inputs, keras.layers.Dense(3)(body(inputs)))
    series = np.random.default_rng(0).random((4, 3, 2), np.float32)
    with pytest.raises(ValueError, match=r"`unroll=True`, or .* Received: `\S+/while`$") as error:
        export_litert(network, tmp_path / "network.tflite", precision, series)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []
