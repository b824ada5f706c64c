"""The graph of a network: what takes the place of nested models, and of layers made of layers."""

import keras
import numpy as np
import pytest

from anp_tf import bounds
from anp_tf.layers import UnitMask, mask_layers
from anp_tf.models.graph import graph_of
from anp_tf.pruning import insert_masks, slim

L = keras.layers


def inputs_of(network, size=4):
    rng = np.random.default_rng(0)
    x = [rng.uniform(0, 9, (size, *x.shape[1:])).astype(x.dtype) for x in network.inputs]
    return x if len(x) > 1 else x[0]


def assert_same(network, other):
    x = inputs_of(network)
    expected, actual = (np.array(each(x, training=False)) for each in (network, other))
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def pruned(network):
    masked = insert_masks(network, UnitMask)
    for mask in mask_layers(masked):
        mask.prune([0, 1])
    return masked


def kinds(network):
    return [type(node.layer).__name__ for node in graph_of(network).nodes]


@pytest.mark.parametrize("as_dict", [True, False])
def test_the_inputs_of_a_nested_model_have_names(as_dict):
    """In the order of the names they are other ones than in that of the model."""
    first, second = keras.Input((5,), name="b"), keras.Input((5,), name="a")
    merged = L.Concatenate()([L.Dense(4, "relu")(first), second])
    given = {"b": first, "a": second} if as_dict else [first, second]
    inner = keras.Model(given, L.Dense(6, "relu")(merged))
    x, y = keras.Input((5,)), keras.Input((5,))
    network = keras.Model([x, y], L.Dense(3)(inner({"b": x, "a": y})))
    assert_same(network, slim(network))
    masked = pruned(network)
    assert_same(masked, slim(masked))
    assert "Functional" not in kinds(network)


def test_a_nested_model_casts_integers():
    x = keras.Input((6, 6, 3))
    inner = keras.Model(x, L.Flatten()(L.Conv2D(6, 3, activation="relu")(x)))
    pixels = keras.Input((6, 6, 3), dtype="uint8")
    network = keras.Model(pixels, L.Dense(3)(inner(pixels)))
    masked = pruned(network)
    assert_same(masked, slim(masked))
    assert kinds(network) == ["Cast", "Conv2D", "Flatten", "Dense"]


def test_a_nested_model_that_rounds_its_pixels_has_no_bounds():
    """To float16, beside whose steps a steep layer decides."""
    inner = keras.Sequential([keras.Input((4,), dtype="float16"), L.Dense(2)])
    pixels = keras.Input((4,))
    network = keras.Model(pixels, inner(pixels))
    assert kinds(network) == ["Cast", "Dense"]
    x = np.random.default_rng(0).random((5, 4)).astype(np.float32)
    with pytest.raises(ValueError, match="float16"):
        bounds.interval_bounds(network, x, 0.01)


@pytest.mark.filterwarnings("ignore:.*does not support masking")  # Keras's, of any such model
def test_what_cannot_be_put_in_the_place_of_a_nested_model():
    """Calls with a mask, or with a tensor of another rank, stay one call."""
    steps = keras.Input((7, 5))
    inner = keras.Model(steps, L.LSTM(4)(steps))
    x = keras.Input((7, 5))
    behind = keras.Model(x, L.Dense(3)(L.Dense(6, "relu")(inner(L.Masking(mask_value=0.0)(x)))))
    image = keras.Input((6, 6, 1))
    inner = keras.Model(image, L.Flatten()(image))
    x = keras.Input((6, 6))
    ranks = keras.Model(x, L.Dense(3)(L.Dense(6, "relu")(inner(x))))
    for network in (behind, ranks):
        assert "Functional" in kinds(network)
        masked = pruned(network)
        assert_same(masked, slim(masked))


OUTPUTS = {
    "a number": lambda x, training: keras.ops.leaky_relu(x, 0.9 if training else 0.1),
    "a keyword": lambda x, training: keras.ops.clip(x, 0.0, 0.1 if training else 9.0),
    "the order": lambda x, training: x - keras.ops.relu(x) if training else keras.ops.relu(x) - x,
    "the same": lambda x, training: keras.ops.leaky_relu(x, 0.1),
}


class Made(L.Layer):
    """A layer that is made of a dense one, with outputs of `OUTPUTS`."""

    def __init__(self, kind, **kwargs):
        super().__init__(**kwargs)
        self.kind, self.dense = kind, L.Dense(6)

    def build(self, shape):
        self.dense.build(shape)

    def call(self, x, training=False):
        return OUTPUTS[self.kind](self.dense(x), training)

    def compute_output_shape(self, shape):
        return (*shape[:-1], 6)

    def get_config(self):
        return {**super().get_config(), "kind": self.kind}


class Counting(Made):
    """Counts its calls."""

    def build(self, shape):
        super().build(shape)
        self.count = self.add_weight(name="count", initializer="zeros", trainable=False)

    def call(self, x, training=False):
        self.count.assign_add(1.0)
        return super().call(x, training)


def network_with(layer):
    x = keras.Input((5,))
    hidden = L.ReLU()(UnitMask()(L.Dense(8)(x)))
    return keras.Model(x, L.Dense(3)(layer(hidden)))


@pytest.mark.parametrize("kind", OUTPUTS)
def test_a_layer_is_opened_if_it_computes_the_same_in_training(kind):
    network = network_with(Made(kind))
    assert ("Made" in kinds(network)) == (kind != "the same")
    assert_same(network, slim(network))


def test_variables_stay_as_they_are():
    layer = Counting("the same")
    network = network_with(layer)
    layer.count.assign(5.0)
    graph_of(network)
    assert float(layer.count) == 5.0
