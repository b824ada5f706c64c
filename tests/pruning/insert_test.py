"""Masks for networks that have none."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from anp_tf.layers import FusedBatchNormalization, HardConcrete, UnitMask, mask_layers
from anp_tf.models import resnet18
from anp_tf.pruning import insert_masks, slim, unmasked_layers


def half(x):
    return x / 2


def unit_mask(name):
    return UnitMask(name=name)


def outputs(model):
    x = np.random.default_rng(0).random((3, *model.input_shape[1:]), np.float32)
    return np.asarray(model(x))


def names(model):
    return [mask.name for mask in mask_layers(model)]


def test_a_mask_is_after_the_normalization_and_before_the_activation():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(4, 3, use_bias=False, name="first"),
            layers.BatchNormalization(name="norm"),
            layers.ReLU(name="relu"),
            layers.Conv2D(5, 3, activation="relu", name="second"),
            layers.GlobalAveragePooling2D(name="pool"),
            layers.Dense(6, activation="tanh", name="third"),
            layers.Dense(3, activation="softmax", name="last"),
        ]
    )
    masked = insert_masks(model)
    assert [layer.name for layer in masked.layers[1:]] == [
        *("first", "norm", "first_mask", "relu", "second", "second_mask"),
        *("second_activation", "pool", "third", "third_mask", "third_activation", "last"),
    ]
    assert [mask.units for mask in mask_layers(masked)] == [4, 5, 6]
    fused = keras.models.clone_model(
        model,
        clone_function=lambda layer: (
            FusedBatchNormalization.from_config(layer.get_config())
            if layer.name == "norm"
            else type(layer).from_config(layer.get_config())
        ),
    )
    fused.set_weights(model.get_weights())
    unmasked = outputs(insert_masks(model, unit_mask))
    np.testing.assert_array_equal(unmasked, outputs(fused))
    np.testing.assert_allclose(unmasked, outputs(model), rtol=1e-5, atol=1e-7)
    assert type(masked.get_layer("norm")) is FusedBatchNormalization
    assert type(slim(masked).get_layer("norm")) is layers.BatchNormalization
    assert model.get_layer("second").activation is keras.activations.relu  # it is not changed


@pytest.mark.slow
def test_the_masks_of_a_residual_network_are_those_of_resnet18():
    plain, expected = (
        resnet18(mask, width_multiplier=1 / 16) for mask in (None, lambda name: UnitMask(name=name))
    )
    masked = insert_masks(plain, unit_mask)
    np.testing.assert_array_equal(outputs(masked), outputs(plain))
    assert len(names(masked)) == len(names(expected))
    counts = sorted(len(mask._inbound_nodes) for mask in mask_layers(masked))
    assert counts == sorted(len(mask._inbound_nodes) for mask in mask_layers(expected))
    counts = []
    for network, name in ((masked, "stem_mask"), (expected, "stage1_mask")):
        network.get_layer(name).prune([0, 2])
        small = slim(network)
        assert small.get_layer("conv1_1_1").kernel.shape == (3, 3, 2, 4)
        counts.append(small.count_params())
    assert counts[0] == counts[1]


def test_a_depthwise_convolution_shares_the_mask_before_it():
    x = inputs = keras.Input((8, 8, 3))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(6, 1, name="expand")(x)))
    x = layers.DepthwiseConv2D(3, name="depthwise", padding="same")(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.BatchNormalization()(layers.Conv2D(3, 1, name="project")(x))
    x = layers.Add()([inputs, x])
    model = keras.Model(inputs, layers.Dense(4)(layers.GlobalAveragePooling2D()(x)))
    masked = insert_masks(model, unit_mask)
    assert names(masked) == ["expand_mask"]  # the inputs, which `project` is added to, have none
    assert len(mask_layers(masked)[0]._inbound_nodes) == 2
    mask_layers(masked)[0].prune([1, 2, 5])
    slimmed = slim(masked)
    np.testing.assert_allclose(outputs(slimmed), outputs(masked), atol=1e-6)
    assert slimmed.get_layer("expand").filters == 3
    assert slimmed.get_layer("depthwise").kernel.shape == (3, 3, 3, 1)


def test_units_that_a_layer_needs_all_of_have_no_mask():
    x = inputs = keras.Input((10, 4))
    x = layers.LayerNormalization(name="norm")(layers.Dense(6, name="needed")(x))
    x = layers.Dense(7, activation="gelu", name="free")(x)
    x = layers.Dense(6, name="attended")(x)
    x = layers.Attention(name="attention")([x, x])
    x = layers.Reshape((2, 5, 6))(layers.Dense(6, name="odd")(x))
    x = layers.ConvLSTM1D(2, 1, name="recurrent")(x)
    model = keras.Model(inputs, layers.Dense(3, name="logits")(layers.Flatten()(x)))
    masked, missing = insert_masks(model, unit_mask, report=True)
    assert names(masked) == ["free_mask"]
    assert [str(row) for row in missing] == [
        "`needed` (6 units): `norm` (LayerNormalization) needs all channels",
        "`attended` (6 units): `attention` (Attention) needs all channels",
        "`odd` (6 units): `recurrent` (ConvLSTM1D) is not known",
    ]
    assert unmasked_layers(masked) == missing
    np.testing.assert_array_equal(outputs(masked), outputs(model))


def test_the_kind_of_mask_and_the_layers_are_chosen():
    x = inputs = keras.Input((4,))
    for name in "abc":
        x = layers.Dense(5, activation="relu", name=name)(x)
    model = keras.Model(inputs, layers.Dense(2, name="logits")(x))
    masked = insert_masks(model, lambda name: HardConcrete(name=name), layers=["a", "c"])
    assert names(masked) == ["a_mask", "c_mask"]
    assert all(isinstance(mask, HardConcrete) for mask in mask_layers(masked))
    assert names(insert_masks(model, layers=lambda layer: layer.name == "b")) == ["b_mask"]
    with pytest.raises(ValueError, match=r"can have a mask: a, b, c\. Received: d, logits"):
        insert_masks(model, layers=["a", "logits", "d"])
    with pytest.raises(ValueError, match="has masks already"):
        insert_masks(masked)
    with pytest.raises(ValueError, match="must be a functional model"):
        insert_masks(keras.Sequential([layers.Dense(3)]))


def test_nested_models_and_layers_of_the_same_name():
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(6, name="dense")], name="inner")
    inputs = keras.Input((4,))
    x = layers.Dense(5, name="dense")(layers.ReLU()(inner(inputs)))
    model = keras.Model(inputs, layers.Dense(2)(layers.ReLU()(x)))
    masked = insert_masks(model, unit_mask)
    assert names(masked) == ["inner_dense_mask", "dense_mask"]
    np.testing.assert_array_equal(outputs(masked), outputs(model))


def test_what_is_added_takes_no_name_of_a_layer():
    keras.utils.clear_session(free_memory=False)  # as where a network is loaded
    x = inputs = keras.Input((3, 8, 8))
    x = layers.Conv2D(4, 3, data_format="channels_first", activation="relu", name="conv")(x)
    for name in ("conv_activation", "conv_mask", "permute"):
        x = layers.Dropout(0.1, name=name)(x)
    x = layers.Conv2D(4, 3, data_format="channels_first", name="last")(x)
    x = layers.Flatten()(x)  # of channels that come first
    model = keras.Model(inputs, layers.Dense(2)(x))
    masked = insert_masks(model, unit_mask)
    assert all(type(masked.get_layer(x.name)) is type(x) for x in model.layers[1:])
    assert names(masked) == ["conv_mask_"]


class Unknown(layers.Layer):
    def call(self, x):
        return keras.ops.cumsum(x, axis=-1)


@pytest.mark.parametrize(
    "between",
    [
        lambda x: layers.Concatenate()([x, x]),
        layers.Flatten(),
        layers.DepthwiseConv2D(3, depth_multiplier=2),
        lambda x: keras.ops.split(x, 2, axis=-1)[0],
        layers.MaxPooling2D(2),
    ],
)
def test_what_reaches_an_unknown_layer_by_any_way_has_no_mask(between, caplog):
    x = inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(6, 3, activation="relu", name="early")(x)
    x = layers.Conv2D(4, 3, activation="relu", name="before")(x)
    x = layers.Flatten()(Unknown(name="odd")(between(x)))
    model = keras.Model(inputs, layers.Dense(3)(layers.Dense(5, "relu", name="after")(x)))
    masked = insert_masks(model)
    assert names(masked) == ["early_mask", "after_mask"]
    assert "no mask for `before` (4 units): `odd` (Unknown) is not known" in caplog.text
    for mask in mask_layers(masked):
        mask.prune(np.arange(mask.units - 1))
    np.testing.assert_allclose(outputs(slim(masked)), outputs(masked), rtol=1e-4, atol=1e-6)
    for mask in mask_layers(masked):
        mask.prune(np.arange(mask.units))  # a constant image then reaches the unknown layer
    np.testing.assert_allclose(outputs(slim(masked)), outputs(masked), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "activation",
    [
        tf.nn.relu,
        keras.ops.gelu,
        layers.LeakyReLU(negative_slope=0.2),
        layers.PReLU(),
        lambda x: keras.ops.relu(x) ** 2,
        lambda x: keras.ops.relu(x) + 1.0,
        lambda x: keras.ops.softmax(x),
        lambda x: (x - keras.ops.mean(x)) / (keras.ops.std(x) + 1e-3),
        "softmax",
    ],
)
def test_what_is_masked_can_be_slimmed(activation):
    x = inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, activation=activation, name="conv")(x)
    x = layers.Conv2D(7, 3, padding="same", activation="relu")(x)
    model = keras.Model(inputs, layers.Dense(4)(layers.GlobalAveragePooling2D()(x)))
    masked = insert_masks(model)
    for mask in mask_layers(masked):
        mask.prune([1, 2])
    np.testing.assert_allclose(outputs(slim(masked)), outputs(masked), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "between",
    [
        [layers.ReLU],
        [lambda: layers.Activation("sigmoid"), layers.MaxPooling2D],
        [layers.BatchNormalization, layers.ReLU, lambda: layers.AveragePooling2D(2)],
    ],
    ids=["activation", "pooling", "two normalizations"],
)
@pytest.mark.parametrize("reader", [layers.Conv2D, layers.SeparableConv2D])
def test_units_before_a_normalization_behind_the_activation_are_cut(between, reader):
    x = inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, activation="relu", name="first")(x)
    for layer in between:
        x = layer()(x)
    x = reader(7, 3, padding="same")(layers.BatchNormalization()(x))
    model = keras.Model(inputs, layers.Dense(4)(layers.GlobalAveragePooling2D()(x)))
    random = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(random.uniform(0.2, 1.0, weight.shape))
    masked = insert_masks(model, unit_mask)
    np.testing.assert_allclose(outputs(masked), outputs(model), rtol=1e-4)
    mask_layers(masked)[0].prune([0, 2, 5])
    slimmed = slim(masked)
    assert slimmed.get_layer("first").filters == 5
    np.testing.assert_allclose(outputs(slimmed), outputs(masked), rtol=1e-4)


def test_a_mask_is_before_what_else_reads_its_units():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, activation="relu", name="first")(inputs)
    x = layers.Concatenate()([x, layers.BatchNormalization()(x)])
    model = keras.Model(inputs, layers.Dense(4)(layers.GlobalAveragePooling2D()(x)))
    masked = insert_masks(model, unit_mask)
    assert [layer.name for layer in masked.layers[1:4]] == [
        *("first", "first_mask", "first_activation")
    ]


@pytest.mark.parametrize("activation", ["softmax", "log_softmax", "sparsemax", layers.Softmax()])
@pytest.mark.parametrize(
    "layer",
    [
        lambda activation: layers.Conv1D(6, 3, activation=activation, name="odd"),
        lambda activation: layers.DepthwiseConv1D(3, activation=activation, name="odd"),
        lambda activation: layers.TimeDistributed(layers.Dense(6, activation), name="odd"),
    ],
    ids=["Conv1D", "DepthwiseConv1D", "TimeDistributed"],
)
def test_units_that_an_activation_needs_all_of_have_no_mask(layer, activation):
    x = inputs = keras.Input((8, 3))
    x = layers.Conv1D(6, 3, name="before")(x)
    x = layer(activation)(x)
    x = layers.Conv1D(5, 3, activation=layers.PReLU(), name="after")(x)
    model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))
    masked, missing = insert_masks(model, unit_mask, report=True)
    depthwise = isinstance(model.get_layer("odd"), layers.DepthwiseConv1D)
    assert names(masked) == (["after_mask"] if depthwise else ["before_mask", "after_mask"])
    (row,) = missing
    assert row.layer == ("before" if depthwise else "odd")
    assert row.reason.startswith("the activation of `odd`")
    assert row.reason.endswith("needs all channels")


def flat(x):
    return keras.ops.reshape(x, (1, -1))


@pytest.mark.parametrize(
    ("batch", "between"),
    [(1, flat), (3, layers.LSTM(4, stateful=True, name="lstm"))],
    ids=["reshape", "stateful"],
)
def test_a_network_of_a_fixed_batch_size(batch, between):
    inputs = keras.Input(batch_shape=(batch, 8, 3))
    x = between(layers.Conv1D(6, 3, activation="relu", name="conv")(inputs))
    masked = insert_masks(keras.Model(inputs, layers.Dense(2)(x)), unit_mask)
    mask_layers(masked)[0].prune([0, 2])
    for state in getattr(between, "states", None) or ():
        np.testing.assert_array_equal(state, 0.0)  # as before
    small = slim(masked)
    x = np.random.default_rng(0).random((batch, 8, 3), np.float32)
    np.testing.assert_allclose(small(x), masked(x), rtol=1e-5, atol=1e-6)


def test_masks_and_activations_have_the_policy_of_their_neighbour():
    x = inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, activation="gelu", name="conv", dtype="mixed_bfloat16")(x)
    x = layers.GlobalAveragePooling2D(dtype="mixed_bfloat16")(x)
    model = keras.Model(inputs, layers.Dense(3, dtype="float32")(x))
    masked = insert_masks(model)
    policies = {layer.name: layer.dtype_policy.name for layer in masked.layers[1:]}
    assert policies["conv_mask"] == policies["conv_activation"] == "mixed_bfloat16"
    assert all(weight.dtype == "float32" for weight in masked.weights)


class Counting(layers.Layer):
    """A layer with a state that is in no configuration and no variable."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.factor = 1.0

    def call(self, x):
        return x * self.factor


