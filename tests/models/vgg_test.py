"""VGG-16 against its published form for CIFAR."""

import keras
import numpy as np
import pytest

from anp_tf.layers import BetaBernoulliDropout, mask_layers
from anp_tf.models import vgg16, with_latents

BLOCKS = [[64] * 2, [128] * 2, [256] * 3, [512] * 3, [512] * 3]
WIDTHS = [width for widths in BLOCKS for width in widths]
CONVS = [f"{b}_{n}" for b, widths in enumerate(BLOCKS, 1) for n in range(1, len(widths) + 1)]
TOY = {"width_multiplier": 1 / 16}


def mask(name):
    return BetaBernoulliDropout(name=name)


@pytest.fixture(scope="module")
def full():
    return vgg16(mask)


@pytest.fixture(scope="module")
def masked():
    return vgg16(mask, **TOY)


@pytest.fixture(scope="module")
def plain():
    return vgg16(**TOY)


def test_number_of_parameters(full):
    kernels = [9 * a * b for a, b in zip([3, *WIDTHS], WIDTHS, strict=False)]
    assert [full.get_layer(f"conv{name}").count_params() for name in CONVS] == kernels
    norms = 4 * (sum(WIDTHS) + 512)
    denses = 512 * 512 + (512 + 1) * 10
    masks = sum(layer.count_params() for layer in mask_layers(full))
    assert full.count_params() - masks == sum(kernels) + norms + denses == 14_996_682


def test_shapes(full):
    shapes = {layer.name: layer.output.shape[1:] for layer in full.layers}
    for block, (size, widths) in enumerate(zip((32, 16, 8, 4, 2), BLOCKS, strict=True), 1):
        for index, width in enumerate(widths, 1):
            assert shapes[f"conv{block}_{index}"] == (size, size, width)
        assert shapes[f"pool{block}"] == (size // 2, size // 2, widths[-1])
    assert shapes["flatten"] == shapes["dense1"] == (512,)
    assert full.output_shape == (None, 10)


def test_places_of_the_masks(full):
    assert [layer.units for layer in mask_layers(full)] == [*WIDTHS, 512, 512]
    names = [layer.name for layer in full.layers]
    rows = [[f"conv{n}", f"bn{n}", f"conv{n}_mask", f"relu{n}"] for n in CONVS]
    rows += [["pool5", "flatten", "flatten_mask", "dense1"]]
    rows += [["dense1", "dense1_bn", "dense1_mask", "dense1_relu", "logits"]]
    for row in rows:
        place = names.index(row[0])
        assert names[place : place + len(row)] == row


def test_without_masks_the_layers_have_the_same_names_and_weights(masked, plain):
    weights = [
        {layer.name: [w.shape for w in layer.weights] for layer in network.layers}
        for network in (masked, plain)
    ]
    for layer in mask_layers(masked):
        del weights[0][layer.name]
    dropouts = [name for name in weights[1] if "dropout" in name]
    assert list(weights[0].items()) == [
        item for item in weights[1].items() if item[0] not in dropouts
    ]


def test_dropout_is_where_there_are_no_masks(masked, plain):
    rates, before = {}, None
    for layer in plain.layers:
        if isinstance(layer, keras.layers.Dropout):
            rates[before] = layer.rate
        before = layer.name
    between = {f"relu{n}": 0.4 for n in ("2_1", "3_1", "3_2", "4_1", "4_2", "5_1", "5_2")}
    assert rates == {"relu1_1": 0.3, **between, "flatten": 0.5, "dense1_relu": 0.5}
    assert not any(isinstance(layer, keras.layers.Dropout) for layer in masked.layers)


def test_pixels_are_normalised_first(plain):
    first = plain.layers[1]
    np.testing.assert_allclose(first(np.array([0.0, 0.5, 1.0])), [-2.0, 0.0, 2.0])
    assert plain.get_layer("conv1_1").input is first.output


def test_latent_features(masked):
    latents, _ = with_latents(masked).output
    names = [*(f"relu{n}" for n in CONVS), "dense1_relu"]
    assert all(z is masked.get_layer(n).output for z, n in zip(latents, names, strict=True))
    assert [z.shape[-1] for z in latents] == [width // 16 for width in (*WIDTHS, 512)]


def test_other_images_classes_and_widths():
    network = vgg16(mask, (64, 33, 1), num_classes=100, width_multiplier=0.001)
    assert network(np.zeros((2, 64, 33, 1))).shape == (2, 100)
    assert [layer.units for layer in mask_layers(network)] == [1] * 13 + [2, 1]


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 31, 3), (None, 32, 3)])
def test_too_small_images(shape):
    with pytest.raises(ValueError, match=r"`input_shape`.*at least 32.*Received: input_shape="):
        vgg16(input_shape=shape)


def test_keras_file_round_trip(tmp_path, masked):
    masked.save(tmp_path / "network.keras")
    copy = keras.saving.load_model(tmp_path / "network.keras")
    x = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
    np.testing.assert_array_equal(copy(x), masked(x))
