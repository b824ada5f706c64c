"""What holds for every network of the package."""

import functools
import types

import keras
import pytest

from anp_tf.layers import BetaBernoulliDropout
from anp_tf.models import NETWORKS, lenet5_caffe, lenet5_thresholds, vgg16, wide_cnn
from anp_tf.pruning import insert_masks


@pytest.mark.parametrize("name", NETWORKS)
def test_layers_come_from_the_namespace(name):
    kinds = (keras.layers.Conv2D, keras.layers.Dense, keras.layers.BatchNormalization)
    others = {kind.__name__: type(f"Other{kind.__name__}", (kind,), {}) for kind in kinds}
    network = NETWORKS[name](layers=types.SimpleNamespace(**others), width_multiplier=1 / 16)
    weighted = [type(layer) for layer in network.layers if layer.weights]
    unnormalized = ("lenet5_caffe", "lenet5_thresholds", "strided_cnn")
    expected = set(others.values())
    if name in unnormalized:
        expected.remove(others["BatchNormalization"])
    if name == "lenet5_thresholds":
        expected.add(keras.layers.DepthwiseConv2D)
    assert set(weighted) == expected


@pytest.mark.parametrize("multiplier", [-1, 0, float("nan"), float("inf"), "1", None])
def test_width_multipliers_that_are_none(multiplier):
    for network in NETWORKS.values():
        with pytest.raises(ValueError, match=r"`width_multiplier`\. Expected a number above 0"):
            network(width_multiplier=multiplier)


@pytest.mark.parametrize(
    ("network", "least"),
    [(lenet5_caffe, 16), (lenet5_thresholds, 16), (wide_cnn, 16), (vgg16, 32)],
)
def test_the_least_images(network, least):
    assert network(input_shape=(least, least, 1), width_multiplier=0.05).output_shape == (None, 10)
    for shape in ((least - 1, 32, 1), (32, None, 3), (32, "32", 3), (32, 32), 32):
        with pytest.raises(ValueError, match=f"argument `input_shape`.* at least {least}, "):
            network(input_shape=shape)


@pytest.mark.parametrize("mask", [BetaBernoulliDropout(), "beta_bernoulli"], ids=["layer", "name"])
def test_masks_that_make_none(mask):
    plain = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4), keras.layers.Dense(2)])
    small = [functools.partial(network, width_multiplier=0.02) for network in NETWORKS.values()]
    for make in (*small, functools.partial(insert_masks, plain)):
        with pytest.raises(ValueError, match=r"argument `mask`\. Expected a function"):
            make(mask=mask)