def test_a_copy_that_computes_something_else_is_an_error():
    x = inputs = keras.Input((4,))
    counting = Counting()
    model = keras.Model(inputs, layers.Dense(3)(layers.Dense(5, "relu")(counting(x))), name="mine")
    insert_masks(model)
    counting.factor = 2.0
    with pytest.raises(ValueError, match="copy of `mine` does not compute the same"):
        insert_masks(model)


def test_a_network_with_adapted_layers_survives_saving(tmp_path):
    norm = layers.Normalization()
    norm.adapt(np.random.default_rng(0).normal(5, 3, (64, 8)).astype(np.float32))
    inputs = keras.Input((8,))
    x = layers.Dense(5, activation="relu")(layers.Lambda(half)(norm(inputs)))
    masked = insert_masks(keras.Model(inputs, layers.Dense(2)(x)))
    for network in (masked, slim(masked)):
        network.save(tmp_path / "network.keras")
        loaded = keras.models.load_model(tmp_path / "network.keras", {"half": half})
        np.testing.assert_array_equal(outputs(loaded), outputs(network))


def test_a_function_that_was_told_its_shape_keeps_it():
    told = layers.Lambda(half, output_shape=(5,), name="told")
    inputs = keras.Input((8,))
    x = layers.ReLU()(told(layers.Dense(5, name="dense")(inputs)))
    masked, missing = insert_masks(keras.Model(inputs, layers.Dense(3)(x)), unit_mask, report=True)
    assert names(masked) == []
    assert [row.reason for row in missing] == ["`told` (Lambda) is not known"]


