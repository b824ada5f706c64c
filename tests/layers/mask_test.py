"""What holds for every Bayesian mask. A new mask layer goes into `MASKS`."""

import subprocess
import sys
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

import anp_tf.layers
from anp_tf.layers import (
    BayesianMask,
    BetaBernoulliDropout,
    HardConcrete,
    InformationBottleneck,
    LogNormalDropout,
    UnitMask,
    given_masks,
    mask_layers,
)
from anp_tf.pruning import mask_summary


@keras.saving.register_keras_serializable(package="anp_tf_tests")
class GaussianMask(BayesianMask):
    """A user's own mask, N(mean, 1): the least that the base class asks for."""

    def build(self, input_shape):
        super().build(input_shape)
        self.mean = self.add_weight(
            name="mean", shape=(self.units,), initializer="ones", dtype="float32", autocast=False
        )

    def sample(self, batch_size, seed):
        noise = tf.random.stateless_normal([batch_size, self.units], seed)
        return tf.convert_to_tensor(self.mean) + noise

    def expected(self):
        return tf.convert_to_tensor(self.mean)

    def kl(self):
        return tf.reduce_sum(tf.square(self.mean)) / 2


MASKS = {
    "BetaBernoulliDropout": BetaBernoulliDropout,
    "BetaBernoulliDropout-beta": lambda **kwargs: BetaBernoulliDropout(posterior="beta", **kwargs),
    "HardConcrete": HardConcrete,
    "InformationBottleneck": InformationBottleneck,
    "LogNormalDropout": LogNormalDropout,
    "custom": GaussianMask,
}
SHAPES = [
    pytest.param((4, 3), id="dense"),
    pytest.param((4, 6, 3), id="sequence"),
    pytest.param((4, 6, 5, 3), id="images"),
    pytest.param((4, 2, 6, 5, 3), id="video"),
]


@pytest.fixture(params=MASKS.values(), ids=MASKS)
def mask(request):
    """The mask's class, or a function like it."""
    return request.param


def built(mask, units=3, **kwargs):
    layer = mask(**kwargs)
    layer.build((None, units))
    return layer


def features(shape=(4, 3), seed=0):
    return np.random.default_rng(seed).uniform(0.5, 1.5, shape).astype(np.float32)


def test_every_public_mask_is_in_the_list():
    public = [getattr(anp_tf.layers, name) for name in anp_tf.layers.__all__]
    public = {c for c in public if isinstance(c, type) and issubclass(c, BayesianMask)}
    assert public - {BayesianMask, UnitMask} <= {type(mask()) for mask in MASKS.values()}


# The contract of a Keras layer.


def test_config_round_trip(mask):
    layer = mask(kl_weight=0.25, seed=7, name="my_mask")
    copy = type(layer).from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()
    assert (copy.kl_weight, copy.seed, copy.name) == (0.25, 7, "my_mask")


def test_keras_file_round_trip(mask, tmp_path):
    model = keras.Sequential([keras.Input((3,)), mask(name="my_mask"), keras.layers.Dense(2)])
    (layer,) = mask_layers(model)
    layer.set_weights([w + 0.1 * np.arange(3, dtype=w.dtype) for w in layer.get_weights()])
    layer.prune(1)
    model.save(tmp_path / "model.keras")
    copy = keras.saving.load_model(tmp_path / "model.keras")
    for value, expected in zip(copy.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(value, expected)
    np.testing.assert_array_equal(copy(features()), model(features()))


@pytest.mark.slow
def test_keras_file_loads_in_a_fresh_process(tmp_path):
    masks = [mask for name, mask in MASKS.items() if name != "custom"]
    model = keras.Sequential([keras.Input((3,)), *(mask() for mask in masks)])
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "x.npy", features())
    script = """if True:
        import sys
        import keras, numpy as np
        import anp_tf.layers
        model = keras.saving.load_model(sys.argv[1] + "/model.keras")
        np.save(sys.argv[1] + "/y.npy", model(np.load(sys.argv[1] + "/x.npy")))
    """
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), model(features()))


