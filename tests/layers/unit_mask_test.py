"""The mask without a distribution."""

import keras
import numpy as np

from anp_tf.layers import UnitMask


def test_it_changes_nothing_but_what_is_cut(tmp_path):
    model = keras.Sequential([keras.Input((5,)), UnitMask(name="mask")])
    x = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    for training in (False, True):
        np.testing.assert_array_equal(model(x, training=training), x)
    model.layers[0].prune([1, 4])
    expected = x * [1, 0, 1, 1, 0]
    for training in (False, True):
        np.testing.assert_array_equal(model(x, training=training), expected)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "model.keras")(x), expected)
    assert not model.trainable_variables
    assert float(model.layers[0].kl()) == 0
