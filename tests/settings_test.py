"""The record of a run's options: validation, and the way to a flagfile and back."""

import dataclasses
import json
import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from anp_tf.layers import MASKS
from anp_tf.methods import METHODS
from anp_tf.models import NETWORKS
from anp_tf.names import AUGMENTATIONS
from anp_tf.options import exact_text, length_text, number
from anp_tf.settings import Settings

FIELDS = {field.name: field for field in dataclasses.fields(Settings)}
# Paths and names as they may stand on a line of a flagfile.
TEXT = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1)
RADIUS = st.floats(0, 1, exclude_min=True)
COUNT = st.integers(1, 10**9)
SHARE = st.floats(0, 1, exclude_min=True, exclude_max=True)
AT_LEAST_0 = st.floats(0, 1e30)
ABOVE_0 = st.floats(0, 1e30, exclude_min=True)
VALUES = {
    "dataset": TEXT,
    "image_size": st.just(()) | st.tuples(COUNT, COUNT).map(lambda v: tuple(map(float, v))),
    "image_key": st.none() | TEXT,
    "label_key": st.none() | TEXT,
    "test_share": SHARE,
    "data_dir": st.none() | TEXT,
    "limit_train_examples": st.none() | COUNT,
    "limit_test_examples": st.none() | COUNT,
    "augmentation": st.sampled_from(["auto", *AUGMENTATIONS]),
    "crop_pixels": COUNT,
    "validation_examples": st.integers(0, 10**9),
    "network": st.sampled_from([*NETWORKS, "auto", "net:build", "net.keras"]),
    "fresh": st.booleans(),
    "width_multiplier": ABOVE_0,
    "dropout_multiplier": st.floats(0, 1),
    "method": st.sampled_from(list(METHODS)),
    "init_from": st.none() | TEXT,
    "epochs": COUNT,
    "batch_size": COUNT,
    "optimizer": st.sampled_from(["adam", "sgd"]),
    "learning_rate": ABOVE_0,
    "mask_learning_rate": ABOVE_0,
    "schedule": st.sampled_from(["step", "one_cycle", "restart"]),
    "decay_at": st.lists(SHARE, max_size=4).map(sorted).map(tuple),
    "decay_factor": ABOVE_0,
    "peak_at": SHARE,
    "mask_decay_at": SHARE,
    "mask_freeze_at": RADIUS,
    "fix_sparsity": st.floats(0, 1, exclude_max=True),
    "weight_decay": AT_LEAST_0,
    "decayed": st.sampled_from(["all", "kernels"]),
    "average_decay": st.floats(0, 1, exclude_max=True),
    "label_smoothing": st.floats(0, 1, exclude_max=True),
    "teacher": st.none() | TEXT,
    "teacher_weight": RADIUS,
    "adversarial_weight": AT_LEAST_0 | st.just(math.inf),
    "beta": st.none() | AT_LEAST_0,
    "kl_flops_exponent": AT_LEAST_0,
    "vulnerability_weight": AT_LEAST_0,
    "vulnerability_share": RADIUS,
    "trades_beta": AT_LEAST_0,
    "prior_scale": ABOVE_0,
    "initial_rho": st.floats(-79.9, 1e30),
    "target_sparsity": st.floats(0, 1, exclude_max=True),
    "granularity": st.sampled_from(["weight", "filter", "unit"]),
    "target_units": st.lists(st.integers(1, 99).map(float), max_size=4).map(tuple),
    "prune_until": RADIUS,
    "prune_updates": COUNT,
    "mask": st.sampled_from(list(MASKS)),
    "mask_layers": st.lists(st.sampled_from(["conv1", "a b"]), max_size=2).map(tuple),
    "posterior": st.sampled_from(["kumaraswamy", "beta"]),
    "initial_a": st.floats(-1e30, 1e30),
    "epsilon": st.floats(1e-30, 1),
    "train_epsilon": st.none() | st.floats(1e-30, 1),
    "attack": st.sampled_from(["pgd", "square_pgd", "fgsm", "n_fgsm"]),
    "attack_noise": AT_LEAST_0,
    "last_attack_at": RADIUS,
    "bound_weight": st.floats(0, 1),
    "bound_epsilon": st.floats(1e-3, 1),
    "bound_warmup_epochs": st.floats(0, 1e3),
    "bound_masks": st.booleans(),
    "gradient_norm": st.none() | st.floats(1e-3, 1e3),
    "last_attack_steps": COUNT,
    "attack_steps": COUNT,
    "attack_queries": COUNT,
    "attack_steps_first": st.none() | COUNT,
    "attack_step_size": RADIUS,
    "epsilon_warmup_epochs": AT_LEAST_0,
    "kl_warmup_epochs": AT_LEAST_0,
    "validation_attack_steps": COUNT,
    "validation_attack_restarts": COUNT,
    "validation_attack_queries": st.integers(0, 100),
    "eval_attack_steps": COUNT,
    "eval_attack_step_size": RADIUS,
    "eval_samples": COUNT,
    "select": st.sampled_from(["best", "last"]),
    "select_min_sparsity": st.floats(0, 1, exclude_max=True),
    "mixed_precision": st.sampled_from(["none", "bfloat16"]),
    "jit": st.booleans(),
    "steps_per_execution": COUNT,
    "op_threads": st.none() | COUNT,
    "seed": st.integers(0, 2**31 - 1),
    "deterministic": st.booleans(),
    "distribution": st.sampled_from(["auto", "none", "mirrored", "multi_worker"]),
    "checkpoint_seconds": AT_LEAST_0 | st.just(math.inf),
    "keep_checkpoints": COUNT,
}


