"""Batch normalization folded into the layer before it: the same outputs from fewer layers."""

import keras
import numpy as np
import pytest
from keras import layers

from anp_tf.layers import FusedBatchNormalization, UnitMask, mask_layers
from anp_tf.models import lenet5_caffe, resnet18, vgg16
from anp_tf.pruning import fold_batch_normalization, slim


def randomised(model, seed=0):
    """The model with random weights, variances positive."""
    random = np.random.default_rng(seed)
    model.set_weights([random.uniform(0.3, 1.0, w.shape) for w in model.get_weights()])
    return model


def normalizations(model):
    return [x.name for x in model.layers if isinstance(x, layers.BatchNormalization)]


def assert_same(model, folded):
    random = np.random.default_rng(1)
    shapes = [tuple(size or 5 for size in tensor.shape[1:]) for tensor in model.inputs]
    inputs = [random.normal(size=(3, *shape)).astype(np.float32) for shape in shapes]
    inputs = inputs if len(inputs) > 1 else inputs[0]
    expected, received = (keras.tree.flatten(m(inputs)) for m in (model, folded))
    for a, b in zip(expected, received, strict=True):
        np.testing.assert_allclose(b, a, rtol=2e-5, atol=2e-5 * np.abs(a).max())


KINDS = {
    "conv1d": ((9, 3), lambda: layers.Conv1D(4, 3)),
    "conv2d": ((9, 8, 3), lambda: layers.Conv2D(4, 3, padding="same", use_bias=False)),
    "conv3d": ((5, 5, 5, 2), lambda: layers.Conv3D(4, 3)),
    "grouped": ((9, 8, 4), lambda: layers.Conv2D(6, 3, groups=2)),
    "depthwise1d": ((9, 3), lambda: layers.DepthwiseConv1D(3, depth_multiplier=2)),
    "depthwise": ((9, 8, 3), lambda: layers.DepthwiseConv2D(3, depth_multiplier=2)),
    "separable": ((9, 8, 3), lambda: layers.SeparableConv2D(5, 3, use_bias=False)),
    "transposed": ((5, 4, 3), lambda: layers.Conv2DTranspose(5, 3, strides=2)),
    "dense": ((7,), lambda: layers.Dense(4, use_bias=False)),
    "dense on images": ((5, 4, 3), lambda: layers.Dense(4)),
}
OPTIONS = [{}, {"scale": False}, {"center": False}, {"epsilon": 0.1}]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("normalization", [layers.BatchNormalization, FusedBatchNormalization])
def test_each_kind_of_layer(kind, options, normalization):
    shape, build = KINDS[kind]
    inputs = keras.Input(shape)
    model = keras.Model(inputs, layers.ReLU()(normalization(**options)(build()(inputs))))
    randomised(model)
    before = model.get_weights()
    folded = fold_batch_normalization(model)
    assert normalizations(folded) == []
    assert len(folded.layers) == len(model.layers) - 1
    assert_same(model, folded)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("build", [lenet5_caffe, vgg16, resnet18])
def test_standard_networks_pruned(build):
    model = build(mask=UnitMask, width_multiplier=1 / 8)
    random = np.random.default_rng(2)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.moving_mean.assign(random.normal(size=layer.moving_mean.shape))
            layer.moving_variance.assign(random.uniform(0.5, 2, layer.moving_variance.shape))
    for mask in mask_layers(model):
        mask.prune(np.arange(0, mask.units, 3))
    folded = fold_batch_normalization(slim(model))
    assert normalizations(folded) == []
    assert_same(model, folded)


def conv(**options):
    return layers.Conv2D(3, 3, padding="same", **options)


def activated(x):
    return layers.BatchNormalization()(conv(activation="relu")(x))


def read_twice(x):
    y = conv()(x)
    return layers.Add()([layers.BatchNormalization()(y), y])


def an_output_itself(x):
    y = conv()(x)
    return [layers.BatchNormalization()(y), y]


def shared_layer(x):
    shared = conv()
    return [layers.BatchNormalization()(shared(x)), shared(layers.ReLU()(x))]


def shared_normalization(x):
    shared = layers.BatchNormalization()
    return [shared(conv()(x)), shared(conv()(layers.ReLU()(x)))]


def after_a_pooling(x):
    return layers.BatchNormalization()(layers.MaxPooling2D(2)(conv()(x)))


def first(x):
    return layers.BatchNormalization()(x)


def quantized(x):
    dense = layers.Dense(4)
    x = dense(x)
    dense.quantize("int8")
    return layers.BatchNormalization()(x)


def with_lora(x):
    convolution = conv()
    x = convolution(x)
    convolution.enable_lora(2)
    return layers.BatchNormalization()(x)


def other_axis(x):
    return layers.BatchNormalization(axis=1)(conv()(x))


@pytest.mark.parametrize(
    "build",
    [
        activated,
        read_twice,
        an_output_itself,
        shared_layer,
        shared_normalization,
        after_a_pooling,
        first,
        quantized,
        with_lora,
        other_axis,
    ],
)
def test_what_cannot_be_folded_stays(build):
    inputs = keras.Input((8, 8, 3))
    model = randomised(keras.Model(inputs, build(inputs)))
    folded = fold_batch_normalization(model)
    assert normalizations(folded) == normalizations(model)
    assert len(folded.layers) == len(model.layers)
    assert_same(model, folded)


def test_several_inputs_and_outputs_and_sequential_models():
    a, b = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    x = layers.BatchNormalization()(conv()(a))
    y = layers.BatchNormalization()(conv()(b))
    model = randomised(keras.Model([a, b], [layers.Add()([x, y]), y]))
    folded = fold_batch_normalization(model)
    assert normalizations(folded) == []
    assert_same(model, folded)
    stack = [keras.Input((8, 8, 3)), conv(), layers.BatchNormalization(), layers.Flatten()]
    model = randomised(keras.Sequential(stack))
    folded = fold_batch_normalization(model)
    assert normalizations(folded) == []
    assert_same(model, folded)


def test_nested_models_are_folded_too():
    stack = [keras.Input((8, 8, 3)), conv(), layers.BatchNormalization()]
    inputs = keras.Input((8, 8, 3))
    model = randomised(keras.Model(inputs, layers.ReLU()(keras.Sequential(stack)(inputs))))
    folded = fold_batch_normalization(model)
    assert normalizations(folded) == []
    assert_same(model, folded)
