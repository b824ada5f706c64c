"""A slim network computes what the masked one does, with fewer weights."""

import subprocess
import sys

import hypothesis
import hypothesis.strategies as st
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from anp_tf.layers import BayesianMask, BetaBernoulliDropout, mask_layers
from anp_tf.models import lenet5_caffe, resnet18, vgg16
from anp_tf.pruning import Handler, cost, handlers, insert_masks, register_handler, slim


def mask(name):
    return BetaBernoulliDropout(name=name)


class FixedMask(BayesianMask):
    """A mask whose factors are given."""

    def __init__(self, factors, **kwargs):
        super().__init__(**kwargs)
        self.factors = factors

    def expected(self):
        return tf.constant(self.factors)


def randomise(model, seed=0):
    """Random weights, biases, moving statistics and factors (from 0.2 to 1); all units are kept.

    Features neither vanish nor grow with the depth, so that the logits depend on all weights.
    """
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, BetaBernoulliDropout):
            layer.a_u.assign(rng.uniform(-1, 5, layer.units))
        elif not isinstance(layer, BayesianMask | layers.Normalization):
            for weight in layer.weights:
                mean = 1.0 if weight.name in ("gamma", "moving_variance") else 0.0
                is_kernel = len(weight.shape) > 1
                deviation = (2 / np.prod(weight.shape[:-1])) ** 0.5 if is_kernel else 0.3
                value = rng.normal(mean, deviation, weight.shape)
                weight.assign(np.abs(value) if weight.name == "moving_variance" else value)
    return model


def keep(layer, kept):
    layer.prune(np.setdiff1d(np.arange(layer.units), kept))


def lenet(**kwargs):
    return randomise(lenet5_caffe(mask, **kwargs))


def assert_same_outputs(model, slimmed, images=7):
    x = np.random.default_rng(1).random((images, *model.input_shape[1:]), np.float32)
    expected, actual = model(x, training=False), slimmed(x, training=False)
    for a, b in zip(keras.tree.flatten(expected), keras.tree.flatten(actual), strict=True):
        assert np.abs(a).max() > 0.01
        np.testing.assert_allclose(b, a, rtol=0, atol=1e-5 * np.abs(a).max())


def convolutions(model):
    return [layer for layer in model.layers if isinstance(layer, layers.Conv2D)]


def operations(model):
    return [type(operation).__name__ for operation in model.operations]


@pytest.mark.parametrize("pruned", [0.0, 0.3, 0.9, 0.99])
def test_lenet_with_random_masks(pruned):
    model = lenet()
    rng = np.random.default_rng(2)
    for layer in mask_layers(model):
        layer.prune(np.flatnonzero(rng.random(layer.units) < pruned))
    slimmed = slim(model)
    assert_same_outputs(model, slimmed)
    masks = sum(layer.count_params() for layer in mask_layers(model))
    dense = model.count_params() - masks
    assert slimmed.count_params() < dense if pruned else slimmed.count_params() == dense


def test_lenet_with_one_unit_of_each_mask():
    model = lenet()
    for layer, unit in zip(mask_layers(model), (3, 7, 57, 11), strict=True):
        keep(layer, [unit])  # 57 is channel 7 at the second position
    slimmed = slim(model)
    assert_same_outputs(model, slimmed)
    assert slimmed.count_params() == (25 + 1) + (25 + 1) + (1 + 1) + (10 + 10)


@pytest.mark.parametrize("name", ["conv1_mask", "conv2_mask", "flatten_mask", "dense1_mask"])
def test_a_mask_that_prunes_everything(name):
    model = lenet()
    keep(model.get_layer(name), [])
    slimmed = slim(model)
    assert_same_outputs(model, slimmed)
    layer = slimmed.get_layer({"flatten_mask": "conv2"}.get(name, name.removesuffix("_mask")))
    assert layer.kernel.shape[-1] == 1


@pytest.fixture(scope="module")
def toy():
    return lenet(width_multiplier=0.1, input_shape=(16, 16, 1))


