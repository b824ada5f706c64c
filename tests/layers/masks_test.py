"""What each kind of mask does within a model. A new one goes into the tables."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from anp_tf.layers import (
    BetaBernoulliDropout,
    HardConcrete,
    InformationBottleneck,
    LogNormalDropout,
    mask_layers,
)
from anp_tf.pruning import slim

# Every argument, with a value that is not the default.
ARGUMENTS = {
    BetaBernoulliDropout: {
        "alpha": 0.5,
        "temperature": 0.3,
        "threshold": 0.02,
        "posterior": "beta",
        "initial_a": 1.5,
        "initial_b": 0.25,
    },
    HardConcrete: {
        "initial_drop_rate": 0.2,
        "temperature": 0.5,
        "stretch": (-0.2, 1.3),
        "unit_cost": 25.0,
    },
    InformationBottleneck: {"initial_mean": 0.5, "initial_logvar": -3.0, "threshold": 0.5},
    LogNormalDropout: {"initial_mu": -0.5, "initial_log_sigma": -1.0, "threshold": 2.0},
}
# The trainable variables, with a range: of the values they are used at, or far beyond it.
RANGES = {
    BetaBernoulliDropout: {"a_u": (-30, 60), "b_u": (-30, 60)},
    HardConcrete: {"log_a": (np.log(0.01), np.log(100))},
    InformationBottleneck: {"mu": (-1e6, 1e6), "logvar": (-20, 20)},
    LogNormalDropout: {"mu": (-20, 5), "log_sigma": (-20, 5)},
}
# Values among which some prune a unit.
TRAINED = {
    BetaBernoulliDropout: {"a_u": (-10, 5), "b_u": (0.5, 1)},
    HardConcrete: {"log_a": (-4, 3)},
    InformationBottleneck: {"mu": (0.3, 1.5), "logvar": (-4, 2)},
    LogNormalDropout: {"mu": (-3, 0), "log_sigma": (-5, 3)},
}
BOUNDED = [
    (HardConcrete, "log_a"),
    (InformationBottleneck, "logvar"),
    (LogNormalDropout, "mu"),
    (LogNormalDropout, "log_sigma"),
]
NAN, INFINITE = float("nan"), float("inf")
INVALID = {
    BetaBernoulliDropout: {
        "alpha": ["x", 0.0],
        "temperature": [None, INFINITE],
        "threshold": ["1", 1.0],
        "posterior": [None],
        "initial_a": [NAN, "2"],
        "initial_b": [INFINITE, None],
        "kl_weight": [-1.0],
    },
    HardConcrete: {
        "initial_drop_rate": [0.0, 1.0, -0.5, NAN],
        "temperature": [0.0, -1.0, NAN],
        "stretch": [
            *((0.0, 1.1), (-0.1, 1.0), (-0.1,), (NAN, 1.1), (-0.1, NAN), (-0.005, 1.1)),
            *(-0.1, ("a", 1.1)),
        ],
        "unit_cost": [0.0, -1.0, NAN],
        "kl_weight": [-1.0],
    },
    InformationBottleneck: {
        "initial_mean": [NAN, INFINITE, None],
        "initial_logvar": [-20.1, 20.1, NAN],
        "threshold": [NAN, INFINITE],
        "kl_weight": [-1.0],
    },
    LogNormalDropout: {
        "initial_mu": [-20.1, 5.1, NAN, None],
        "initial_log_sigma": [-20.1, 5.1, NAN],
        "threshold": [0.0, -1.0, NAN],
        "kl_weight": [-1.0],
    },
}


@pytest.fixture(params=ARGUMENTS, ids=lambda kind: kind.__name__)
def kind(request):
    """The mask's class."""
    return request.param


def assign(layer, table, rng):
    for name, (low, high) in table[type(layer)].items():
        getattr(layer, name).assign(rng.uniform(low, high, layer.units))


def test_config_has_every_argument(kind):
    arguments = {**ARGUMENTS[kind], "kl_weight": 0.125, "seed": 3}
    layer, default = kind(**arguments), kind()
    config = kind.from_config(layer.get_config()).get_config()
    assert {name: config[name] for name in arguments} == arguments
    own = set(default.get_config()) - set(keras.layers.Layer().get_config())
    assert own == set(arguments)
    assert all(default.get_config()[name] != value for name, value in arguments.items())


@pytest.mark.parametrize(
    ("kind", "argument", "value"),
    [
        pytest.param(kind, argument, value, id=f"{kind.__name__}-{argument}-{value}")
        for kind, arguments in INVALID.items()
        for argument, values in arguments.items()
        for value in values
    ],
)
def test_invalid_arguments(kind, argument, value):
    with pytest.raises(ValueError, match=f"argument `{argument}`.*Expected.*Received: {argument}="):
        kind(**{argument: value})


def test_corners_are_finite(kind):
    """A unit for every combination of the ends and the middle of the variables' ranges."""
    ranges = RANGES[kind]
    values = [(low, (low + high) / 2, high) for low, high in ranges.values()]
    points = np.array(list(itertools.product(*values)), np.float32)
    layer = kind()
    layer.build((None, len(points)))
    variables = [getattr(layer, name) for name in ranges]
    assert {id(v) for v in variables} == {id(v) for v in layer.trainable_variables}
    for variable, column in zip(variables, points.T, strict=True):
        variable.assign(column)
    with tf.GradientTape(persistent=True) as tape:
        quantities = [layer.training_mask(100, tf.constant([1, 2])), layer.expected(), layer.kl()]
    for quantity in quantities:
        assert np.all(np.isfinite(quantity))
        gradients = tape.gradient(quantity, variables)
        assert gradients[0] is not None  # an expected mask may depend on one of two variables
        assert all(np.all(np.isfinite(g)) for g in gradients if g is not None)


