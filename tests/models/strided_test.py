"""The network for bounds: its shapes, and where its weights start."""

import keras
import numpy as np
import pytest

from anp_tf import bounds
from anp_tf.layers import UnitMask, mask_layers
from anp_tf.models import strided_cnn


def test_parameters_and_masks():
    network = strided_cnn(lambda name: UnitMask(name=name))
    assert [mask.units for mask in mask_layers(network)] == [32, 32, 64, 64, 4096, 256]
    convs = (27 + 1) * 32 + (16 * 32 + 1) * 32 + (9 * 32 + 1) * 64 + (16 * 64 + 1) * 64
    denses = (8 * 8 * 64 + 1) * 256 + (256 + 1) * 10
    assert strided_cnn().count_params() == convs + denses
    small = strided_cnn(input_shape=(28, 28, 1), num_classes=3, width_multiplier=0.01)
    assert small.output_shape == (None, 3)
    assert small.get_layer("conv4").output.shape[1:] == (7, 7, 1)


def test_kernels_start_so_that_intervals_keep_their_size():
    """Shi et al. (2021), section 4: from layer to layer their mean width stays about the same."""
    keras.utils.set_random_seed(0)
    network = strided_cnn(input_shape=(20, 20, 3))
    kernel = network.get_layer("dense1").kernel
    expected = np.sqrt(2 * np.pi) / kernel.shape[0]
    assert np.std(kernel) == pytest.approx(expected, rel=0.05)
    other = keras.models.model_from_json(network.to_json())
    assert np.std(other.get_layer("dense1").kernel) == pytest.approx(expected, rel=0.05)
    x = np.random.default_rng(0).random([4, 20, 20, 3]).astype(np.float32)
    box = bounds.interval_bounds(network, x, 0.05)
    width = np.mean(box.upper - box.lower)
    assert 0.05 < width < 1.0