@hypothesis.settings(max_examples=15, deadline=None, derandomize=True)
@hypothesis.given(data=st.data())
def test_any_masks(toy, data):
    for layer in mask_layers(toy):
        kept = data.draw(st.lists(st.booleans(), min_size=layer.units, max_size=layer.units))
        layer.kept.assign(np.array(kept, np.float32))
        layer.a_u.assign(np.full(layer.units, data.draw(st.floats(-3, 5))))
    assert_same_outputs(toy, slim(toy), images=3)


@pytest.fixture(scope="module")
def deep():
    """VGG-16 and ResNet-18 with 4 to 32 channels, by name."""
    return {
        build.__name__: randomise(build(mask, width_multiplier=1 / 16))
        for build in (vgg16, resnet18)
    }


@pytest.fixture
def resnet(deep):
    for layer in mask_layers(deep["resnet18"]):
        layer.kept.assign(np.ones(layer.units))
    return deep["resnet18"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vgg16", "resnet18"])
@hypothesis.settings(max_examples=4, deadline=None, derandomize=True)
@hypothesis.given(seed=st.integers(0, 1000))
def test_any_masks_of_deep_networks(deep, name, seed):
    rng = np.random.default_rng(seed)
    for layer in mask_layers(deep[name]):
        pruned = rng.random(layer.units) < rng.choice([0.0, 0.2, 0.5, 0.8])
        layer.kept.assign(~pruned)
        layer.a_u.assign(rng.uniform(-1, 5, layer.units))
    slimmed = slim(deep[name])
    assert_same_outputs(deep[name], slimmed, images=3)
    names = [layer.name for layer in deep[name].layers if not isinstance(layer, BayesianMask)]
    there = [layer.name for layer in slimmed.layers if layer.name in names]
    assert there == [name for name in names if name in there]
    added = [layer for layer in slimmed.layers if layer.name not in names]
    assert all(isinstance(layer, layers.Rescaling) for layer in added)


@pytest.mark.parametrize(
    ("name", "inner", "stream"),
    [pytest.param("stage2_mask", 8, 1, marks=pytest.mark.slow), ("conv2_1_1_mask", 1, 8)],
)
def test_resnet_with_one_unit_of_a_mask(resnet, name, inner, stream):
    keep(resnet.get_layer(name), [5])
    slimmed = slim(resnet)
    assert_same_outputs(resnet, slimmed)
    kernels = {layer.name: layer.kernel.shape for layer in convolutions(slimmed)}
    assert kernels["conv2_1_1"] == (3, 3, 4, inner)
    assert kernels["conv2_1_2"] == (3, 3, inner, stream)
    assert kernels["projection2_1"] == (1, 1, 4, stream)
    assert kernels["conv2_2_1"] == (3, 3, stream, 8)
    assert kernels["conv2_2_2"] == (3, 3, 8, stream)
    assert kernels["conv3_1_1"] == (3, 3, stream, 16)
    assert kernels["projection3_1"] == (1, 1, stream, 16)


@pytest.mark.slow
def test_resnet_with_no_unit_of_a_mask(resnet):
    filters = {layer.name: layer.filters for layer in convolutions(resnet)}
    keep(resnet.get_layer("conv3_2_1_mask"), [])
    slimmed = slim(resnet)
    assert_same_outputs(resnet, slimmed)
    del filters["conv3_2_1"], filters["conv3_2_2"]  # the branch
    assert {layer.name: layer.filters for layer in convolutions(slimmed)} == filters
    keep(resnet.get_layer("stage2_mask"), [])  # no image passes
    slimmed = slim(resnet)
    assert_same_outputs(resnet, slimmed)
    for layer in mask_layers(resnet):
        keep(layer, [])
    slimmed = slim(resnet)
    assert_same_outputs(resnet, slimmed)


def test_parameters_and_names_of_lenet():
    model = lenet()
    for layer, kept in zip(mask_layers(model), (5, 7, 800, 11), strict=True):
        keep(layer, np.arange(kept))
    slimmed = slim(model)
    assert_same_outputs(model, slimmed)
    expected = (25 * 5 + 5) + (25 * 5 * 7 + 7) + (16 * 7 * 11 + 11) + (11 * 10 + 10)
    assert slimmed.count_params() == expected
    names = [layer.name for layer in model.layers if not isinstance(layer, BayesianMask)]
    assert [layer.name for layer in slimmed.layers] == names
    assert slimmed.name == model.name
    assert slimmed.input_shape == model.input_shape


def test_channels_that_nothing_reads_go_too():
    model = lenet()
    positions = np.arange(16) * 50
    model.get_layer("flatten_mask").prune(np.concatenate([positions + c for c in range(2, 50)]))
    keep(model.get_layer("dense1_mask"), [0, 1, 2])
    slimmed = slim(model)
    assert_same_outputs(model, slimmed)
    assert slimmed.get_layer("conv2").filters == 2
    assert slimmed.get_layer("dense1").kernel.shape == (32, 3)


def test_only_an_uneven_flatten_has_a_gather():
    model = lenet()
    model.get_layer("conv2_mask").prune([0, 1])
    model.get_layer("flatten_mask").prune(np.arange(16) * 50 + 2)  # all positions of channel 2
    assert "Take" not in operations(slim(model))
    model.get_layer("flatten_mask").prune([3])  # one position of channel 3
    slimmed = slim(model)
    assert operations(slimmed).count("Take") == 1
    assert slimmed.get_layer("dense1").kernel.shape[0] == 16 * 47 - 1
    assert_same_outputs(model, slimmed)


def conv_bn_block(x, filters, name, **kwargs):
    x = layers.Conv2D(filters, 3, use_bias=False, name=f"{name}_conv", **kwargs)(x)
    x = layers.BatchNormalization(name=f"{name}_bn")(x)
    return mask(f"{name}_mask")(x)


def test_batch_normalisation_strides_padding_dilation_and_average_pooling():
    x = inputs = keras.Input((18, 18, 3))
    x = layers.ReLU()(conv_bn_block(x, 6, "a", strides=2, padding="same"))
    x = layers.AveragePooling2D(2, strides=1, padding="same")(x)
    x = layers.LeakyReLU(0.2)(conv_bn_block(x, 8, "b", dilation_rate=2))
    x = layers.Dropout(0.5)(layers.SpatialDropout2D(0.5)(x))
    x = layers.Activation("tanh")(conv_bn_block(x, 5, "c"))
    x = layers.GlobalAveragePooling2D()(x)
    model = randomise(keras.Model(inputs, layers.Dense(4)(x)))
    kept = {"a": [0, 4], "b": [1, 2, 3], "c": [4]}
    for name, units in kept.items():
        keep(model.get_layer(f"{name}_mask"), units)
    slimmed = slim(model)
    assert_same_outputs(model, slimmed)
    for name, units in kept.items():
        assert slimmed.get_layer(f"{name}_conv").filters == len(units)
        assert slimmed.get_layer(f"{name}_bn").gamma.shape == (len(units),)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "tanh", "sigmoid", "softmax"])
