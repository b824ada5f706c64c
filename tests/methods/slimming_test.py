"""Training that was slimmed, and then other weights or another `compile`."""

import keras
import numpy as np
import pytest

from anp_tf.layers import BetaBernoulliDropout
from anp_tf.methods import BayesianPruning, Schedule

UNITS = 8
DATA = np.random.default_rng(0).random((12, 6)).astype(np.float32), np.arange(12) % 3


def compiled(rate=0.0, **schedule):
    """Weights stay as they are; a mask's parameters start at random ones."""
    keras.utils.set_random_seed(3)
    mask = BetaBernoulliDropout()
    hidden = [keras.layers.Dense(UNITS), mask, keras.layers.ReLU()]
    network = keras.Sequential([keras.Input((6,)), *hidden, keras.layers.Dense(3)])
    mask.b_u.assign(np.random.default_rng(1).normal(1, 0.5, UNITS))
    model = BayesianPruning(network, 12, beta=0.0, schedule=Schedule(**schedule))
    compiled_again(model, rate)
    return model


def compiled_again(model, rate):
    model.compile(keras.optimizers.SGD(0.0), keras.optimizers.SGD(rate))


def fit(model, epochs=1, callbacks=()):
    return model.fit(*DATA, batch_size=6, epochs=epochs, verbose=0, callbacks=callbacks).history


def assert_trains_what_is_there(model, sparsity):
    history = fit(model)
    expected = model.evaluate(*DATA, batch_size=6, verbose=0, return_dict=True)
    assert history["loss"][-1] == pytest.approx(expected["loss"], rel=1e-5)
    pruned = 1 - np.mean(model.masks[0].active_units())
    assert history["sparsity"][-1] == pruned == sparsity


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_weights_restored_from_before_the_masks_were_fixed(share):
    """The units that are cut are those of the restored masks, or of `fix_sparsity` again."""
    model = compiled(mask_freeze_step=2, fix_sparsity=share)
    before = model.get_weights()
    model.masks[0].prune([0, 1, 2])
    fit(model)
    assert_trains_what_is_there(model, sparsity=max(share, 0.375))
    assert model.forward.view is not None
    model.set_weights(before)
    assert_trains_what_is_there(model, sparsity=share)
    assert model.forward.view is not None


@pytest.mark.slow
def test_the_best_weights_are_those_before_the_masks_were_fixed():
    model = compiled(mask_freeze_step=4, fix_sparsity=0.5)
    stopping = keras.callbacks.EarlyStopping(
        "sparsity", mode="min", patience=2, restore_best_weights=True
    )
    assert fit(model, 5, [stopping])["sparsity"] == [0.0, 0.5, 0.5]
    assert np.all(model.masks[0].active_units())
    assert_trains_what_is_there(model, sparsity=0.5)


@pytest.mark.slow
def test_masks_that_another_compile_does_not_fix_are_learned():
    """Steps count from 0 again."""
    model = compiled(mask_freeze_step=2, fix_sparsity=0.5)
    fit(model, 2)
    assert model.forward.view is not None
    compiled_again(model, rate=1.0)
    before = [np.array(v) for v in model.mask_variables]
    fit(model)
    assert max(np.abs(v - b).max() for v, b in zip(model.mask_variables, before, strict=True)) > 0
    assert_trains_what_is_there(model, sparsity=0.5)
    assert model.forward.view is not None


def test_fixed_masks_stay_whatever_their_rate():
    model = compiled(mask_freeze_step=2, fix_sparsity=0.5, rate=1.0)
    fit(model)
    before = [np.array(v) for v in model.mask_variables]
    rate = model.mask_optimizer.iterations
    assert rate == 2
    history = fit(model, epochs=3)
    for variable, value in zip(model.mask_variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)
    assert history["sparsity"] == [0.5] * 3
