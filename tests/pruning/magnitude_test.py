"""Which weights and filters are the largest."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from keras import layers

from anp_tf.layers import UnitMask, mask_layers
from anp_tf.models import lenet5_caffe
from anp_tf.pruning import cost, flops_weights, slim, unit_flops
from anp_tf.pruning.magnitude import (
    filter_kernels,
    filter_magnitudes,
    filters_last,
    largest,
    share_of_filters,
)


@given(
    arrays.arrays(
        np.float32,
        arrays.array_shapes(max_dims=4, max_side=5),
        elements=st.floats(-4, 4, width=16),
    ),
    st.floats(0, 1),
)
def test_largest_marks_a_largest_set_of_the_right_size(weights, share):
    marked = np.array(largest(weights, share))
    assert marked.shape == weights.shape
    assert set(np.unique(marked)) <= {0, 1}
    assert marked.sum() == round(share * weights.size)
    if 0 < marked.sum() < weights.size:
        assert np.abs(weights[marked == 1]).min() >= np.abs(weights[marked == 0]).max()


def masked():
    return lenet5_caffe(lambda name: UnitMask(name=name), width_multiplier=0.3)


def test_filters_are_those_of_masks_right_after_a_layer():
    kernels = filter_kernels(masked())
    found = {mask.name: [kernel.path for kernel in kernels[mask]] for mask in kernels}
    assert found == {
        "conv1_mask": ["conv1/kernel"],
        "conv2_mask": ["conv2/kernel"],
        "dense1_mask": ["dense1/kernel"],
    }


def test_magnitude_of_filters():
    (mask, kernels), *_ = filter_kernels(masked()).items()
    mask.prune([1])
    expected = np.abs(np.array(kernels[0])).mean((0, 1, 2))
    expected[1] = -1
    np.testing.assert_allclose(filter_magnitudes(mask, kernels), expected, rtol=1e-6)


@pytest.mark.parametrize(
    "layer",
    [
        layers.Dense(6),
        layers.Conv2D(6, 3),
        layers.Conv2D(6, 3, groups=2),
        layers.Conv2DTranspose(6, 3),
        layers.Conv2DTranspose(4, 3),
        layers.SeparableConv2D(6, 3, depthwise_initializer="ones"),
        layers.DepthwiseConv2D(3, depth_multiplier=2),
    ],
)
def test_filters_are_what_makes_each_output(layer):
    ones = np.ones([1, 1, 1, 4] if isinstance(layer, layers.Conv2DTranspose) else [1, 3, 3, 4])
    layer.build(ones.shape)
    random = np.random.default_rng(0)
    for weight in layer.weights[-2:-1]:  # the last one is the bias, 0
        weight.assign(random.uniform(0.1, 1.0, weight.shape))
    # The magnitudes of positive weights are what the outputs are, of ones.
    outputs = np.asarray(layer(ones)).sum((0, 1, 2))
    mask = UnitMask()
    mask.build(outputs[np.newaxis].shape)
    means = filter_magnitudes(mask, [filters_last(layer)])
    np.testing.assert_allclose(means / means.sum(), outputs / outputs.sum(), rtol=1e-5)


@pytest.mark.parametrize("share", [0.0, 0.4, 0.65, 0.9])
def test_share_of_filters_cuts_that_share_of_the_parameters(share):
    network = masked()
    filters = share_of_filters(network, share)
    assert all(np.all(np.array(mask.kept) == 1) for mask in filter_kernels(network))
    for mask in filter_kernels(network):
        mask.prune(np.arange(round(filters * mask.units)))
    left = cost(slim(network)).parameters / cost(network).parameters
    # A filter of the widest layer, 1 of 150, is 0.7 % of its weights.
    assert 1 - left == pytest.approx(share, abs=0.05)


def test_flops_of_a_unit_by_hand():
    """Conv 3x3 on 8x8, 4 filters; 2x2 pooling; dense 6; dense 3."""
    x = pixels = keras.Input((8, 8, 1))
    x = UnitMask(name="first")(keras.layers.Conv2D(4, 3)(x))
    x = keras.layers.MaxPooling2D(2)(keras.layers.ReLU()(x))
    x = UnitMask(name="second")(keras.layers.Flatten()(x))
    x = UnitMask(name="third")(keras.layers.Dense(6)(x))
    network = keras.Model(pixels, keras.layers.Dense(3)(keras.layers.ReLU()(x)))
    conv, flat, dense = 9 * 36 + 9 * 6, 6, 36 + 3
    assert unit_flops(network) == [2 * conv, 2 * flat, 2 * dense]
    units = np.array([4, 36, 6])
    for exponent in (0.5, 1.0):
        factors = np.array(flops_weights(network, exponent))
        assert factors @ units == pytest.approx(units.sum())
        ratio = (conv / flat) ** exponent
        assert factors[0] / factors[1] == pytest.approx(ratio)
    assert flops_weights(network, 0.0) == pytest.approx([1, 1, 1])
    network.get_layer("third").prune(range(6))
    assert unit_flops(network)[2] == 0


def test_flops_of_a_unit_of_groups_by_hand():
    """Conv 3x3 on 8x8, 8 filters; 4 groups of 2 on 6x6, 16 filters; conv 3x3 on 4x4, 3 filters."""
    x = pixels = keras.Input((8, 8, 4))
    x = UnitMask()(layers.Conv2D(8, 3)(x))
    x = UnitMask()(layers.Conv2D(16, 3, groups=4)(x))
    network = keras.Model(pixels, layers.Conv2D(3, 3)(x))
    first, second = 36 * 9 * 4 + 16 * 9 * 4, 16 * 9 * 2 + 4 * 9 * 3
    assert unit_flops(network) == [2 * first, 2 * second]
    assert all(np.all(np.array(mask.kept) == 1) for mask in mask_layers(network))


def test_units_that_save_nothing_weigh_alike():
    x = pixels = keras.Input((4, 4, 1))
    x = layers.Activation("sigmoid")(UnitMask()(layers.Conv2D(3, 3)(x)))
    x = layers.Conv2D(2, 3, padding="same")(x)  # pads zeros to constants
    network = keras.Model(pixels, layers.GlobalAveragePooling2D()(x))
    assert unit_flops(network) == [0]
    assert flops_weights(network, 0.5) == [1]