def test_masks_after_activations_are_folded_forwards(activation):
    model = keras.Sequential(
        [
            keras.Input((9, 9, 2)),
            layers.Rescaling(2.0, offset=-1.0),
            layers.Conv2D(6, 3, activation=activation, name="conv"),
            mask("conv_mask"),
            layers.MaxPooling2D(2),
            layers.ReLU(),
            layers.GlobalMaxPooling2D(),
            layers.Dense(5, activation=activation, name="dense"),
            mask("dense_mask"),
            layers.Dense(3, name="logits"),
        ]
    )
    randomise(model)
    model.get_layer("conv_mask").prune([0, 2])
    model.get_layer("dense_mask").prune([1])
    slimmed = slim(model)
    assert_same_outputs(model, slimmed)
    cut = activation != "softmax"  # which mixes the units
    assert slimmed.get_layer("conv").filters == (4 if cut else 6)
    assert slimmed.get_layer("logits").kernel.shape[0] == (4 if cut else 5)


def test_factors_pass_a_flatten():
    x = inputs = keras.Input((8, 8, 2))
    x = mask("channels")(layers.Conv2D(5, 3, activation="relu")(x))
    x = mask("positions")(layers.Flatten()(layers.AveragePooling2D(2)(x)))
    model = randomise(keras.Model(inputs, layers.Dense(4)(x)))
    model.get_layer("channels").prune([1])
    assert_same_outputs(model, slim(model))
    model.get_layer("positions").prune([0, 8, 13])
    assert_same_outputs(model, slim(model))


