"""A whole run, in this process."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from anp_tf import data
from anp_tf.errors import WorkdirError
from anp_tf.layers import BetaBernoulliDropout, given_masks, mask_layers
from anp_tf.layers.nested import nested_layers
from anp_tf.models import lenet5_caffe
from anp_tf.pruning import insert_masks
from anp_tf.settings import Settings
from anp_tf.train import run as module
from anp_tf.train.build import build_network, build_training_model
from anp_tf.train.prepare import examples_of, used_settings
from anp_tf.train.run import train
from anp_tf.train.start import copy_weights
from anp_tf.workdir import Workdir

ROOT = pathlib.Path(__file__).parents[2]
QUICK = {
    "method": "standard",
    "width_multiplier": 0.2,
    "epochs": 1,
    "batch_size": 32,
    "limit_train_examples": 320,
}


@pytest.fixture
def quick(small_data_dir):
    return lambda **changes: Settings(data_dir=str(small_data_dir), **{**QUICK, **changes})


def weights(network):
    return [variable.numpy() for variable in network.variables]


def assert_equal(ours, theirs):
    for value, expected in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(value, expected)


def checkpointed_network(workdir, step):
    """The network's variables in a checkpoint."""
    path = workdir.checkpoints / f"{step:08d}"
    layout = json.loads((path / "meta.json").read_text())["layout"]
    reader = tf.train.load_checkpoint(str(path / "state"))
    return [
        reader.get_tensor(f"state/{index}/.ATTRIBUTES/VARIABLE_VALUE")
        for index, (name, _, _) in enumerate(layout)
        if name.startswith("network/")
    ]


# ------------------------------------------------------------------------------- which network


def test_a_network_whose_cost_is_not_known_is_refused_before_it_trains(quick, tmp_path):
    inputs = keras.Input((28, 28, 1))
    x = keras.layers.Reshape((1, 28, 28))(inputs)
    x = keras.layers.Flatten()(keras.layers.ConvLSTM1D(2, 5)(x))
    keras.Model(inputs, keras.layers.Dense(10)(x)).save(tmp_path / "own.keras")
    run = Workdir(tmp_path / "run")
    with pytest.raises(ValueError, match=r"does not know the multiply-adds.*conv_lstm"):
        train(quick(network=str(tmp_path / "own.keras"), width_multiplier=1.0), run)
    assert not run.network.exists()


@pytest.fixture(scope="module")
def collapsing(small_data_dir, tmp_path_factory):
    """Two runs that learn for an epoch or two, then diverge: one keeps the best, one the last."""
    runs = {}
    for select in ("best", "last"):
        settings = Settings(
            data_dir=str(small_data_dir),
            **{**QUICK, "epochs": 4, "batch_size": 8, "width_multiplier": 0.3},
            schedule="one_cycle",
            peak_at=0.9,
            learning_rate=1.0,
            select=select,
            keep_checkpoints=9,
        )
        workdir = Workdir(tmp_path_factory.mktemp(select))
        train(settings, workdir)
        runs[select] = workdir
    return runs


def test_best_keeps_the_network_of_the_epoch_with_the_best_validation(collapsing):
    workdir = collapsing["best"]
    scores = [record["val_accuracy"] for record in workdir.epochs()]
    chosen = 4 - int(np.argmax(scores[::-1]))
    assert chosen < 4  # else this test shows nothing
    meta = json.loads((workdir.checkpoints / "00000128" / "meta.json").read_text())
    assert meta["extra"]["best"] == {"epoch": chosen, "score": scores[chosen - 1]}
    assert_equal(weights(workdir.load_network()), checkpointed_network(workdir, 32 * chosen))


def test_last_keeps_the_last_network_of_the_same_run(collapsing):
    workdir = collapsing["last"]
    for ours, theirs in zip(workdir.epochs(), collapsing["best"].epochs(), strict=True):
        assert ours["val_accuracy"] == theirs["val_accuracy"]
    assert_equal(weights(workdir.load_network()), checkpointed_network(workdir, 128))


def test_no_epoch_is_best_while_the_radius_of_the_bounds_grows(quick):
    settings = quick(epochs=9, bound_weight=0.1, bound_warmup_epochs=2.5)
    network = build_network(settings, data.load("mnist", "train", settings.data_dir))
    model = build_training_model(settings, network, 320, 10)
    assert module._best_epoch(settings, model).first_epoch == 4


@pytest.mark.parametrize("granularity", ["weight", "filter", "unit"])
def test_epochs_after_the_last_cut_may_be_best(quick, granularity):
    settings = quick(
        method="magnitude", granularity=granularity, epochs=10, prune_until=0.3, attack_steps=1
    )
    network = build_network(settings, data.load("mnist", "train", settings.data_dir))
    model = build_training_model(settings, network, 320, 10)
    assert module._best_epoch(settings, model).first_epoch == 4