def test_every_field_has_help():
    for field in FIELDS.values():
        text = field.metadata["help"]
        assert 3 < len(text) < 100, field.name
        assert text.strip() == text, field.name


def test_a_strategy_for_every_field():
    assert VALUES.keys() == FIELDS.keys()


@given(st.fixed_dictionaries({}, optional=VALUES))
def test_flag_lines_round_trip(values):
    assume(values.get("method") != "trades" or values.get("attack", "pgd") == "pgd")
    fixed = values.get("mask_freeze_at", 1) < 1
    assume(fixed or not (values.get("fix_sparsity") or values.get("target_units")))
    first = values.get("attack_steps_first") or 0
    fgsm = values.get("attack") in ("fgsm", "n_fgsm")
    assume(fgsm or first <= values.get("attack_steps", 20))
    settings = Settings(**values)
    lines = settings.flag_lines()
    assert all(line.startswith("--") and len(line.splitlines()) == 1 for line in lines)
    assert Settings.from_flag_lines(lines) == settings


@pytest.mark.parametrize(
    ("method", "beta"), [("anp_vs", 4.0), ("bp", 1.0), ("at_bnn", 0.01), ("at", 0.0)]
)
def test_beta_is_the_methods_own_where_none_is_given(method, beta):
    assert Settings(method=method).beta == beta
    assert f"--beta={beta}" in Settings(method=method).flag_lines()
    assert Settings(method=method, beta=7.0).beta == 7.0


def test_flag_lines_leave_out_what_is_none():
    lines = Settings().flag_lines()
    assert not [line for line in lines if line.startswith(("--data_dir", "--init_from"))]
    assert "--nodeterministic" in lines
    assert "--decay_at=0.5,0.7" in lines


def test_from_flag_lines_reads_what_a_person_writes():
    lines = ["# a note", "", "  --epochs=3  ", "--deterministic=false", "--decay_at="]
    settings = Settings.from_flag_lines(lines)
    assert (settings.epochs, settings.deterministic, settings.decay_at) == (3, False, ())


@pytest.mark.parametrize(
    ("value", "short", "exact"),
    [
        (2 / 255, "2/255", "2/255"),
        (2 / 255 / 4, "0.5/255", "0.5/255"),
        (0.031373, "8/255", "0.031373"),  # as rounded figures have it
        (0.3, "0.3", "0.3"),
        (0.2, "0.2", "0.2"),  # also 51/255
        (1.0, "1", "1.0"),
        (0.0, "0", "0.0"),
        (2.5 * 0.3 / 7, "0.1071", str(2.5 * 0.3 / 7)),
        (3.14159, "3.142", "3.14159"),  # a radius in L2
        (math.nan, "nan", "nan"),
        (math.inf, "inf", "inf"),
    ],
)
def test_lengths_as_people_read_them(value, short, exact):
    assert length_text(value) == short
    assert exact_text(value) == exact
    assert number(exact) == value or math.isnan(value)