def test_a_pruned_channel_before_batch_normalisation_is_a_constant():
    x = inputs = keras.Input((8, 8, 3))
    x = mask("mask")(layers.Conv2D(6, 3)(x))
    x = mask("after")(layers.BatchNormalization(scale=False)(x))
    x = layers.Conv2D(4, 3, padding="same")(layers.ReLU()(x))
    model = randomise(keras.Model(inputs, x))
    model.get_layer("mask").prune([0, 1, 5])
    model.get_layer("after").prune([1, 2])
    assert_same_outputs(model, slim(model))


def test_what_another_layer_reads_is_not_scaled_or_cut():
    inputs = keras.Input((8, 8, 3))
    features = layers.Conv2D(6, 3, name="conv")(inputs)
    masked = layers.GlobalAveragePooling2D()(mask("mask")(features))
    plain = layers.GlobalMaxPooling2D()(features)
    outputs = {"masked": layers.Dense(4)(masked), "plain": layers.Dense(4)(plain)}
    model = randomise(keras.Model(inputs, outputs))
    model.get_layer("mask").prune([0, 1])
    slimmed = slim(model)
    assert slimmed.get_layer("conv").filters == 6
    assert sorted(slimmed.output) == ["masked", "plain"]
    assert_same_outputs(model, slimmed)


def conv_bn(x, filters, name):
    x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"{name}_conv")(x)
    return layers.BatchNormalization(name=f"{name}_bn")(x)


def filters_of(model, *names):
    return [model.get_layer(f"{name}_conv").filters for name in names]


def test_a_sum_of_different_masks_keeps_what_any_of_them_keeps():
    inputs = keras.Input((8, 8, 3))
    a, b, c = (mask(name)(conv_bn(inputs, 7, name)) for name in "abc")
    x = layers.ReLU()(layers.Add()([a, b, c]))
    model = randomise(keras.Model(inputs, layers.Conv2D(4, 3, name="last")(x)))
    keep(model.get_layer("a"), [0, 2])
    keep(model.get_layer("b"), [2, 5])
    keep(model.get_layer("c"), [])
    slimmed = slim(model)
    assert_same_outputs(model, slimmed)
    assert filters_of(slimmed, "a", "b") == [3, 3]
    assert "c_conv" not in [layer.name for layer in slimmed.layers]
    assert slimmed.get_layer("last").kernel.shape == (3, 3, 3, 4)
    assert "Take" not in operations(slimmed)


@pytest.mark.parametrize("narrow_first", [True, False])
@pytest.mark.parametrize("pruned", [range(7), (0, 2, 3)])
def test_a_sum_with_one_channel_that_is_added_to_all(narrow_first, pruned):
    inputs = keras.Input((8, 8, 3))
    parts = [layers.Conv2D(1, 3)(inputs), layers.Conv2D(8, 3)(inputs)]
    x = layers.Add()(parts if narrow_first else parts[::-1])
    x = layers.Flatten()(layers.ReLU()(layers.DepthwiseConv2D(3)(x)))
    masked = insert_masks(keras.Model(inputs, layers.Dense(3)(x)))
    mask_layers(masked)[0].prune(pruned)
    assert_same_outputs(masked, slim(masked))


def test_a_summand_that_is_read_elsewhere_too():
    inputs = keras.Input((8, 8, 3))
    a, b = (mask(name)(conv_bn(inputs, 7, name)) for name in "ab")
    x = layers.Add()([layers.ReLU()(a), layers.Add()([b, b])])
    x = layers.Conv2D(4, 3, name="last")(layers.ReLU()(mask("after")(x)))
    other = layers.Conv2D(4, 3, name="other")(a)
    model = randomise(keras.Model(inputs, [x, other]))
    keep(model.get_layer("a"), [0, 1])
    keep(model.get_layer("b"), [1, 2, 3])
    keep(model.get_layer("after"), [2, 4])
    slimmed = slim(model)
    assert_same_outputs(model, slimmed)
    assert filters_of(slimmed, "a", "b") == [3, 3]  # 2 for the sum, 0 and 1 for `other`
    assert "Take" not in operations(slimmed)


