"""What `save_weights` and Keras's own callback keep of a method: all that training goes on with."""

import keras
import numpy as np
import pytest

from anp_tf.attacks import NFGSM
from anp_tf.layers import BetaBernoulliDropout, UnitMask
from anp_tf.methods import (
    ADMM,
    AdversarialNeuralPruningVS,
    AdversarialTraining,
    MagnitudePruning,
    Schedule,
)
from anp_tf.methods.slimming import FollowPruning

DATA = np.random.default_rng(0).random((12, 6)).astype(np.float32), np.arange(12) % 3
PRUNING = {"target_sparsity": 0.5, "pruning_steps": 4, "pruning_updates": 2}


def compiled(kind, mask=None, **options):
    keras.utils.set_random_seed(3)
    layers = [keras.Input((6,)), keras.layers.Dense(5), *([mask()] if mask else [])]
    layers += [keras.layers.ReLU(), keras.layers.Dropout(0.2), keras.layers.Dense(3)]
    network = keras.Sequential(layers)
    attack = NFGSM(epsilon=0.1, noise=2.0)
    model = kind(network, 12, attack, average_decay=0.9, **options)
    optimizers = [keras.optimizers.Adam(0.05) for _ in range(2 if model.mask_variables else 1)]
    model.compile(*optimizers, run_eagerly=True)
    return model


def anp_vs():
    return compiled(
        AdversarialNeuralPruningVS,
        BetaBernoulliDropout,
        schedule=Schedule(mask_freeze_step=4, fix_sparsity=0.5),
    )


def fit(model, epochs, callbacks=()):
    model.fit(*DATA, batch_size=6, epochs=epochs, shuffle=False, verbose=0, callbacks=callbacks)


def state(model):
    """All that a step depends on."""
    optimizers = [o for o in (model.optimizer, model.mask_optimizer) if o is not None]
    variables = [*model.network.variables, *model.state_variables()]
    return [np.array(v) for v in [*variables, *(v for o in optimizers for v in o.variables)]]


def assert_same(actual, expected):
    for value, other in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(value, other)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: compiled(AdversarialTraining), id="at", marks=pytest.mark.slow),
        pytest.param(anp_vs, id="anp_vs"),
        pytest.param(lambda: compiled(ADMM, **PRUNING), id="admm"),
        pytest.param(
            lambda: compiled(MagnitudePruning, UnitMask, **PRUNING),
            id="magnitude",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_saved_weights_are_the_whole_state(make, tmp_path):
    model, other = make(), make()
    fit(model, 2)
    model.training_attack.noise.assign(4.0)
    for variable in model.slimming.attacked.variables:
        variable.assign([0, 1, 0, 1, 0])
    assert all(np.any(np.array(average)) for average in model.averages.variables)
    model.save_weights(tmp_path / "state.weights.h5")
    other.load_weights(tmp_path / "state.weights.h5")
    assert_same(state(other), state(model))
    weights = model.get_weights()
    dropout = 1  # the state of its random numbers
    assert len(weights) == len(model.network.weights) + len(model.state_variables()) + dropout
    last = make()
    last.set_weights(weights)
    assert_same(last.get_weights(), weights)
    assert {id(v) for v in model.trainable_variables} == {
        id(v) for v in model.network.trainable_variables
    }


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_as_an_undisturbed_one(tmp_path, monkeypatch):
    """Also with the slimmed networks, which are made after Keras has restored the weights."""
    monkeypatch.setattr(FollowPruning, "every", 1)
    undisturbed = anp_vs()
    fit(undisturbed, 4)
    slimmed = []
    look = keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: slimmed.append(model.slimming.cut is not None)
    )
    for epochs in (1, 3, 4):
        model = anp_vs()
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup", delete_checkpoint=False)
        fit(model, epochs, [backup, look])
    assert_same(state(model), state(undisturbed))
    assert slimmed == [False] * 4 + [True] * 4


def test_the_saved_network_has_its_own_weights_alone(tmp_path):
    model = anp_vs()
    fit(model, 1)
    model.save(tmp_path / "network.keras")
    loaded = keras.models.load_model(tmp_path / "network.keras")
    assert_same(loaded.get_weights(), model.network.get_weights())
