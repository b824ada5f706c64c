"""Which units are cut: by masks, by norms."""

import keras
import numpy as np
import pytest
from keras import layers

from anp_tf.layers import BetaBernoulliDropout, UnitMask, mask_layers
from anp_tf.models import lenet5_caffe, vgg16
from anp_tf.pruning import insert_masks
from anp_tf.pruning.units import cut_by_norms, cut_to_counts, cut_to_share


def learned(network, **kwargs):
    """A network whose masks' expectations are random and all above 0."""
    model = network(lambda name: BetaBernoulliDropout(name=name), **kwargs)
    random = np.random.default_rng(0)
    for mask in mask_layers(model):
        mask.a_u.assign(random.normal(size=mask.units))
    return model


def kept(model):
    return [np.flatnonzero(mask.active_units()) for mask in mask_layers(model)]


@pytest.mark.parametrize("share", [0.3, 0.84])
def test_a_share_of_all_units_is_pruned_and_what_is_kept_is_the_highest(share):
    model = learned(lenet5_caffe, width_multiplier=0.4)
    before = [np.array(mask.inference_mask()) for mask in mask_layers(model)]
    cut_to_share(model, share)
    units = kept(model)
    total = 8 + 20 + 320 + 200
    assert sum(map(len, units)) == total - round(share * total)
    # What is flattened from a channel that is cut is cut too; of the rest the highest are kept.
    assert set(units[2] % 20) <= set(units[1])
    before[1] = np.minimum(before[1], before[2].reshape(16, 20).max(0))
    before[2] = np.minimum(before[2], np.tile(before[1], 16))
    floor = 2
    lowest = min(b[k].min() for b, k in zip(before, units, strict=True) if len(k) > floor)
    for values, which in zip(before, units, strict=True):
        assert len(which) >= floor
        cut = np.setdiff1d(np.arange(len(values)), which)
        assert len(cut) == 0 or values[cut].max() <= lowest
    again = kept(model)
    cut_to_share(model, share)
    for one, other in zip(kept(model), again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_every_mask_keeps_a_quarter_of_the_first_ones_units():
    model = learned(lenet5_caffe, width_multiplier=0.4)
    mask_layers(model)[1].a_u.assign(np.full(20, -6.0))  # low, but not pruned
    assert len(kept(model)[1]) == 20
    cut_to_share(model, 0.8)
    assert len(kept(model)[1]) == 2


def test_units_that_are_pruned_stay_so():
    model = learned(lenet5_caffe, width_multiplier=0.2)
    mask_layers(model)[2].prune(np.arange(100))
    before = kept(model)
    cut_to_share(model, 0.1)
    assert sum(map(len, before)) <= 0.9 * (4 + 10 + 160 + 100)
    for one, other in zip(kept(model), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_of_each_mask_the_highest_are_kept():
    model = learned(lenet5_caffe, width_multiplier=0.4)
    values = [np.array(mask.inference_mask()) for mask in mask_layers(model)]
    cut_to_counts(model, [5, 4, 60, 25])
    units = kept(model)
    assert [len(which) for which in units] == [5, 4, 60, 25]
    values[1] = np.minimum(values[1], values[2].reshape(16, 20).max(0))
    values[2] = np.minimum(values[2], np.tile(values[1], 16)) * np.isin(
        np.arange(320) % 20, units[1]
    )
    for value, which in zip(values, units, strict=True):
        assert value[which].min() >= np.delete(value, which).max()
    cut_to_counts(model, [8, 4, 90, 25])  # no more are there
    assert [len(which) for which in kept(model)] == [5, 4, 60, 25]


@pytest.mark.parametrize("cut", ["counts", "share"])
def test_two_masks_of_the_same_channels_keep_the_same_ones(cut):
    model = learned(vgg16, width_multiplier=0.125)  # one pixel is left to flatten
    masks = mask_layers(model)
    channels, flat = (np.array(mask.inference_mask()) for mask in masks[-3:-1])
    if cut == "counts":
        cut_to_counts(model, [mask.units for mask in masks[:-3]] + [12, 12, 64])
    else:
        cut_to_share(model, 0.7)
    *_, of_channels, of_flat, _ = kept(model)
    np.testing.assert_array_equal(of_channels, of_flat)
    if cut == "counts":
        highest = np.argsort(-np.minimum(channels, flat))[:12]
        np.testing.assert_array_equal(of_channels, np.sort(highest))


def test_behind_a_sum_a_mask_keeps_what_an_earlier_one_has_cut():
    pixels = keras.Input((8, 8, 3))
    stream = BetaBernoulliDropout(name="before")(keras.layers.Conv2D(6, 3)(pixels))
    branch = keras.layers.Conv2D(6, 3, padding="same")(stream)
    x = BetaBernoulliDropout(name="behind")(keras.layers.Add()([stream, branch]))
    model = keras.Model(pixels, keras.layers.Dense(2)(keras.layers.Flatten()(x)))
    before, behind = mask_layers(model)
    before.a_u.assign([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
    behind.a_u.assign([0.0, 0.0, 0.0, 1.0, 1.0, 1.0])
    cut_to_counts(model, [3, 3])
    assert [list(units) for units in kept(model)] == [[0, 1, 2], [3, 4, 5]]


def test_units_by_the_norms_of_the_kernels_before_and_after_them():
    model = lenet5_caffe(lambda name: UnitMask(name=name), width_multiplier=0.2)
    conv1, conv2, dense1, logits = (
        np.array(model.get_layer(name).kernel) for name in ("conv1", "conv2", "dense1", "logits")
    )
    cut_by_norms(model, [2, 5, 30, 20])
    units = kept(model)
    assert [len(which) for which in units] == [2, 5, 30, 20]

    def best(scores, count):
        return np.sort(np.argsort(-scores)[:count])

    norm = np.linalg.norm
    first = np.sqrt((conv1**2).sum((0, 1, 2))) * np.sqrt((conv2**2).sum((0, 1, 3)))
    np.testing.assert_array_equal(units[0], best(first, 2))
    rows = (dense1**2).sum(1)
    made = norm(conv2.reshape(-1, 10), axis=0)
    np.testing.assert_array_equal(units[1], best(made * np.sqrt(rows.reshape(-1, 10).sum(0)), 5))
    made[np.setdiff1d(np.arange(10), units[1])] = 0
    np.testing.assert_array_equal(units[2], best(np.tile(made, 16) * np.sqrt(rows), 30))
    last = norm(dense1, axis=0) * norm(logits, axis=1)
    np.testing.assert_array_equal(units[3], best(last, 20))


def test_batch_normalization_scales_what_makes_a_unit():
    model = vgg16(lambda name: UnitMask(name=name), width_multiplier=0.1)
    norm = model.get_layer("bn1_1")
    kernels = [np.array(model.get_layer(f"conv1_{k}").kernel) for k in (1, 2)]
    norm.moving_variance.assign(np.linspace(0.1, 9, 6))
    norm.gamma.assign(np.linspace(-2, 3, 6))
    cut_by_norms(model, [3, *(mask.units for mask in mask_layers(model)[1:])])
    scores = np.sqrt((kernels[0] ** 2).sum((0, 1, 2))) * np.sqrt((kernels[1] ** 2).sum((0, 1, 3)))
    scores *= np.abs(np.linspace(-2, 3, 6)) / np.sqrt(np.linspace(0.1, 9, 6) + norm.epsilon)
    np.testing.assert_array_equal(kept(model)[0], np.sort(np.argsort(-scores)[:3]))


def masked(layer, width=6, mask=UnitMask, size=6):
    """A mask before and a mask after a layer, between 1x1 convolutions."""
    pixels = keras.Input((size, size, 3))
    x = layers.ReLU()(mask(name="before")(layers.Conv2D(8, 1, name="first")(pixels)))
    x = layers.ReLU()(mask(name="after")(layer(x)))
    model = keras.Model(pixels, layers.Conv2D(3, 1, name="last")(x))
    assert [mask.units for mask in mask_layers(model)] == [8, width]
    return model


def draw_weights(model):
    random = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign(random.normal(size=weight.shape))


def small(weight, places, factor=1e-3):
    """Makes a part of a weight small, so that whatever it makes or reads is to be cut."""
    values = np.array(weight)
    values[places] *= factor
    weight.assign(values)


def cut(model):
    """The units that are cut, mask by mask."""
    return [list(np.flatnonzero(~np.asarray(m.active_units()))) for m in mask_layers(model)]


@pytest.mark.parametrize("way", ["counts", "share"])
@pytest.mark.parametrize(
    "layer",
    [
        lambda: layers.SeparableConv2D(16, 3),
        lambda: layers.TimeDistributed(layers.Dense(16)),
        lambda: layers.EinsumDense("abcd,de->abce", (6, 6, 16)),
    ],
    ids=["separable", "per step", "einsum"],
)
def test_units_that_a_layer_mixes_are_cut_by_themselves(layer, way):
    model = masked(layer(), 16, BetaBernoulliDropout)
    before, after = mask_layers(model)
    low = [1, 5], [0, 2, 3, 4]
    for mask, units in zip((before, after), low, strict=True):
        mask.a_u.assign([0.2 if unit in units else 2.0 for unit in range(mask.units)])
    if way == "counts":
        cut_to_counts(model, [6, 12])
    else:
        cut_to_share(model, 6 / 24)
    assert cut(model) == list(low)


KINDS = {
    "transposed": (6, lambda: layers.Conv2DTranspose(6, 3)),
    "transposed, as wide": (8, lambda: layers.Conv2DTranspose(8, 3)),
    "separable": (6, lambda: layers.SeparableConv2D(6, 3)),
    "separable, two of each": (6, lambda: layers.SeparableConv2D(6, 3, depth_multiplier=2)),
    "groups": (6, lambda: layers.Conv2D(6, 3, groups=2)),
    "per step": (6, lambda: layers.TimeDistributed(layers.Dense(6))),
}


@pytest.mark.parametrize(("width", "layer"), KINDS.values(), ids=KINDS)
def test_units_are_those_of_the_convolution_that_a_layer_is(width, layer):
    layer = layer()
    model, twin = masked(layer, width), masked(layers.Conv2D(width, 3, name="twin"), width)
    draw_weights(model)
    # What a layer makes of a single number is a row of the kernel of such a convolution.
    size = 3 if "3" in str(getattr(layer, "kernel_size", 1)) else 1
    is_transposed = isinstance(layer, layers.Conv2DTranspose)
    places = 1 if is_transposed else size * size
    numbers = np.eye(places * 8, dtype=np.float32).reshape(places * 8, *[int(places**0.5)] * 2, 8)
    bias = np.asarray(layer(np.zeros_like(numbers[:1])))
    made = np.asarray(layer(numbers)) - bias
    kernel = made.reshape(places, 8, -1, width).transpose(0, 2, 1, 3).reshape(-1, 1, 8, width)
    kernel = np.concatenate([kernel, np.zeros((9 - len(kernel), 1, 8, width), np.float32)])
    twin.get_layer("twin").kernel.assign(kernel.reshape(3, 3, 8, width))
    for name in ("first", "last"):
        twin.get_layer(name).set_weights(model.get_layer(name).get_weights())
    for network in (model, twin):
        cut_by_norms(network, [4, 3])
    assert cut(model) == cut(twin)


@pytest.mark.parametrize("which", ["convolution", "depthwise"])
def test_a_depthwise_convolution_scales_what_makes_a_unit(which):
    x = pixels = keras.Input((6, 6, 3))
    x = layers.Conv2D(8, 1, name="convolution")(x)
    x = layers.DepthwiseConv2D(3, name="depthwise")(x)
    plain = keras.Model(pixels, layers.Conv2D(3, 1)(layers.ReLU()(x)))
    draw_weights(plain)
    kernel = plain.get_layer(which).kernel
    small(kernel, np.s_[..., [4, 6]] if which == "convolution" else np.s_[..., [4, 6], :])
    model = insert_masks(plain, lambda name: UnitMask(name=name))
    cut_by_norms(model, [6])
    assert cut(model) == [[4, 6]]


def test_a_depthwise_convolution_makes_several_channels_of_each():
    model = masked(layers.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise"), 16)
    draw_weights(model)
    small(model.get_layer("last").kernel, np.s_[..., [4, 5], :])  # both that are made of channel 2
    small(model.get_layer("first").kernel, np.s_[..., 5], 1e-4)  # of which 10 and 11 are made
    small(model.get_layer("depthwise").kernel, np.s_[..., 3, 1], 1e-4)
    cut_by_norms(model, [6, 11])
    assert cut(model) == [[2, 5], [4, 5, 7, 10, 11]]
    model = masked(layers.DepthwiseConv2D(3, depth_multiplier=2), 16, BetaBernoulliDropout)
    for mask, low in zip(mask_layers(model), (2, 9), strict=True):
        mask.a_u.assign([0.2 if unit == low else 2.0 for unit in range(mask.units)])
    cut_to_counts(model, [7, 13])
    assert cut(model) == [[2], [4, 5, 9]]


def test_what_reads_concatenated_channels_has_rows_for_each_input():
    pixels = keras.Input((6, 6, 3))
    masks = [UnitMask(name=name) for name in ("one", "other", "behind")]
    one = layers.ReLU()(masks[0](layers.Conv2D(8, 3)(pixels)))
    other = layers.ReLU()(masks[1](layers.Conv2D(16, 3)(pixels)))
    x = layers.Flatten()(layers.MaxPooling2D(2)(layers.Concatenate()([one, other])))
    x = layers.BatchNormalization(name="norm")(x)
    last = layers.Dense(3, name="last")
    model = keras.Model(pixels, last(masks[2](x)))
    draw_weights(model)
    flat = [channel + 24 * place for place in range(4) for channel in (1, 3, 8, 13, 17)]
    small(last.kernel, np.s_[flat, :])
    small(model.get_layer("norm").gamma, [20], 0.0)
    cut_by_norms(model, [6, 13, 4 * 24 - len(flat) - 1])
    assert cut(model) == [[1, 3], [0, 5, 9], sorted([*flat, 20])]


def test_units_before_a_layer_that_is_not_known_are_cut_by_what_makes_them():
    pixels = keras.Input((6, 4))
    first, last = layers.Dense(8), layers.Dense(3)
    x = layers.LSTM(8)(UnitMask(name="before")(first(pixels)))
    x = last(UnitMask(name="behind")(x))
    model = keras.Model(pixels, x)
    draw_weights(model)
    small(first.kernel, np.s_[:, [1, 5]], 1e-2)
    small(last.kernel, np.s_[[4, 6], :])
    cut_by_norms(model, [6, 6])
    assert cut(model) == [[1, 5], [4, 6]]