POLICIES = ["float16", "bfloat16", "float64", "mixed_float16", "mixed_bfloat16"]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("training", [False, True])
def test_dtype_policies(mask, policy, training):
    layer = mask(dtype=policy, kl_weight=0.5, seed=3)
    x = tf.cast(features((4, 6, 5, 3)), layer.compute_dtype)
    y = layer(x, training=training)
    assert y.dtype == layer.compute_dtype
    assert {variable.dtype for variable in layer.variables if "seed" not in variable.path} == {
        "float32"
    }
    reference = mask(kl_weight=0.5, seed=3)
    expected = reference(tf.cast(x, tf.float32), training=training)
    tolerance = {"float16": 2e-3, "bfloat16": 2e-2, "float64": 1e-6}[layer.compute_dtype]
    np.testing.assert_allclose(tf.cast(y, tf.float32), expected, rtol=tolerance, atol=1e-6)
    for loss, of_float32 in zip(layer.losses, reference.losses, strict=True):
        assert loss.dtype == tf.float32
        assert loss == of_float32


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_trains(policy):
    layers = [keras.layers.Dense(4, dtype=policy), BetaBernoulliDropout(kl_weight=1, dtype=policy)]
    model = keras.Sequential([*layers, keras.layers.Dense(1, dtype="float32")])
    model.compile("sgd", "mse", run_eagerly=True)
    model.fit(features(), np.ones(4), verbose=0)
    start = -1.0
    assert np.all(np.isfinite(model.layers[1].a_u))
    assert np.any(np.array(model.layers[1].a_u) != start)


@pytest.mark.parametrize("shape", SHAPES)
def test_symbolic_shape(mask, shape):
    x = keras.Input((*[None] * (len(shape) - 2), shape[-1]))
    layer = mask()
    assert layer(x).shape == x.shape
    assert layer.compute_output_shape(shape) == shape


def test_unknown_number_of_units(mask):
    with pytest.raises(ValueError, match=r"my_mask.*last axis.*\(None, 5, None\)"):
        mask(name="my_mask")(keras.Input((5, None)))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    ("inputs", "received"),
    [
        pytest.param(tf.ones([3]), r"float32 of shape \(3,\)", id="one axis"),
        pytest.param(tf.ones([2, 1]), r"float32 of shape \(2, 1\)", id="other units"),
        pytest.param(tf.ones([2, 3], tf.int32), r"int32 of shape \(2, 3\)", id="integers"),
        pytest.param(tf.TensorSpec(None), "float32 of shape <unknown>", id="unknown rank"),
        pytest.param(keras.KerasTensor((None, 1)), r"float32 of shape \(None, 1\)", id="symbolic"),
    ],
)
def test_inputs_that_a_mask_is_not_for(inputs, received, training):
    layer = built(UnitMask, name="my_mask")

    def call(x):
        return layer(x, training=training)

    if isinstance(inputs, tf.TensorSpec):
        inputs, call = tf.ones([2, 3]), tf.function(call, [inputs], autograph=False)
    with pytest.raises(ValueError, match=rf"my_mask.* floats \[batch, \.\.\., 3\].*{received}"):
        call(inputs)


@pytest.mark.parametrize("kl_weight", [-1e-9, -1.0, float("nan"), float("inf"), "a", None])
def test_invalid_kl_weight(mask, kl_weight):
    with pytest.raises(ValueError, match=r"argument `kl_weight`.*Received: kl_weight="):
        mask(kl_weight=kl_weight)


# The contract of a mask.


@pytest.mark.parametrize("method", ["expected", "kl", "sample"])
def test_base_class_names_what_is_missing(method):
    layer = built(BayesianMask)
    with pytest.raises(NotImplementedError, match=f"`{method}`"):
        getattr(layer, method)(*((2, [0, 1]) if method == "sample" else ()))


