"""LeNet-5-Caffe against the paper's description, and the same behind thresholds."""

import keras
import numpy as np
import pytest

from anp_tf.bounds import interval_bounds
from anp_tf.layers import BetaBernoulliDropout, UnitMask, mask_layers
from anp_tf.models import lenet5_caffe, lenet5_thresholds
from anp_tf.pruning import slim


def mask(name):
    return BetaBernoulliDropout(name=name)


def test_number_of_parameters():
    convs = (5 * 5 * 1 + 1) * 20 + (5 * 5 * 20 + 1) * 50
    denses = (800 + 1) * 500 + (500 + 1) * 10
    assert lenet5_caffe().count_params() == convs + denses == 431_080


def test_shapes():
    network = lenet5_caffe()
    shapes = {layer.name: layer.output.shape[1:] for layer in network.layers}
    assert network.input_shape == (None, 28, 28, 1)
    assert shapes["conv1"] == (24, 24, 20)
    assert shapes["pool1"] == (12, 12, 20)
    assert shapes["conv2"] == (8, 8, 50)
    assert shapes["pool2"] == (4, 4, 50)
    assert shapes["flatten"] == (800,)
    assert shapes["dense1"] == (500,)
    assert network.output_shape == (None, 10)


def test_places_of_the_masks():
    network = lenet5_caffe(mask)
    assert [layer.units for layer in mask_layers(network)] == [20, 50, 800, 500]
    names = [layer.name for layer in network.layers]
    for before, after in [("conv1", "relu1"), ("conv2", "relu2"), ("dense1", "relu3")]:
        place = names.index(f"{before}_mask")
        assert (names[place - 1], names[place + 1]) == (before, after)
    place = names.index("flatten_mask")
    assert (names[place - 1], names[place + 1]) == ("flatten", "dense1")


def test_without_masks_the_layers_have_the_same_names_and_weights():
    masked, plain = lenet5_caffe(mask), lenet5_caffe()
    assert mask_layers(plain) == []
    kept = [layer for layer in masked.layers if layer not in mask_layers(masked)]
    assert [layer.name for layer in kept] == [layer.name for layer in plain.layers]
    for layer, other in zip(kept, plain.layers, strict=True):
        assert [w.shape for w in layer.weights] == [w.shape for w in other.weights]


@pytest.mark.parametrize(
    ("multiplier", "widths"),
    [(2.0, (40, 100, 1000)), (0.5, (10, 25, 250)), (0.01, (1, 1, 5)), (0.001, (1, 1, 1))],
)
def test_width_multiplier(multiplier, widths):
    network = lenet5_caffe(mask, width_multiplier=multiplier)
    conv1, conv2, dense1 = (network.get_layer(name) for name in ("conv1", "conv2", "dense1"))
    assert (conv1.filters, conv2.filters, dense1.units) == widths
    units = [layer.units for layer in mask_layers(network)]
    assert units == [widths[0], widths[1], 16 * widths[1], widths[2]]
    assert network.output_shape == (None, 10)


def test_other_images_and_classes():
    network = lenet5_caffe(input_shape=(32, 32, 3), num_classes=100, width_multiplier=0.1)
    x = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
    assert network(x).shape == (2, 100)


def test_logits_are_not_rectified():
    keras.utils.set_random_seed(0)
    logits = lenet5_caffe(width_multiplier=0.1)(np.random.default_rng(0).random((8, 28, 28, 1)))
    assert np.any(logits < 0)
    assert np.any(logits > 0)


@pytest.mark.parametrize("masked", [False, True])
def test_keras_file_round_trip(tmp_path, masked):
    network = lenet5_caffe(mask if masked else None, width_multiplier=0.1)
    network.save(tmp_path / "network.keras")
    copy = keras.saving.load_model(tmp_path / "network.keras")
    x = np.random.default_rng(0).random((2, 28, 28, 1), np.float32)
    np.testing.assert_array_equal(copy(x), network(x))


def test_thresholds_are_ramps_of_each_pixel_and_channel():
    network = lenet5_thresholds(mask, input_shape=(16, 16, 2), width_multiplier=0.1)
    assert [layer.units for layer in mask_layers(network)] == [2, 5, 5, 50]
    thresholds = keras.Model(network.input, network.get_layer("thresholds").output)
    x = np.random.default_rng(0).random((3, 16, 16, 2), np.float32)
    ramps = np.clip((x[..., None] - (0.3 + np.arange(3) * 0.4 / 3)) / (0.4 / 3), 0, 1)
    np.testing.assert_allclose(thresholds(x), ramps.reshape(3, 16, 16, 6), atol=1e-5)


def test_black_and_white_pixels_pass_the_thresholds_unchanged_in_the_whole_ball():
    network = lenet5_thresholds(width_multiplier=0.1)
    generator = np.random.default_rng(0)
    x = generator.integers(0, 2, (4, 28, 28, 1)).astype(np.float32)

    def widths(images):
        lower, upper = interval_bounds(network, images, 0.299)
        return np.asarray(upper - lower)

    assert np.max(widths(x)) < 0.01  # rounding
    assert np.min(widths((x + 0.5) / 2)) > 0.1


def test_pruned_networks_behind_thresholds_are_made_small():
    keras.utils.set_random_seed(0)
    network = lenet5_thresholds(lambda name: UnitMask(name=name), width_multiplier=0.3)
    for layer in mask_layers(network):
        layer.prune(np.arange(0, layer.units, 3))
    small = slim(network)
    x = np.random.default_rng(0).random((4, 28, 28, 1), np.float32)
    np.testing.assert_allclose(small(x), network(x, training=False), atol=1e-5)
    assert small.count_params() < network.count_params() / 2