def test_flag_lines_have_lengths_as_people_write_them():
    lines = Settings(dataset="cifar10").flag_lines()
    assert {"--epsilon=8/255", "--eval_attack_step_size=2/255"} <= set(lines)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--speed=3", "unknown flag in the line '--speed=3'"),
        ("--epsilon", "unknown flag in the line '--epsilon'"),
        ("--noepsilon", "unknown flag"),
        ("epochs", "unknown flag"),
        ("--epochs=many", "invalid literal for int.*'many'"),
        ("--epsilon=x", "could not convert string to float: 'x'"),
        ("--deterministic=perhaps", "expected true or false, received 'perhaps'"),
        ("--decay_at=0.5;0.7", "could not convert"),
        ("--epsilon=8/0", "could not convert string to float: '8/0'"),
    ],
)
def test_from_flag_lines_errors(line, message):
    with pytest.raises(ValueError, match=message):
        Settings.from_flag_lines([line])


@pytest.mark.parametrize("value", [0, -1, 1.5, math.nan, math.inf])
@pytest.mark.parametrize("name", ["epsilon", "attack_step_size", "eval_attack_step_size"])
def test_radius_is_in_0_to_1(name, value):
    with pytest.raises(ValueError, match=f"^{name}: expected a value in .0, 1., in pixel units"):
        Settings(**{name: value})


BAD_VALUES = [
    *((name, (-1e-9, math.nan, math.inf)) for name in VALUES if VALUES[name] is AT_LEAST_0),
    *((name, (0.0, -1.0, math.nan, math.inf)) for name in VALUES if VALUES[name] is ABOVE_0),
    *((name, (0, -1)) for name in VALUES if VALUES[name] is COUNT),
    *((name, (0.0, 1.0, -1.0, math.nan)) for name in VALUES if VALUES[name] is SHARE),
    ("limit_train_examples", (0, -5)),
    ("limit_test_examples", (0, -5)),
    ("attack_steps_first", (0, -5, 21)),
    ("adversarial_weight", (-1.0, math.nan)),
    ("average_decay", (-0.1, 1.0, math.nan)),
    ("fix_sparsity", (-0.1, 1.0, math.nan, 0.5)),
    ("target_units", ((0.0,), (1.5,), (math.nan,), (3.0,))),
    ("label_smoothing", (-0.1, 1.0, math.nan)),
    ("train_epsilon", (0.0, 1.5, math.nan)),
    ("last_attack_at", (0.0, 1.1, math.nan)),
    ("optimizer", ("lion",)),
    ("decayed", ("biases",)),
    ("gradient_norm", (0.0, math.nan, math.inf)),
    ("vulnerability_share", (0.0, 1.1, math.nan)),
    ("teacher_weight", (0.0, 1.1, math.nan)),
    ("bound_weight", (-0.1, 1.1, math.nan)),
    ("bound_epsilon", (0.0, 1.5, math.nan)),
    ("bound_warmup_epochs", (-1.0, math.inf, math.nan)),
    ("op_threads", (0, -1)),
    ("validation_examples", (-1,)),
    ("validation_attack_queries", (-1,)),
    ("beta", (-1.0, math.nan, math.inf)),
    ("initial_a", (math.nan, math.inf)),
    ("initial_rho", (math.nan, math.inf, -80.0)),
    ("mask_freeze_at", (0.0, 1.1, math.nan)),
    ("prune_until", (0.0, 1.1, math.nan)),
    ("target_sparsity", (-0.1, 1.0, math.nan)),
    ("checkpoint_seconds", (-1.0, math.nan)),
    ("select_min_sparsity", (-0.1, 1.0, math.nan)),
    ("seed", (-1, 2**31)),
    ("decay_at", ((0.7, 0.5), (0.0,), (1.0,), (math.nan,))),
    ("image_size", ((32.0,), (0.0, 4.0), (1.5, 2.0), (math.nan, 1.0))),
    ("test_share", (0.0, 1.0, math.nan)),
    ("dataset", ("",)),
    ("method", ("anpvs", "")),
    ("network", ("",)),
    ("posterior", ("gamma",)),
    ("mask", ("l0",)),
    ("attack", ("cw",)),
    ("augmentation", ("cutout",)),
    ("granularity", ("channel",)),
    ("schedule", ("steps",)),
    ("select", ("first",)),
    ("mixed_precision", ("float16",)),
    ("distribution", ("tpu",)),
    ("dropout_multiplier", (-0.1, 1.1, math.nan)),
]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param(name, value, id=f"{name}={value}")
        for name, values in BAD_VALUES
        for value in values
    ],
)
def test_value_that_is_not_valid(name, value):
    with pytest.raises(ValueError, match=rf"^{name}: expected .*received ") as caught:
        Settings(**{name: value})
    assert str(value) in str(caught.value)