def test_shapes_and_dtypes(mask):
    layer = built(mask)
    draws = layer.training_mask(5, tf.constant([1, 2]))
    assert (draws.shape, draws.dtype) == ((5, 3), tf.float32)
    expected = layer.inference_mask()
    assert (expected.shape, expected.dtype) == (3, tf.float32)
    active = layer.active_units()
    assert (active.shape, active.dtype) == (3, tf.bool)
    assert (layer.kl().shape, layer.kl().dtype) == ((), tf.float32)
    assert layer.kl() > 0


@pytest.mark.parametrize("shape", SHAPES)
def test_one_factor_per_unit_in_inference(mask, shape):
    layer, x = mask(), features(shape)
    y = layer(x, training=False)
    np.testing.assert_allclose(y, x * np.array(layer.inference_mask()), rtol=1e-6)
    np.testing.assert_array_equal(layer(x, training=False), y)
    np.testing.assert_array_equal(layer(x), y)


@pytest.mark.parametrize("shape", SHAPES)
def test_one_factor_per_example_and_unit_in_training(mask, shape):
    layer, x = mask(seed=1), features(shape)
    factors = np.array(layer(x, training=True)) / x
    over_positions = factors.reshape(shape[0], -1, shape[-1])
    np.testing.assert_allclose(over_positions, over_positions[:, :1] + 0 * over_positions, 1e-5)
    draws = over_positions[:, 0]
    if isinstance(layer, LogNormalDropout):  # the examples of a batch share their draw
        np.testing.assert_allclose(draws, draws[:1] + 0 * draws, 1e-5)
    else:
        assert len(np.unique(draws, axis=0)) == shape[0]


def test_draws_change_from_call_to_call(mask):
    layer = mask(seed=1)
    first, second = layer(features(), training=True), layer(features(), training=True)
    assert np.any(first != second)


def test_same_seed_same_draws(mask):
    first, second, other = mask(seed=1), mask(seed=1), mask(seed=2)
    for _ in range(2):
        y = first(features(), training=True)
        np.testing.assert_array_equal(second(features(), training=True), y)
        assert np.any(other(features(), training=True) != y)


@pytest.mark.parametrize(
    ("units", "kept"),
    [
        pytest.param(1, [1, 0, 1], id="one"),
        pytest.param([0, 2], [0, 1, 0], id="list"),
        pytest.param(np.array([2]), [1, 1, 0], id="array"),
        pytest.param([1, 1], [1, 0, 1], id="twice"),
        pytest.param([], [1, 1, 1], id="none"),
        pytest.param(range(3), [0, 0, 0], id="all"),
    ],
)
def test_prune_by_hand(mask, units, kept):
    layer = built(mask)
    before = np.array(layer.inference_mask())
    layer.prune(units)
    np.testing.assert_array_equal(layer.active_units(), np.array(kept, bool))
    np.testing.assert_array_equal(layer.inference_mask(), before * kept)
    draws = np.array(layer.training_mask(100, tf.constant([1, 2])))
    np.testing.assert_array_equal(draws.any(axis=0), np.array(kept, bool))


def test_pruned_units_stay_pruned(mask):
    layer = built(mask)
    layer.prune(0)
    layer.prune(2)
    np.testing.assert_array_equal(layer.active_units(), [False, True, False])
    for variable in layer.trainable_variables:
        variable.assign(variable + 3.0)
    np.testing.assert_array_equal(layer.active_units(), [False, True, False])


@pytest.mark.parametrize(
    "units",
    [
        pytest.param(3, id="too large"),
        pytest.param(-1, id="negative"),
        pytest.param([0, 17], id="one of them"),
        pytest.param(1.5, id="not an integer"),
        pytest.param([True, False, True], id="Boolean"),
        pytest.param([[0], [1, 2]], id="several lengths"),
    ],
)
def test_prune_units_that_do_not_exist(mask, units):
    layer = built(mask, name="my_mask")
    with pytest.raises(ValueError, match=r"argument `units`.*my_mask"):
        layer.prune(units)
    assert np.all(layer.active_units())