@pytest.mark.parametrize("side", [0, 1], ids=["low", "high"])
@pytest.mark.parametrize(("kind", "name"), BOUNDED)
def test_a_variable_comes_back_from_its_bound(kind, name, side):
    """However long it has been pressed against it, the next step leads away."""
    layer = kind()
    layer.build((None, 3))
    variable, bound = getattr(layer, name), np.float32(RANGES[kind][name][side])
    outwards = (-1.0, 1.0)[side]
    optimizer = keras.optimizers.SGD(1.0)
    for _ in range(40):
        optimizer.apply([tf.fill([3], -outwards)], [variable])
    np.testing.assert_array_equal(variable, np.full(3, bound))
    optimizer.apply([tf.fill([3], 0.5 * outwards)], [variable])
    np.testing.assert_allclose(variable, np.full(3, bound - 0.5 * outwards), rtol=1e-6)


@pytest.mark.parametrize("side", [0, 1], ids=["low", "high"])
@pytest.mark.parametrize(("kind", "name"), BOUNDED)
def test_the_gradient_passes_at_a_bound_and_not_beyond(kind, name, side):
    layer = kind()
    layer.build((None, 2))
    bound = np.float32(RANGES[kind][name][side])
    beyond = bound + (-1.0, 1.0)[side]
    if kind is LogNormalDropout:  # where the divergence depends on both of its variables
        layer.mu.assign([1.0, 1.0])
        layer.log_sigma.assign([1.0, 1.0])
    getattr(layer, name).assign([bound, beyond])
    with tf.GradientTape() as tape:
        kl = layer.kl()
    at_bound, outside = np.array(tape.gradient(kl, getattr(layer, name)))
    assert abs(at_bound) > 1e-10
    assert outside == 0.0


def test_trains_and_is_saved(kind, tmp_path):
    x = np.random.default_rng(0).random((256, 6)).astype(np.float32)
    y = (x[:, 0] > x[:, 1]).astype(np.int32)
    inputs = keras.Input((6,))
    mask = kind(kl_weight=1 / len(x), seed=1)
    hidden = keras.layers.ReLU()(mask(keras.layers.Dense(16)(inputs)))
    model = keras.Model(inputs, keras.layers.Dense(2)(hidden))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.03), loss, jit_compile=False)
    penalty = float(mask.kl())
    history = model.fit(x, y, epochs=10, verbose=0).history["loss"]
    assert float(mask.kl()) < 0.95 * penalty
    assert history[-1] < 0.9 * history[0]
    np.testing.assert_allclose(model.evaluate(x, y, verbose=0), loss(y, model(x)), rtol=1e-4)

    mask.prune([2])
    model.save(tmp_path / "model.keras")
    copy = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(copy(x), model(x))
    assert mask_layers(copy)[0].get_config() == mask.get_config()


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_trains(kind, policy):
    mask = kind(kl_weight=1.0, dtype=policy, seed=1)
    layers = [keras.Input((3,)), keras.layers.Dense(4, dtype=policy), mask]
    model = keras.Sequential([*layers, keras.layers.Dense(1, dtype="float32")])
    assert model.layers[1].compute_dtype in policy
    start = [np.array(variable) for variable in mask.trainable_variables]
    model.compile("sgd", "mse", run_eagerly=True)
    model.fit(np.ones((4, 3)), np.ones(4), verbose=0)
    for variable, before in zip(mask.trainable_variables, start, strict=True):
        assert variable.dtype == "float32"
        assert np.all(np.isfinite(variable))
        assert np.any(variable != before)


def test_slim_has_the_same_logits(kind):
    keras.utils.set_random_seed(0)
    layers = keras.layers
    x = inputs = keras.Input((12, 12, 2))
    x = layers.BatchNormalization()(layers.Conv2D(8, 3)(x))
    x = layers.MaxPooling2D(2)(layers.ReLU()(kind(name="first")(x)))
    x = layers.ReLU()(kind(name="second")(layers.Conv2D(10, 3)(x)))
    x = kind(name="third")(layers.Flatten()(x))
    model = keras.Model(inputs, layers.Dense(4)(x))
    rng = np.random.default_rng(0)
    for mask in mask_layers(model):
        assign(mask, TRAINED, rng)
        assert 0 < np.count_nonzero(mask.active_units()) < mask.units  # by the posterior
    first = mask_layers(model)[0]
    kept = np.flatnonzero(first.active_units())
    first.prune(kept[:1])
    slimmed = slim(model)
    assert slimmed.layers[1].filters == len(kept) - 1
    assert mask_layers(slimmed) == []
    images = rng.random((5, 12, 12, 2), np.float32)
    expected = np.array(model(images))
    scale = np.abs(expected).max()
    assert scale > 0.01
    np.testing.assert_allclose(slimmed(images), expected, rtol=0, atol=1e-5 * scale)