@pytest.mark.parametrize("shortcut", [lambda x: x, layers.DepthwiseConv2D(3, padding="same")])
def test_a_summand_that_cannot_be_cut(shortcut):
    inputs = keras.Input((8, 8, 6))
    x = layers.Add()([shortcut(inputs), mask("mask")(conv_bn(inputs, 6, "block"))])
    model = randomise(keras.Model(inputs, layers.Conv2D(4, 3)(layers.ReLU()(x))))
    keep(model.get_layer("mask"), [1, 4])
    slimmed = slim(model)
    assert_same_outputs(model, slimmed)
    assert filters_of(slimmed, "block") == [6]


def test_a_mask_after_a_sum():
    x = inputs = keras.Input((4, 4, 3))
    flat = layers.Flatten()(conv_bn(x, 2, "a"))
    x = layers.Add()([flat, layers.Dense(32, name="dense")(layers.Flatten()(inputs))])
    x = layers.ReLU()(mask("mask")(x))
    model = randomise(keras.Model(inputs, layers.Dense(3)(x)))
    assert_same_outputs(model, slim(model))
    model.get_layer("mask").prune(np.arange(1, 32))
    slimmed = slim(model)
    assert_same_outputs(model, slimmed)
    assert (slimmed.get_layer("dense").units, filters_of(slimmed, "a")) == (1, [1])
    model.get_layer("mask").prune([0])
    assert_same_outputs(model, slim(model))


def test_factors_pass_a_sum_if_they_are_equal():
    inputs = keras.Input((8, 8, 3))
    masks = [FixedMask([0.5, 0.2, 0.0, 1.0], name=name) for name in ("some", "other")]
    a, b, plain = (layers.ReLU()(conv_bn(inputs, 4, name)) for name in ("a", "b", "plain"))

    def network(first, second, *others):
        x = layers.Add(name="sum")([first(a), second(b), *others])
        return randomise(keras.Model(inputs, layers.Conv2D(4, 3)(x)))

    for model in (network(masks[0], masks[0]), network(*masks)):
        slimmed = slim(model)
        assert_same_outputs(model, slimmed)
        assert filters_of(slimmed, "a", "b") == [3, 3]
    for model in (network(masks[0], lambda x: x), network(*masks, plain)):
        assert_same_outputs(model, slim(model))


def test_negative_factors():
    x = inputs = keras.Input((12, 12, 3))
    x = FixedMask([1.0, -1.0] * 3, name="before")(layers.Conv2D(6, 3)(x))
    x = FixedMask([1.0, -1.0] * 3, name="after")(layers.ReLU()(x))
    x = layers.AveragePooling2D(2)(x)
    model = randomise(keras.Model(inputs, layers.Conv2D(4, 3)(x)))
    assert_same_outputs(model, slim(model))
    model = keras.Model(inputs, layers.Conv2D(4, 1)(layers.MaxPooling2D(2, name="pool")(x)))
    slimmed = slim(model)
    assert_same_outputs(model, slimmed)
    assert "Rescaling" in operations(slimmed)  # no weights before the pooling can take them


def test_factors_do_not_pass_a_fill():
    inputs = keras.Input((8, 8, 3))
    x = FixedMask([0.5, 0.2, 0.0, 1.0])(layers.Conv2D(4, 3, activation="relu")(inputs))
    x = keras.ops.image.resize(x, (6, 4), pad_to_aspect_ratio=True, fill_value=1.0)
    model = randomise(keras.Model(inputs, layers.Conv2D(4, 1)(x)))
    assert_same_outputs(model, slim(model))


@pytest.fixture
def channels_first():
    keras.config.set_image_data_format("channels_first")
    yield
    keras.config.set_image_data_format("channels_last")