def test_kl_is_added_to_the_loss_in_training_only(mask):
    layer = mask(kl_weight=0.25)
    layer(features(), training=True)
    (loss,) = layer.losses
    np.testing.assert_allclose(loss, 0.25 * np.array(layer.kl()), rtol=1e-6)
    model = keras.Sequential([layer])
    model(features(), training=False)
    assert model.losses == []
    silent = mask()
    silent(features(), training=True)
    assert silent.losses == []


def test_mask_layers_finds_nested_masks_in_order():
    names = ["first", "second", "third", "fourth"]
    first, second, third, fourth = (GaussianMask(name=name) for name in names)
    inner = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3), second, third])
    model = keras.Sequential([keras.Input((3,)), first, inner, fourth, keras.layers.ReLU()])
    assert [layer.name for layer in mask_layers(model)] == names
    assert mask_layers(keras.Sequential([keras.layers.ReLU()])) == []


# given_masks.


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "given",
    [
        pytest.param([2.0, 0.0, -1.0], id="per unit"),
        pytest.param([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], id="per example"),
    ],
)
def test_given_masks_take_precedence(mask, given, training):
    layer, x = mask(), features((2, 5, 5, 3))
    layer.build(x.shape)
    with given_masks({layer: tf.constant(given)}):
        y = layer(x, training=training)
    factor = np.reshape(given, (-1, 1, 1, 3))
    np.testing.assert_allclose(y, x * factor, rtol=1e-6)
    assert np.any(layer(x) != y)


def test_given_masks_nest():
    one, two = built(GaussianMask), built(GaussianMask)
    x = np.ones((1, 3), np.float32)

    def factors():
        return [float(layer(x)[0, 0]) for layer in (one, two)]

    with given_masks({one: 2 * tf.ones(3), two: 3 * tf.ones(3)}):
        with given_masks({one: 5 * tf.ones(3)}):
            assert factors() == [5.0, 3.0]
        assert factors() == [2.0, 3.0]
    assert factors() == [1.0, 1.0]


def test_given_masks_end_with_an_exception():
    layer = built(GaussianMask)
    with pytest.raises(RuntimeError, match="boom"), given_masks({layer: tf.zeros(3)}):
        raise RuntimeError("boom")
    assert np.all(layer(np.ones((1, 3), np.float32)) == 1.0)


def test_given_masks_are_of_one_thread():
    layer, seen = built(GaussianMask), {}

    def other_thread():
        seen["plain"] = np.array(layer(np.ones((1, 3), np.float32)))
        with given_masks({layer: tf.fill([3], 7.0)}):
            inside.set()
            leave.wait(10)

    inside, leave = threading.Event(), threading.Event()
    thread = threading.Thread(target=other_thread)
    with given_masks({layer: tf.zeros(3)}):
        thread.start()
        assert inside.wait(10)
        seen["mine"] = np.array(layer(np.ones((1, 3), np.float32)))
        leave.set()
        thread.join()
    np.testing.assert_array_equal(seen["plain"], np.ones((1, 3)))
    np.testing.assert_array_equal(seen["mine"], np.zeros((1, 3)))


def test_given_masks_in_a_traced_function():
    layer = built(GaussianMask)

    @tf.function
    def masked(x, factor):
        with given_masks({layer: factor}):
            return layer(x, training=True)

    for factor in (2.0, 3.0):
        y = masked(tf.ones([2, 3]), tf.fill([3], factor))
        np.testing.assert_array_equal(y, np.full((2, 3), factor))


def test_what_needs_units_says_that_there_are_none_yet():
    mask = BetaBernoulliDropout(name="early")
    with pytest.raises(ValueError, match="`early` has no units yet"):
        mask.prune(0)
    with pytest.raises(ValueError, match="`early` has no units yet"):
        mask.active_units()
    for name, other in MASKS.items():
        if name != "custom":
            with pytest.raises(ValueError, match="`early` has no units yet"):
                other(name="early").kl()
    with pytest.raises(ValueError, match="`early` has no units yet"):
        mask.keep_probabilities()
    with pytest.raises(ValueError, match="not built"):
        mask_summary(keras.Sequential([keras.layers.Dense(2), mask]))
