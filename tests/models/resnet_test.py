"""ResNet-18 against its published form for CIFAR."""

import keras
import numpy as np
import pytest

from anp_tf.layers import BetaBernoulliDropout, mask_layers
from anp_tf.models import resnet18, with_latents
from anp_tf.models.graph import graph_of

WIDTHS = [64, 128, 256, 512]
BLOCKS = [f"{stage}_{block}" for stage in (1, 2, 3, 4) for block in (1, 2)]
TOY = {"width_multiplier": 1 / 16}


def mask(name):
    return BetaBernoulliDropout(name=name)


@pytest.fixture(scope="module")
def full():
    return resnet18(mask)


@pytest.fixture(scope="module")
def masked():
    return resnet18(mask, **TOY)


@pytest.fixture(scope="module")
def plain():
    return resnet18(**TOY)


def calls(network):
    """Per call, in order: the layer's name, the names of those its inputs come from, the shape."""
    graph = graph_of(network)
    makers = {id(graph.input): "pixels"}
    result = []
    for node in graph.nodes:
        inputs = [makers[id(tensor)] for tensor in node.inputs]
        result.append((node.layer.name, inputs, node.outputs[0].shape[1:]))
        makers.update((id(tensor), node.layer.name) for tensor in node.outputs)
    return result


def test_number_of_parameters(full):
    kernels = [27 * 64]
    norms = [64]
    for width, before in zip(WIDTHS, [64, *WIDTHS], strict=False):
        kernels += [9 * before * width] + [9 * width * width] * 3
        norms += [width] * 4
        if width != before:
            kernels.append(before * width)
            norms.append(width)
    convs = [layer for layer in full.layers if isinstance(layer, keras.layers.Conv2D)]
    assert sorted(layer.count_params() for layer in convs) == sorted(kernels)
    masks = sum(layer.count_params() for layer in mask_layers(full))
    expected = sum(kernels) + 4 * sum(norms) + (512 + 1) * 10
    assert full.count_params() - masks == expected == 11_183_562


def test_blocks(full):
    found = {name: (inputs, shape) for name, inputs, shape in calls(full)}
    below = "stem_relu"
    for name in BLOCKS:
        stage = int(name[0])
        shape = (64 >> stage, 64 >> stage, WIDTHS[stage - 1])
        shortcut = below
        assert found[f"conv{name}_1"] == ([below], shape)
        assert found[f"bn{name}_1"] == ([f"conv{name}_1"], shape)
        assert found[f"conv{name}_2"] == ([f"relu{name}_1"], shape)
        assert found[f"bn{name}_2"] == ([f"conv{name}_2"], shape)
        if name in ("2_1", "3_1", "4_1"):
            assert found[f"projection{name}"] == ([below], shape)
            shortcut = f"stage{stage}_mask"
        assert found[f"add{name}"] == ([shortcut, f"stage{stage}_mask"], shape)
        below = f"relu{name}_2"
        assert found[below] == ([f"add{name}"], shape)
    assert found["pool"] == ([below], (512,))
    assert found["logits"] == (["pool"], (10,))
    assert sum(name.startswith("projection") for name in found) == 2 * 3


def test_places_of_the_masks(full):
    masks = {layer.name: layer.units for layer in mask_layers(full)}
    inner = {f"conv{name}_1_mask": WIDTHS[int(name[0]) - 1] for name in BLOCKS}
    shared = {f"stage{stage}_mask": width for stage, width in enumerate(WIDTHS, 1)}
    assert masks == inner | shared
    places = {name: [] for name in masks}
    readers = {name: [] for name in masks}
    for name, inputs, _ in calls(full):
        if name in places:
            places[name] += inputs
        for maker in inputs:
            if maker in readers:
                readers[maker].append(name)
    for name in BLOCKS:
        assert places[f"conv{name}_1_mask"] == [f"bn{name}_1"]
        assert readers[f"conv{name}_1_mask"] == [f"relu{name}_1"]
    for stage in (1, 2, 3, 4):
        start = "stem_bn" if stage == 1 else f"projection{stage}_1_bn"
        assert sorted(places[f"stage{stage}_mask"]) == sorted(
            [start, f"bn{stage}_1_2", f"bn{stage}_2_2"]
        )


def test_a_pruned_channel_of_a_stage_is_zero_in_all_its_features(masked):
    network = keras.models.clone_model(masked)
    network.get_layer("stage2_mask").prune([1, 5])
    names = ["relu2_1_2", "relu2_2_2", "relu2_1_1"]
    outputs = [network.get_layer(name).output for name in names]
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.beta.assign(np.full(layer.beta.shape, 0.5))
    x = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
    *stream, inner = keras.Model(network.input, outputs)(x)
    for features in stream:
        zero = ~np.any(features, axis=(0, 1, 2))
        assert np.flatnonzero(zero).tolist() == [1, 5]
    assert np.any(inner, axis=(0, 1, 2)).all()


def test_without_masks_the_layers_have_the_same_names_and_weights(masked, plain):
    assert mask_layers(plain) == []
    kept = [layer for layer in masked.layers if layer not in mask_layers(masked)]
    weights = [
        {layer.name: [w.shape for w in layer.weights] for layer in layers}
        for layers in (kept, plain.layers)
    ]
    assert weights[0] == weights[1]


def test_pixels_are_normalised_first(plain):
    first = plain.get_layer("normalise")
    np.testing.assert_allclose(first(np.array([0.0, 0.5, 1.0])), [-2.0, 0.0, 2.0])
    assert calls(plain)[0][:2] == ("normalise", ["pixels"])
    assert calls(plain)[1][:2] == ("stem", ["normalise"])


def test_latent_features(masked):
    latents, _ = with_latents(masked).output
    names = ["stem_relu", *(f"relu{name}_{n}" for name in BLOCKS for n in (1, 2))]
    assert len(latents) == len(names) == 17
    assert {id(z) for z in latents} == {id(masked.get_layer(name).output) for name in names}


def test_other_images_classes_and_widths():
    network = resnet18(mask, (28, 28, 1), num_classes=100, width_multiplier=0.01)
    assert network(np.zeros((2, 28, 28, 1))).shape == (2, 100)
    units = {layer.name: layer.units for layer in mask_layers(network)}
    assert [units[f"stage{stage}_mask"] for stage in (1, 2, 3, 4)] == [1, 1, 3, 5]


def test_keras_file_round_trip(tmp_path, masked):
    masked.save(tmp_path / "network.keras")
    copy = keras.saving.load_model(tmp_path / "network.keras")
    x = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
    np.testing.assert_array_equal(copy(x), masked(x))
    assert calls(copy) == calls(masked)
