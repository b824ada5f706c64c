"""What holds for every network of the package."""

import types

import keras
import pytest

from anp_tf.models import NETWORKS


@pytest.mark.parametrize("name", NETWORKS)
def test_layers_come_from_the_namespace(name):
    kinds = (keras.layers.Conv2D, keras.layers.Dense, keras.layers.BatchNormalization)
    others = {kind.__name__: type(f"Other{kind.__name__}", (kind,), {}) for kind in kinds}
    network = NETWORKS[name](layers=types.SimpleNamespace(**others), width_multiplier=1 / 16)
    weighted = [type(layer) for layer in network.layers if layer.weights]
    assert set(weighted) == set(others.values()) - (
        {others["BatchNormalization"]} if name in ("lenet5_caffe", "strided_cnn") else set()
    )
