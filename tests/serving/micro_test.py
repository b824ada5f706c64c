"""A network on a microcontroller, as TensorFlow Lite Micro's own interpreter runs it."""

import re

import keras
import numpy as np
import pytest

from anp_tf.pruning import fold_batch_normalization
from anp_tf.serving import export_micro


@pytest.fixture(scope="module")
def exported(slimmed, images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("micro") / "1.micro"
    return export_micro(fold_batch_normalization(slimmed), folder, images, images)


def test_it_answers_as_litert_does(exported):
    assert (exported.examples, exported.agreement) == (5, 1.0)
    assert exported.difference <= 2
    assert 1_000 < exported.arena < 64_000
    assert exported.size == (exported.path / "network.tflite").stat().st_size


def test_int8_logits_are_the_networks(exported, slimmed, images):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(exported.path / "network.tflite"))
    interpreter.allocate_tensors()
    (into,), (out,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert into["dtype"] == out["dtype"] == np.int8
    header = (exported.path / "network.h").read_text()
    numbers = re.findall(r"= ([-\de.]+) \* \(value - \((-?\d+)\)\)", header)
    (scale, zero), (out_scale, out_zero) = ((float(a), int(b)) for a, b in numbers)
    expected = np.asarray(slimmed(images))
    for image, logits in zip(images, expected, strict=True):
        values = np.clip(np.rint(image / scale) + zero, -128, 127).astype(np.int8)
        interpreter.set_tensor(into["index"], values[None])
        interpreter.invoke()
        found = (interpreter.get_tensor(out["index"])[0].astype(float) - out_zero) * out_scale
        np.testing.assert_allclose(found, logits, atol=0.1 * np.abs(expected).max())


def test_the_c_array_is_the_file(exported):
    source = (exported.path / "network.cc").read_text()
    content = bytes(int(byte, 16) for byte in re.findall(r"0x([0-9a-f]{2})", source))
    assert content == (exported.path / "network.tflite").read_bytes()
    assert f"network_tflite_size = {len(content)};" in source
    header = (exported.path / "network.h").read_text()
    names = re.findall(r"resolver\.Add(\w+)\(\);", header)
    assert {"Conv2D", "FullyConnected", "MaxPool2D"} <= set(names)
    assert f"MicroMutableOpResolver<{len(names)}>" in header


def test_an_operator_that_it_lacks_is_named(tmp_path):
    inputs = keras.Input((4, 4, 3))
    x = keras.ops.cumprod(keras.layers.Dense(4, name="first")(inputs), axis=1)
    x = keras.layers.Flatten()(keras.ops.arctan2(x, x + 1.0))
    network = keras.Model(inputs, keras.layers.Dense(3)(x))
    images = np.random.default_rng(0).random((3, 4, 4, 3), np.float32)
    with pytest.raises(ValueError, match=r"does not have\. Received: ") as error:
        export_micro(network, tmp_path / "1.micro", images, images)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["representative", "images"])
def test_unfit_images(slimmed, images, unfit_images, name, tmp_path):
    given = {"representative": images, "images": images} | {name: unfit_images}
    with pytest.raises(ValueError, match=rf"`{name}` must be floats \[images, 28, 28, 1\] in"):
        export_micro(slimmed, tmp_path / "1.micro", **given)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("unroll", [False, True])
def test_recurrent_layers_are_to_be_unrolled(unroll, tmp_path):
    inputs = keras.Input((3, 2))
    x = keras.layers.LSTM(2, unroll=unroll)(inputs)
    network = keras.Model(inputs, keras.layers.Dense(3)(x))
    series = np.random.default_rng(0).random((4, 3, 2), np.float32)
    if unroll:
        assert export_micro(network, tmp_path / "1.micro", series, series).difference <= 2
        return
    with pytest.raises(ValueError, match=r"`unroll=True`, or .* Received: `\S+/while`$"):
        export_micro(network, tmp_path / "1.micro", series, series)
    assert list(tmp_path.iterdir()) == []


def test_methods_that_add_operators_have_their_names(tmp_path):
    inputs = keras.Input((4, 4))
    x = keras.ops.pad(inputs, ((0, 0), (0, 1), (0, 1)), constant_values=0.5)
    x = keras.ops.cumsum(keras.ops.matmul(x, x), axis=1)
    network = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(x)))
    images = np.random.default_rng(0).random((4, 4, 4), np.float32)
    export_micro(network, tmp_path / "1.micro", images, images)
    header = (tmp_path / "1.micro" / "network.h").read_text()
    assert {"BatchMatMul", "CumSum", "PadV2"} <= set(re.findall(r"\.Add(\w+)\(\)", header))