def test_what_is_added_is_of_the_last_axis(channels_first):
    """Of images and of vectors, whatever the global image format is."""
    x = inputs = keras.Input((8, 8, 3))
    x = keras.ops.sin(layers.Conv2D(4, 3, data_format="channels_last")(x))
    x = keras.ops.sin(FixedMask([1.0, -0.5, 0.0, 0.3])(x))
    x = layers.Conv2D(4, 1, data_format="channels_last")(x)
    x = keras.ops.sin(FixedMask([1.0, 0.2, 0.0, 0.7])(keras.ops.mean(x, axis=(1, 2))))
    model = randomise(keras.Model(inputs, layers.Dense(3)(x)))
    slimmed = slim(model)
    assert_same_outputs(model, slimmed)
    assert operations(slimmed).count("Rescaling") == 2
    again = randomise(insert_masks(slimmed, mask))
    for layer in mask_layers(again):
        layer.prune([1])
    assert_same_outputs(again, slim(again))


def test_what_is_added_takes_no_name_of_a_layer():
    keras.utils.clear_session(free_memory=False)  # as where a network is loaded
    x = inputs = keras.Input((8, 8, 3))
    x = FixedMask([1.0, -0.5, 0.0, 0.3])(keras.ops.sin(layers.Conv2D(4, 3)(x)))
    x, y = keras.ops.split(keras.ops.sin(x), 2, axis=-1)
    taken = "rescaling", "get_item", "take"
    for name in taken:
        x = layers.Dropout(0.1, name=name)(x)
    x = layers.Flatten()(layers.AveragePooling2D(3)(x))
    x = layers.Dense(3)(FixedMask([1.0] * 7 + [0.0])(x))
    model = randomise(keras.Model(inputs, [x, y]))
    slimmed = slim(model)
    assert_same_outputs(model, slimmed)
    assert {"GetItem", "Rescaling", "Take"} <= set(operations(slimmed))
    assert all(type(slimmed.get_layer(name)) is layers.Dropout for name in taken)


def test_batch_renormalization_is_a_normalization():
    inputs = keras.Input((8, 8, 3))
    x = layers.BatchNormalization(renorm=True)(layers.Conv2D(4, 3)(inputs))
    x = layers.Conv2D(3, 3)(layers.ReLU()(mask("mask")(x)))
    model = randomise(keras.Model(inputs, x))
    model.get_layer("mask").prune([1])
    assert_same_outputs(model, slim(model))


class Odd(layers.Layer):
    """A layer that `slim` cannot know."""

    def call(self, inputs):
        return inputs + tf.reverse(inputs, [-1])


@pytest.mark.parametrize(
    "layer",
    [
        Odd(name="odd"),
        layers.ConvLSTM1D(3, 1, name="odd"),
        layers.BatchNormalization(axis=1, name="odd"),
        type("Dense", (layers.Dense,), {})(3, name="odd"),
    ],
    ids=["custom", "recurrent", "axis", "subclass"],
)
def test_unknown_layers_are_named(layer):
    inputs = keras.Input((8, 8, 3))
    x = mask("some_mask")(layers.Conv2D(6, 3, activation="relu")(inputs))
    model = keras.Model(inputs, layers.Dense(3)(layer(layers.Dropout(0.5)(x))))
    assert_same_outputs(randomise(model), slim(model))  # factors may reach it
    model.get_layer("some_mask").prune([0, 1])
    name = type(layer).__name__
    with pytest.raises(ValueError, match=rf"Layer `odd` \({name}\).*register_handler") as error:
        slim(model)
    assert "mask `some_mask`" in str(error.value)


def test_a_handler_of_the_users(request):
    request.addfinalizer(lambda: handlers._HANDLERS.pop(Odd))
    inputs = keras.Input((8, 8, 3))
    x = mask("mask")(layers.Conv2D(6, 3, name="conv")(inputs))
    model = randomise(keras.Model(inputs, layers.Dense(3)(Odd()(layers.ReLU()(x)))))
    model.get_layer("mask").prune([0, 1])
    register_handler(Odd, Handler())
    slimmed = slim(model)
    assert slimmed.get_layer("conv").filters == 6  # a handler that needs all channels
    assert_same_outputs(model, slimmed)
    with pytest.raises(ValueError, match="Argument `layer_class` must be a subclass"):
        register_handler(Odd(), Handler())
    with pytest.raises(ValueError, match="Argument `handler` must be a `Handler`"):
        register_handler(Odd, Handler)


