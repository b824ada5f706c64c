"""The shallow and wide network: its shapes, sizes and limits."""

import pytest

from anp_tf.layers import UnitMask, mask_layers
from anp_tf.models import wide_cnn
from anp_tf.pruning import cost


def test_parameters_masks_and_flops():
    network = wide_cnn(lambda name: UnitMask(name=name))
    assert [mask.units for mask in mask_layers(network)] == [24, 32, 32, 128, 128, 128, 128]
    pairs = ((24, 32), (32, 32), (32, 128), (128, 128), (128, 128), (128, 128))
    convolutions = (4 * 3 + 1) * 24 + sum(9 * a * b + 4 * b for a, b in pairs)
    assert wide_cnn().count_params() == convolutions + (128 + 1) * 10
    extents = (31, 15, 15, 7, 7, 3)  # where each 3x3 convolution is done
    multiplied = 31**2 * 4 * 3 * 24 + 128 * 10
    multiplied += sum(e**2 * 9 * a * b for e, (a, b) in zip(extents, pairs, strict=True))
    assert cost(wide_cnn()).flops == pytest.approx(2 * multiplied, rel=0.02)
    small = wide_cnn(input_shape=(9, 12, 1), num_classes=3, width_multiplier=0.01)
    assert small.output_shape == (None, 3)
    assert small.get_layer("conv3_2").output.shape[1:] == (1, 1, 1)


def test_images_that_are_too_small():
    with pytest.raises(ValueError, match=r"at least 9, .* Received: input_shape=\(8, 32, 3\)"):
        wide_cnn(input_shape=(8, 32, 3))
