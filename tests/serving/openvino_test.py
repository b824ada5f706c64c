"""A SavedModel in a runtime that is not TensorFlow's."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf

SHIPPED = pathlib.Path(__file__).parents[2] / "saved_models" / "mnist_cpu" / "anp_vs" / "1"


@pytest.mark.slow
def test_openvino_returns_the_same_logits():
    import openvino

    core = openvino.Core()
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(SHIPPED), "CPU", options)
    x = np.random.default_rng(0).random((7, 28, 28, 1), np.float32)
    found = compiled([x])
    expected = tf.saved_model.load(str(SHIPPED)).signatures["serving_default"](pixels=x)
    assert len(found) == len(expected) == 2
    for name, value in expected.items():
        actual = found[name]
        scale = np.abs(value).max()
        np.testing.assert_allclose(actual, value, atol=1e-4 * scale, err_msg=name)