def test_best_without_validation_keeps_the_last(quick, tmp_path):
    workdir = Workdir(tmp_path)
    network = train(quick(validation_examples=0), workdir)
    assert_equal(weights(network), checkpointed_network(workdir, 10))
    assert not [name for name in workdir.epochs()[0] if name.startswith("val_")]


@pytest.mark.slow
def test_sparsity_that_no_epoch_reaches(quick, tmp_path, caplog):
    workdir = Workdir(tmp_path)
    changes = {"method": "bp", "initial_a": 2.0, "select_min_sparsity": 0.9}
    network = train(quick(**changes), workdir)
    assert_equal(weights(network), checkpointed_network(workdir, 8))
    assert "--select_min_sparsity" in caplog.text


def test_finished_run_is_loaded(quick, tmp_path, monkeypatch):
    first = train(quick(), Workdir(tmp_path))
    monkeypatch.setattr(data, "load", None)
    assert_equal(weights(train(quick(), Workdir(tmp_path))), weights(first))


# ----------------------------------------------------------------------------------- the data


@pytest.mark.parametrize(
    ("given", "expected"), [(1000, 64), (64, 64), (10, 10), (1, 1)], ids=lambda n: f"{n}"
)
def test_at_most_a_fifth_is_set_aside(quick, tmp_path, monkeypatch, given, expected):
    sizes = {}

    class EnoughError(Exception):
        pass

    def look(settings, network, num_examples, steps_per_epoch):
        sizes.update(examples=num_examples, steps=steps_per_epoch)
        raise EnoughError

    monkeypatch.setattr(module, "build_training_model", look)
    with pytest.raises(EnoughError):
        train(quick(validation_examples=given), Workdir(tmp_path))
    assert sizes == {"examples": 320 - expected, "steps": (320 - expected) // 32}


@pytest.mark.parametrize(("given", "expected"), [(0, None), (3, 3), (1000, 8)])
def test_of_a_validation_part_so_many_are_used(monkeypatch, given, expected):
    examples = data.from_arrays(np.zeros((8, 2, 2, 1)), np.arange(8) % 2)
    monkeypatch.setattr(data, "load", lambda *arguments, **options: examples)
    training, validation = examples_of(Settings(validation_examples=given))
    assert len(training) == 8
    assert (validation and len(validation)) == expected


def test_rows_of_a_table_are_not_cropped(tmp_path):
    rows = data.from_arrays(np.zeros((4, 2)), [0, 1, 0, 1])
    settings = Settings(dataset="cifar_features.csv", network="net:rows")
    used = used_settings(settings, rows, None, 2)
    assert used.augmentation_options["augmentation"] == "none"
    with pytest.raises(data.DataError, match=r"must be 'none' for .* \[2\], .* got 'crop'"):
        used_settings(dataclasses.replace(settings, augmentation="crop"), rows, None, 2)
    images = data.from_arrays(np.zeros((4, 8, 8, 3)), [0, 1, 0, 1])
    used = used_settings(dataclasses.replace(settings, dataset="cifar10"), images, None, 2)
    assert used.augmentation_options["augmentation"] == "crop_flip"


@pytest.mark.parametrize(
    "examples", [1, *(pytest.param(count, marks=pytest.mark.slow) for count in (3, 7))]
)
def test_fewer_examples_than_a_batch(quick, tmp_path, examples):
    workdir = Workdir(tmp_path)
    train(quick(limit_train_examples=examples, epochs=2), workdir)
    assert [record["step"] for record in workdir.epochs()] == [1, 2]


# ------------------------------------------------------------------------------- starting from


@pytest.mark.slow
def test_init_from_a_workdir_or_a_file(quick, tmp_path):
    source = Workdir(tmp_path / "source")
    source.path.mkdir()
    source.save_network(lenet5_caffe(width_multiplier=0.2))
    expected = weights(source.load_network())
    for index, place in enumerate((source.path, source.network)):
        settings = quick(init_from=str(place), learning_rate=1e-12, seed=index)
        network = train(settings, Workdir(tmp_path / f"run{index}"))
        for value, start in zip(weights(network), expected, strict=True):
            np.testing.assert_allclose(value, start, atol=1e-8)


def masked(**kwargs):
    return lenet5_caffe(lambda name: BetaBernoulliDropout(name=name), **kwargs)


def test_copy_weights_leaves_the_masks():
    source, network = masked(width_multiplier=0.1), masked(width_multiplier=0.1)
    for layer in mask_layers(source):
        layer.a_u.assign(np.full(layer.units, 7.0))
    masks = [weights(layer) for layer in mask_layers(network)]
    copy_weights(source, network)
    for layer, before in zip(mask_layers(network), masks, strict=True):
        assert_equal(weights(layer), before)
    for name in ("conv1", "conv2", "dense1", "logits"):
        assert_equal(weights(network.get_layer(name)), weights(source.get_layer(name)))


def test_copy_weights_from_a_network_without_masks_and_back(caplog):
    plain, network = lenet5_caffe(width_multiplier=0.1), masked(width_multiplier=0.1)
    copy_weights(plain, network)
    assert_equal(weights(network.get_layer("conv2")), weights(plain.get_layer("conv2")))
    other = lenet5_caffe(width_multiplier=0.1)
    copy_weights(network, other)
    assert_equal(weights(other), weights(plain))
    assert not caplog.records
    mask_layers(network)[1].prune([0, 3])
    copy_weights(network, other)
    assert [r.getMessage() for r in caplog.records] == ["2 units that `conv2_mask` pruned are back"]


def test_copy_weights_keeps_what_is_pruned():
    source, network = masked(width_multiplier=0.1), masked(width_multiplier=0.1)
    first, *others = mask_layers(source)
    first.prune([1])
    others[-1].a_u.assign(np.full(others[-1].units, -9.0))  # all that the posterior prunes
    copy_weights(source, network)
    for mask, before in zip(mask_layers(network), mask_layers(source), strict=True):
        np.testing.assert_array_equal(mask.active_units(), before.active_units())
    assert not np.any(np.equal(mask_layers(network)[-1].a_u, -9.0))  # it is learned anew


def test_copy_weights_of_layers_that_are_made_of_others():
    """Several weights of one name in an attention; two layers of one name in nested models."""

    def nested(seed):
        keras.utils.set_random_seed(seed)
        layers = keras.layers
        inner = [
            keras.Sequential([keras.Input((6, 4)), layers.Dense(4, "relu", name="dense")], name=n)
            for n in "ab"
        ]
        pixels = keras.Input((6, 4))
        x = inner[1](inner[0](pixels))
        x = layers.MultiHeadAttention(2, 3, name="attention")(x, x)
        network = keras.Model(pixels, layers.Dense(3, name="logits")(layers.Flatten()(x)))
        for weight in network.weights:
            weight.assign(keras.random.normal(weight.shape))
        return network

    source, network = nested(0), nested(1)
    flat = insert_masks(nested(2))
    for copy in (network, flat):
        copy_weights(source, copy)
        x = np.random.default_rng(0).random((5, 6, 4)).astype(np.float32)
        with given_masks({mask: np.ones(mask.units) for mask in mask_layers(copy)}):
            np.testing.assert_allclose(copy(x), source(x), rtol=1e-4, atol=1e-4)
    assert_equal(weights(network), weights(source))
    back = nested(3)
    copy_weights(flat, back)
    assert_equal(weights(back), weights(source))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            {"width_multiplier": 0.2},
            r"layer conv1 has weights of shapes \[\(5, 5, 1, 2\), \(2,\)\] here and "
            r"\[\(5, 5, 1, 4\), \(4,\)\] there",
        ),
        ({"width_multiplier": 0.1, "num_classes": 7}, "layer logits has"),
        ({"width_multiplier": 0.1, "input_shape": (32, 32, 1)}, "layer dense1 has"),
    ],
    ids=["width", "classes", "image size"],
)
def test_copy_weights_of_another_shape(source, message):
    with pytest.raises(WorkdirError, match=f"cannot start from `lenet5_caffe`: {message}"):
        copy_weights(lenet5_caffe(**source), lenet5_caffe(width_multiplier=0.1))


