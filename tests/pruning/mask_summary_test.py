"""The table of what is kept."""

import keras
import numpy as np
import pytest

from anp_tf.layers import BetaBernoulliDropout, mask_layers
from anp_tf.pruning import insert_masks, mask_summary


@pytest.fixture
def model():
    masks = [BetaBernoulliDropout(name=name) for name in ("first", "second")]
    layers = [keras.Input((4,)), masks[0], keras.layers.Dense(6), masks[1], keras.layers.ReLU()]
    model = keras.Sequential(layers, name="toy")
    masks[0].a_u.assign([10.0, 1.0, 0.0, -10.0])  # the last one is pruned
    masks[1].prune([0, 1, 2])
    return model


def rows(model):
    text = []
    mask_summary(model, print_fn=text.append)
    (table,) = text
    return table, [line.split() for line in table.splitlines()]


def test_a_row_per_mask_and_one_for_all(model):
    table, lines = rows(model)
    assert 'Masks of "toy"' in table
    found = {line[0]: line[1:] for line in lines if line and line[0] in ("first", "second", "all")}
    assert list(found) == ["first", "second", "all"]
    assert found["first"][:3] == ["4", "3", "25.0"]
    assert found["second"][:3] == ["6", "3", "50.0"]
    assert found["all"][:3] == ["10", "6", "40.0"]
    first, second = (np.array(mask.inference_mask()) for mask in mask_layers(model))
    for name, values in {
        "first": first,
        "second": second,
        "all": np.concatenate([first, second]),
    }.items():
        spread = [values.min(), values.mean(), values.max()]
        np.testing.assert_allclose([float(cell) for cell in found[name][3:]], spread, atol=5e-4)


def test_prints_by_default(model, capsys):
    mask_summary(model)
    table, _ = rows(model)
    assert capsys.readouterr().out == table + "\n"


def test_a_name_with_brackets_is_shown_whole():
    layers = [keras.Input((2,)), BetaBernoulliDropout(name="block[red]")]
    _, lines = rows(keras.Sequential(layers))
    assert "block[red]" in {line[0] for line in lines if line}


def test_without_masks():
    model = keras.Sequential([keras.layers.ReLU()], name="plain")
    with pytest.raises(ValueError, match=r"`plain`.*no mask"):
        mask_summary(model)


def test_latent_features_and_layers_without_masks_are_named():
    x = inputs = keras.Input((4,))
    x = keras.layers.Dense(3, activation="gelu", name="first")(x)
    x = keras.layers.LayerNormalization(name="norm")(keras.layers.Dense(5, name="second")(x))
    x = keras.layers.Dense(6, activation=keras.ops.relu, name="third")(x)
    network = insert_masks(keras.Model(inputs, keras.layers.Dense(2)(x)))
    table, _ = rows(network)
    assert "latent features: first_activation, third_activation\n" in table
    assert "no mask: `second` (5 units): `norm` (LayerNormalization) needs all channels" in table
    text = []
    mask_summary(network, text.append, latents=["norm"])
    assert "latent features: norm\n" in text[0]
