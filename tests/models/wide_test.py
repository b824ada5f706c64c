"""The shallow and wide network: its shapes, sizes and limits."""

import pytest

from anp_tf.layers import UnitMask, mask_layers
from anp_tf.models import wide_cnn
from anp_tf.pruning import cost


def test_parameters_masks_and_flops():
    network = wide_cnn(lambda name: UnitMask(name=name))
    assert [mask.units for mask in mask_layers(network)] == [32, 64, 64, 192, 192, 192, 192]
    pairs = ((32, 64), (64, 64), (64, 192), (192, 192), (192, 192), (192, 192))
    convolutions = (4 * 3 + 1) * 32 + sum(9 * a * b + 4 * b for a, b in pairs)
    assert wide_cnn().count_params() == convolutions + (192 + 1) * 10
    extents = (16, 8, 8, 4, 4, 2)  # where each 3x3 convolution is done
    multiplied = 16**2 * 4 * 3 * 32 + 192 * 10
    multiplied += sum(e**2 * 9 * a * b for e, (a, b) in zip(extents, pairs, strict=True))
    assert cost(wide_cnn()).flops == pytest.approx(2 * multiplied, rel=0.02)
    small = wide_cnn(input_shape=(16, 19, 1), num_classes=3, width_multiplier=0.005)
    assert small.output_shape == (None, 3)
    assert small.get_layer("conv3_2").output.shape[1:] == (1, 1, 1)


def test_images_that_are_too_small():
    with pytest.raises(ValueError, match=r"at least 16, .* Received: input_shape=\(15, 32, 3\)"):
        wide_cnn(input_shape=(15, 32, 3))