def test_copy_weights_of_another_architecture():
    source = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Flatten()], name="flat")
    with pytest.raises(WorkdirError, match=r"cannot start from `flat`: layer conv1 .* none there"):
        copy_weights(source, lenet5_caffe(width_multiplier=0.1))


# ------------------------------------------------------------------------------- from settings


@pytest.fixture(scope="module")
def examples():
    return data.Examples(np.zeros((4, 32, 32, 3), np.uint8), np.zeros(4, np.int32), 7)


def test_network_fits_the_examples(examples):
    network = build_network(
        Settings(network="lenet5_caffe", method="standard", width_multiplier=0.5), examples
    )
    assert network.input_shape == (None, 32, 32, 3)
    assert network.output_shape == (None, 7)
    assert network.get_layer("conv1").filters == 10
    assert not mask_layers(network)


def test_dropout_is_as_the_settings_say(examples):
    settings = Settings(network="vgg16", method="at", width_multiplier=0.1, dropout_multiplier=0.5)
    network = build_network(settings, examples)
    rates = {layer.rate for layer in network.layers if isinstance(layer, keras.layers.Dropout)}
    assert rates == {0.15, 0.2, 0.25}


@pytest.mark.parametrize("method", ["at", "anp_vs"])
def test_dropout_of_any_kind_and_depth_is_as_the_settings_say(examples, tmp_path, method):
    kinds = keras.layers.Dropout, keras.layers.GaussianDropout, keras.layers.AlphaDropout
    layers = [keras.layers.Flatten(), keras.layers.Dense(8, "relu")]
    nested = keras.Sequential([*layers, *(kind(0.4) for kind in kinds), keras.layers.Dense(7)])
    keras.Sequential([keras.Input((32, 32, 3)), nested]).save(tmp_path / "x.keras")
    settings = Settings(network=str(tmp_path / "x.keras"), method=method, dropout_multiplier=0.5)
    network = build_network(settings, examples)
    assert [x.rate for x in nested_layers(network) if isinstance(x, kinds)] == [0.2] * 3


