"""Training in bfloat16: what computes in it, what stays float32, and that it learns."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from anp_tf import data
from anp_tf.layers import mask_layers
from anp_tf.methods import METHODS
from anp_tf.models import NETWORKS
from anp_tf.settings import Settings
from anp_tf.train import prepare
from anp_tf.train.build import build_network, build_training_model, compute_in
from anp_tf.train.run import train
from anp_tf.workdir import Workdir

RAMP = data.Examples(
    np.random.default_rng(0).integers(0, 256, (64, 28, 28, 1), np.uint8),
    np.arange(64, dtype=np.int32) % 10,
    10,
)


def settings(method, **changes):
    return Settings(
        **{
            "method": method,
            "width_multiplier": 0.3,
            "attack_steps": 2,
            "attack_step_size": 0.1,
            "vulnerability_weight": 1.0,
            "batch_size": 64,
            "epochs": 1,
            **changes,
        }
    )


def model_of(method, policy):
    keras.utils.set_random_seed(0)
    network = build_network(settings(method), RAMP)
    compute_in(network, policy)
    return build_training_model(settings(method), network, 64, 1)


@pytest.mark.parametrize("name", NETWORKS)
def test_layers_compute_in_bfloat16_and_back_and_weights_stay(name):
    shape = (28, 28, 1) if name == "lenet5_caffe" else (32, 32, 3)
    network = NETWORKS[name](input_shape=shape, width_multiplier=0.1)
    pixels = np.random.default_rng(1).random((8, *shape), np.float32)
    before = network(pixels)
    compute_in(network, "mixed_bfloat16")
    low = network(pixels)
    assert low.dtype == tf.bfloat16
    assert {weight.dtype for weight in network.weights} == {"float32"}
    error = np.linalg.norm(tf.cast(low, tf.float32) - before) / np.linalg.norm(before)
    assert 0 < error < 0.05
    compute_in(network, "float32")
    np.testing.assert_array_equal(network(pixels), before)


def test_layers_of_nested_models_compute_in_bfloat16_too():
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    network = keras.Sequential([keras.Input((4,)), inner])
    compute_in(network, "mixed_bfloat16")
    assert inner.layers[0].compute_dtype == network(np.ones([1, 4])).dtype.name == "bfloat16"


@pytest.mark.slow
@pytest.mark.parametrize(
    "method",
    [m if m == "anp_vs" else pytest.param(m, marks=pytest.mark.slow) for m in METHODS],
)
def test_a_step_is_that_of_float32_up_to_bfloat16(method):
    x, y = next(iter(data.batches(RAMP, 64)))
    logs, changes = [], []
    for policy in ("float32", "mixed_bfloat16"):
        model = model_of(method, policy)
        before = [np.array(v) for v in model.network.trainable_variables]
        logs.append({k: float(v) for k, v in tf.function(model.train_step)((x, y)).items()})
        after = [np.array(v) for v in model.network.trainable_variables]
        changes.append(
            np.concatenate([np.ravel(b - a) for a, b in zip(before, after, strict=True)])
        )
        assert "bfloat16" not in {v.dtype for v in model.network.variables}
    exact, low = logs
    assert exact.keys() == low.keys()
    assert exact != low  # else it was not computed in bfloat16
    assert low["loss"] == pytest.approx(exact["loss"], rel=0.02)
    if "kl" in exact:  # of masks or random weights: float32
        assert low["kl"] == exact["kl"]
    if "vulnerability" in exact:
        assert low["vulnerability"] == pytest.approx(exact["vulnerability"], rel=0.05)
    # Adam's first step is the sign of the gradient: nearly all are the same.
    moved = np.abs(changes[0]) > 1e-6
    assert np.mean(np.sign(changes[0][moved]) == np.sign(changes[1][moved])) > 0.9


def test_the_slimmed_view_computes_in_bfloat16_too():
    network = build_network(settings("anp_vs"), RAMP)
    for mask in mask_layers(network):
        mask.prune([0])
    compute_in(network, "mixed_bfloat16")
    model = build_training_model(settings("anp_vs"), network, 64, 1)
    model.train_slimmed()
    policies = {
        layer.compute_dtype
        for layer in model.forward.view.network.layers
        if not isinstance(layer, keras.layers.InputLayer)
    }
    assert policies == {"bfloat16"}


@pytest.mark.parametrize(
    ("emulates", "precision", "warns"),
    [(True, "bfloat16", True), (False, "bfloat16", False), (True, "none", False)],
)
def test_a_processor_without_bfloat16_is_named(emulates, precision, warns, monkeypatch):
    monkeypatch.setattr(prepare, "emulates_bfloat16", lambda: emulates)
    said = prepare.slow_precision(settings("at", mixed_precision=precision))
    assert warns == (said is not None and "--mixed_precision=none" in said)


@pytest.mark.slow
def test_what_was_trained_is_a_float32_network(small_data_dir, tmp_path):
    trained = {}
    for precision in ("none", "bfloat16"):
        workdir = Workdir(tmp_path / precision)
        chosen = settings(
            "anp_vs",
            data_dir=str(small_data_dir),
            limit_train_examples=320,
            batch_size=32,
            epochs=2,
            mask_freeze_at=0.5,
            validation_attack_steps=1,
            mixed_precision=precision,
        )
        train(chosen, workdir)
        trained[precision] = workdir.load_network()
    network = trained["bfloat16"]
    assert {layer.compute_dtype for layer in network.layers} == {"float32"}
    assert network(np.zeros((1, 28, 28, 1), np.float32)).dtype == tf.float32
    kernels = [network.get_layer("conv2").kernel.numpy() for network in trained.values()]
    assert not np.array_equal(*kernels)
    np.testing.assert_allclose(*kernels, atol=0.05)