def test_a_recurrent_layer_keeps_its_outputs_and_lets_its_inputs_go():
    inputs = keras.Input((8, 3))
    x = layers.Conv1D(4, 3, activation="relu", name="conv")(inputs)
    x = layers.LSTM(5, return_sequences=True, name="lstm")(x)
    x = layers.Bidirectional(layers.GRU(2))(x)  # which needs all its inputs
    masked, missing = insert_masks(keras.Model(inputs, layers.Dense(3)(x)), unit_mask, report=True)
    assert names(masked) == ["conv_mask"]
    assert [(row.layer, row.units, row.reason) for row in missing] == [
        ("lstm", 5, "`lstm` (LSTM) keeps all its outputs")
    ]
    mask_layers(masked)[0].prune([0, 2])
    small = slim(masked)
    assert small.get_layer("conv").filters == 2
    np.testing.assert_allclose(outputs(small), outputs(masked), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("kind", [layers.LSTM, layers.GRU, layers.SimpleRNN])
def test_constants_before_a_recurrent_layer_go_into_its_bias(kind, use_bias):
    inputs = keras.Input((8, 3))
    x = layers.Conv1D(6, 3, activation="sigmoid", name="conv")(inputs)  # so they are not 0
    x = kind(5, use_bias=use_bias)(x)
    masked = insert_masks(keras.Model(inputs, layers.Dense(3)(x)), unit_mask)
    mask_layers(masked)[0].prune([0, 2])
    small = slim(masked)
    assert small.get_layer("conv").filters == (4 if use_bias else 6)
    np.testing.assert_allclose(outputs(small), outputs(masked), rtol=1e-5, atol=1e-6)