def test_unknown_layers_away_from_masks_are_copied():
    x = inputs = keras.Input((8, 8, 3))
    normalise = layers.Normalization(name="normalise")
    normalise.adapt(np.random.default_rng(0).random((50, 8, 8, 3)) * 3)
    x = layers.DepthwiseConv2D(3)(normalise(x))
    x = layers.ReLU()(mask("mask")(layers.Conv2D(6, 3)(x)))
    x = layers.LayerNormalization()(layers.Conv2D(4, 3)(x))
    x = layers.Flatten()(keras.ops.sigmoid(x) * 2.0)
    model = randomise(keras.Model(inputs, layers.Softmax()(layers.Dense(3)(x))))
    model.get_layer("mask").prune([1, 2])
    slimmed = slim(model)
    assert_same_outputs(model, slimmed)
    assert_same_outputs(model, slim(slimmed))


def fixed(*shape):
    return keras.initializers.Constant(np.random.default_rng(3).normal(size=shape))


def test_initializers_of_a_fixed_shape():
    bank = np.random.default_rng(2).normal(size=(3, 3, 3, 8)).astype(np.float32)
    x = inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, kernel_initializer=lambda *_, **__: bank, trainable=False)(x)
    x = layers.BatchNormalization(beta_initializer=fixed(8))(x)
    x = layers.PReLU(alpha_initializer=fixed(6, 6, 8))(x)
    x = layers.Conv2D(6, 3, kernel_initializer="he_normal", bias_initializer=fixed(6))(x)
    x = layers.Reshape((16, 6))(layers.ReLU()(x))
    x = layers.TimeDistributed(layers.Dense(5, kernel_initializer=fixed(6, 5)))(x)
    x = layers.LSTM(4, kernel_initializer=fixed(5, 16))(layers.ReLU()(x))
    masked = insert_masks(keras.Model(inputs, layers.Dense(3)(x)))
    assert len(mask_layers(masked)) == 3
    for layer in mask_layers(masked):
        layer.prune([0, 2])
    small = slim(masked)
    assert_same_outputs(masked, small)
    kernels = [layer.kernel_initializer for layer in convolutions(small)]
    assert [type(kernel).__name__ for kernel in kernels] == ["GlorotUniform", "HeNormal"]


def test_a_mask_at_the_output():
    inputs = keras.Input((4,))
    outputs = mask("last")(layers.Dense(3, activation="relu")(inputs))
    model = randomise(keras.Model(inputs, outputs))
    model.get_layer("last").prune([1])
    slimmed = slim(model)
    assert_same_outputs(model, slimmed)
    assert slimmed.output_shape == (None, 3)


def test_a_layer_that_is_called_twice():
    inputs = keras.Input((4,))
    shared = layers.Dense(4, name="twice")
    x = shared(layers.Activation("sigmoid")(mask("first")(shared(inputs))))
    x = layers.Dense(3)(mask("second")(x))
    model = randomise(keras.Model(inputs, x))
    model.get_layer("first").prune([0])
    model.get_layer("second").prune([1, 2])
    slimmed = slim(model)
    assert_same_outputs(model, slimmed)
    assert len([layer for layer in slimmed.layers if isinstance(layer, layers.Dense)]) == 2


def test_masks_in_nested_models():
    stack = [keras.Input((4,)), layers.Dense(6, name="dense"), mask("inside")]
    inner = keras.Sequential(stack, name="inner")
    inputs = keras.Input((4,))
    outputs = layers.Dense(3, name="dense")(layers.ReLU()(inner(inputs)))
    model = keras.Model(inputs, outputs)
    for layer in (model, inner):
        randomise(layer)
    inner.get_layer("inside").prune([0, 5])
    slimmed = slim(model)
    assert_same_outputs(model, slimmed)
    shapes = {w.path: w.shape for w in slimmed.weights if "kernel" in w.path}
    assert shapes == {"inner_dense/kernel": (4, 4), "dense/kernel": (4, 3)}