@pytest.mark.parametrize("name", VALUES)
def test_bad_values_cover_every_checked_field(name):
    free = {"data_dir", "image_key", "label_key", "init_from", "teacher"}
    free |= {"deterministic", "jit", "fresh", "mask_layers", "bound_masks"}
    radii = {"epsilon", "attack_step_size", "eval_attack_step_size"}
    assert name in free | radii | {name for name, _ in BAD_VALUES}


def test_trades_has_an_attack_of_its_own():
    with pytest.raises(ValueError, match=r"^attack: expected pgd, for method trades"):
        Settings(method="trades", attack="fgsm")


@pytest.mark.parametrize(
    ("dataset", "augmentation", "expected"),
    [
        ("mnist", "auto", "none"),
        ("cifar100", "auto", "crop_flip"),
        ("cifar10_corrupted/fog_3", "auto", "crop_flip"),
        ("cifar_digits.npz", "auto", "none"),
        ("./cifar10", "auto", "none"),
        ("mnist", "crop_flip", "crop_flip"),
        ("mnist", "crop", "crop"),
        ("cifar10", "none", "none"),
    ],
)
def test_cifar_is_augmented_unless_said_otherwise(dataset, augmentation, expected):
    settings = Settings(dataset=dataset, augmentation=augmentation)
    assert settings.augmentation_options == {"augmentation": expected, "crop_pixels": 4}


@pytest.mark.parametrize(
    ("values", "epsilon", "steps"),
    [
        ({}, 0.3, (0.01, 0.01)),
        ({"dataset": "mnist:3.0.1"}, 0.3, (0.01, 0.01)),
        ({"dataset": "cifar10"}, 8 / 255, (2 / 255, 2 / 255)),
        ({"dataset": "fashion_mnist"}, 8 / 255, (2 / 255, 2 / 255)),
        ({"dataset": "photos", "epsilon": 0.2, "train_epsilon": 0.02}, 0.2, (0.005, 0.01)),
    ],
)
def test_radius_by_data_set_and_steps_by_radius(values, epsilon, steps):
    settings = Settings(**values)
    assert settings.epsilon == epsilon
    assert (settings.attack_step_size, settings.eval_attack_step_size) == steps


@pytest.mark.parametrize(
    ("name", "epsilon", "augmentation"),
    [("mnist", 0.3, "none"), ("cifar10", 8 / 255, "crop_flip"), (3, 8 / 255, "none")],
)
def test_defaults_of_a_set_named_by_its_folder(tmp_path, name, epsilon, augmentation):
    (tmp_path / "dataset_info.json").write_text(json.dumps({"name": name}))
    settings = Settings(dataset=str(tmp_path))
    assert settings.epsilon == epsilon
    assert settings.augmentation_options["augmentation"] == augmentation


@pytest.mark.parametrize(("text", "value"), [("8/255", 8 / 255), ("0.3", 0.3), ("1e-1/2", 0.05)])
def test_a_number_may_be_a_fraction(text, value):
    assert Settings.from_flag_lines([f"--epsilon={text}"]).epsilon == value


def test_near_match_is_suggested():
    with pytest.raises(ValueError, match=r"one of standard, .*; did you mean anp_vs\?"):
        Settings(method="anpvs")


def test_settings_do_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().epsilon = 0.1