@pytest.mark.parametrize("method", ["bp", "anp_vs"])
def test_masks_are_as_the_settings_say(examples, method):
    settings = Settings(network="lenet5_caffe", method=method, posterior="beta", initial_a=1.5)
    masks = mask_layers(build_network(settings, examples))
    assert len(masks) == 4
    for mask in masks:
        assert mask.posterior == "beta"
        assert np.all(mask.a_u.numpy() == 1.5)


@pytest.mark.parametrize(
    ("method", "given", "beta"),
    [("anp_vs", None, 4.0), ("bp", None, 1.0), ("anp_vs", 2.5, 2.5), ("bp", 0.0, 0.0)],
)
def test_training_model_is_as_the_settings_say(examples, method, given, beta):
    settings = Settings(
        method=method,
        beta=given,
        epsilon=0.2,
        attack_steps=7,
        attack_step_size=0.05,
        validation_attack_steps=4,
        validation_attack_restarts=2,
        epsilon_warmup_epochs=0.5,
        kl_warmup_epochs=2,
        epochs=10,
        seed=5,
    )
    model = build_training_model(settings, build_network(settings, examples), 1000, 10)
    assert (model.beta, model.num_examples, model.seed) == (beta, 1000, 5)
    assert (model.schedule.epsilon_warmup_steps, model.schedule.kl_warmup_steps) == (5, 20)
    assert float(model.mask_optimizer.learning_rate) == np.float32(1e-2)
    assert float(model.optimizer.learning_rate) == np.float32(1e-3)
    if method == "anp_vs":
        attacks = (model.attack, model.validation_attack)
        assert [a.epsilon for a in attacks] == [0.2, 0.2]
        assert [a.steps for a in attacks] == [7, 4]
        assert [a.step_size for a in attacks] == pytest.approx([0.05, 0.125])
        assert [a.restarts for a in attacks] == [1, 2]
    else:
        assert model.attack is None
        assert model.validation_attack is None


def test_validation_by_squares(examples):
    settings = Settings(method="at", epsilon=0.2, validation_attack_queries=5)
    model = build_training_model(settings, build_network(settings, examples), 100, 10)
    assert "Square(epsilon=0.2, queries=5" in repr(model.validation_attack)
    vectors = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    for values, message in (
        (settings, "validation_attack_queries: expected 0, .*; received 5"),
        (Settings(method="at", attack="square_pgd"), "attack: expected pgd, .*; received square_"),
    ):
        with pytest.raises(ValueError, match=message):
            build_training_model(values, vectors, 100, 10)


# ------------------------------------------------------------------------------ several devices

TWO_DEVICES = """
import sys
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from anp_tf.settings import Settings
from anp_tf.train import run
from anp_tf.workdir import Workdir

path, data_dir, fail = sys.argv[1:]
settings = Settings(
    method="anp_vs", epochs=2, batch_size=32, limit_train_examples=160, width_multiplier=0.1,
    attack_steps=1, validation_attack_steps=1, data_dir=data_dir, distribution="mirrored",
)
if fail == "stop":
    save = run.Saver.on_epoch_end
    def stop(self, epoch, logs=None):
        save(self, epoch, logs)
        raise SystemExit(9)
    run.Saver.on_epoch_end = stop
run.train(settings, Workdir(path))
"""


@pytest.mark.slow
def test_two_devices_train_and_go_on(small_data_dir, tmp_path):
    for fail, code in (("stop", 9), ("no", 0)):
        arguments = [str(tmp_path / "run"), str(small_data_dir), fail]
        result = subprocess.run(
            [sys.executable, "-c", TWO_DEVICES, *arguments],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == code, result.stderr
    workdir = Workdir(tmp_path / "run")
    assert [record["step"] for record in workdir.epochs()] == [4, 8]
    assert all(np.all(np.isfinite(w)) for w in weights(workdir.load_network()))