def test_what_is_no_functional_model():
    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.mask = mask("inside")

        def call(self, x):
            return self.mask(x) + tf.zeros([4])  # for all that is known, computed of a weight

    inputs = keras.Input((4,))
    with pytest.raises(ValueError, match=r"`inside`.*is in a wrapper or in a model that is not"):
        slim(keras.Model(inputs, Subclassed()(inputs)))
    with pytest.raises(ValueError, match="must be a functional model"):
        slim(keras.Sequential([layers.Dense(3)]))


def test_the_dtype_policy_stays():
    inputs = keras.Input((6,))
    dense = layers.Dense(5, dtype="mixed_bfloat16", name="dense")
    model = randomise(keras.Model(inputs, layers.Dense(3)(mask("mask")(dense(inputs)))))
    model.get_layer("mask").prune([0])
    slimmed = slim(model)
    assert slimmed.get_layer("dense").dtype_policy.name == "mixed_bfloat16"
    x = np.ones((2, 6), np.float32)
    np.testing.assert_allclose(slimmed(x), model(x), rtol=0.05, atol=0.05)


def test_the_masked_network_is_not_changed():
    model = lenet(width_multiplier=0.2)
    keep(mask_layers(model)[1], [1, 3])
    weights = model.get_weights()
    config = model.to_json()
    slimmed = slim(model)
    for layer in slimmed.layers:
        layer.set_weights([np.zeros_like(weight) for weight in layer.get_weights()])
    assert all(np.array_equal(a, b) for a, b in zip(weights, model.get_weights(), strict=True))
    assert model.to_json() == config
    assert all(len(layer._inbound_nodes) == 1 for layer in model.layers)  # none is called again


@pytest.mark.parametrize("name", ["lenet", pytest.param("resnet18", marks=pytest.mark.slow)])
def test_widths_are_rounded_up(name):
    model = lenet() if name == "lenet" else randomise(resnet18(mask, width_multiplier=1 / 4))
    rng = np.random.default_rng(3)
    for layer in mask_layers(model):
        layer.prune(np.flatnonzero(rng.random(layer.units) < 0.5))
    slimmed, rounded = slim(model), slim(model, round_to=8)
    assert_same_outputs(model, rounded, images=3)
    full = {layer.name: layer.filters for layer in convolutions(model)}
    widths = {layer.name: layer.filters for layer in convolutions(rounded)}
    for layer in convolutions(slimmed):
        up = -(-layer.filters // 8) * 8
        assert widths[layer.name] == min(up, full[layer.name])
    assert cost(rounded).flops < cost(model).flops
    with pytest.raises(ValueError, match=r"at least 1\. Received: round_to=0"):
        slim(model, round_to=0)


LOAD = """
import sys
sys.modules["anp_tf"] = None  # an import raises ImportError
import keras, numpy as np
model = keras.models.load_model(sys.argv[1])
images = np.load(sys.argv[2])
np.save(sys.argv[3], model(images))
assert not [name for name in sys.modules if name.startswith("anp_tf.")]
"""


@pytest.mark.slow
def test_loads_in_a_process_without_anp_tf(tmp_path):
    model = lenet(width_multiplier=0.2)
    for layer in mask_layers(model):
        keep(layer, np.arange(0, layer.units, 3))
    slimmed = slim(model)
    assert "Take" in operations(slimmed)
    x = np.random.default_rng(0).random((3, 28, 28, 1), np.float32)
    files = [str(tmp_path / name) for name in ("slim.keras", "x.npy", "logits.npy")]
    slimmed.save(files[0])
    np.save(files[1], x)
    subprocess.run([sys.executable, "-I", "-c", LOAD, *files], cwd=tmp_path, check=True)
    np.testing.assert_allclose(np.load(files[2]), model(x), rtol=0, atol=1e-5)
