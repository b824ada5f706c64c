"""Averaged weights, and the statistics of batch normalization that they come with."""

import keras
import numpy as np
import pytest

from anp_tf.layers import UnitMask
from anp_tf.methods import AdversarialTraining, MagnitudePruning, Standard

DATA = np.random.default_rng(0).random((24, 6)).astype(np.float32), np.arange(24) % 3


def network(mask=None):
    keras.utils.set_random_seed(3)
    x = pixels = keras.Input((6,))
    for layer in (keras.layers.Dense(5), keras.layers.BatchNormalization(), mask):
        x = x if layer is None else layer(x)
    return keras.Model(pixels, keras.layers.Dense(3)(keras.layers.ReLU()(x)))


def moved(network, x, y, seed=None, scale=1.0):
    return 1.0 - x


def compiled(kind, masked=None, **options):
    model = kind(network(masked), 24, average_decay=0.9, **options)
    model.compile(keras.optimizers.SGD(0.5, momentum=0.9))
    return model


class Follow(keras.callbacks.Callback):
    """Averages in NumPy."""

    def __init__(self, model):
        super().__init__()
        self.averages = [v.numpy() for v in model.weight_variables]
        self.step = 0

    def on_train_batch_end(self, batch, logs=None):
        rate = 1 - min(0.9, (1 + self.step) / (10 + self.step))
        self.step += 1
        for average, variable in zip(self.averages, self.model.weight_variables, strict=True):
            average += rate * (variable.numpy() - average)


@pytest.mark.parametrize("weight", [2.0, pytest.param(np.inf, marks=pytest.mark.slow)])
def test_averages_take_the_weights_place_and_give_it_back(weight):
    model = compiled(AdversarialTraining, attack=moved, adversarial_weight=weight)
    follow = Follow(model)
    model.fit(*DATA, batch_size=8, epochs=30, verbose=0, callbacks=[follow])
    before = [v.numpy() for v in model.network.variables]

    x, y = DATA
    model.use_averages([(x[:8], y[:8]), (x[8:], y[8:])])
    model.use_averages([(x[:8], y[:8])])  # they are there
    for variable, expected in zip(model.weight_variables, follow.averages, strict=True):
        np.testing.assert_allclose(variable, expected, atol=1e-5)
    # The statistics are means over the batches that a step runs, of nearly equal weight.
    _, dense, norm, _, _ = model.network.layers
    ran = [x[:8], 1 - x[:8], x[8:], 1 - x[8:]]
    ran = ran[1::2] if np.isinf(weight) else ran
    outputs = [np.array(dense(images)) for images in ran]
    mean = np.mean([values.mean(0) for values in outputs], axis=0)
    variance = np.mean([values.var(0) for values in outputs], axis=0)
    np.testing.assert_allclose(norm.moving_mean, mean, atol=0.02 * np.abs(mean).max())
    np.testing.assert_allclose(norm.moving_variance, variance, rtol=0.03)
    assert any(not np.allclose(v, b) for v, b in zip(model.network.variables, before, strict=True))

    model.use_weights()
    for variable, expected in zip(model.network.variables, before, strict=True):
        np.testing.assert_array_equal(variable, expected)
    model.use_weights()  # nothing is left to be put back


def test_statistics_that_never_move_stay():
    norm = keras.layers.BatchNormalization(momentum=1.0)
    network = keras.Sequential([keras.Input((6,)), norm, keras.layers.Dense(3)])
    model = Standard(network, 24, average_decay=0.9)
    norm.moving_mean.assign(np.arange(6))
    model.compile("sgd")
    model.use_averages([DATA])
    np.testing.assert_array_equal(norm.moving_mean, np.arange(6))
    np.testing.assert_array_equal(norm.moving_variance, np.ones(6))


def test_statistics_of_layers_that_are_frozen_or_called_twice():
    keras.utils.set_random_seed(3)
    frozen = keras.layers.BatchNormalization(trainable=False)
    shared = keras.layers.BatchNormalization(scale=False, center=False)
    pixels = keras.Input((6,))
    outputs = keras.layers.Dense(3)(shared(keras.layers.ReLU()(shared(frozen(pixels)))))
    model = Standard(keras.Model(pixels, outputs), 24, average_decay=0.9)
    start, spread = np.arange(6, dtype=np.float32), 1 + np.arange(6, dtype=np.float32)
    frozen.moving_mean.assign(start)
    frozen.moving_variance.assign(spread)
    model.compile("sgd")
    x, y = DATA
    model.use_averages([(x[:8], y[:8]), (x[8:], y[8:])])
    np.testing.assert_array_equal(frozen.moving_mean, start)
    np.testing.assert_array_equal(frozen.moving_variance, spread)
    means, variances = [], []
    for images in (x[:8], x[8:]):
        hidden = (images - start) / np.sqrt(spread + frozen.epsilon)
        for _ in range(2):
            means.append(hidden.mean(0))
            variances.append(hidden.var(0))
            hidden = (hidden - means[-1]) / np.sqrt(variances[-1] + shared.epsilon)
            hidden = np.maximum(hidden, 0)
    ages = shared.momentum ** np.arange(4)[::-1]
    for variable, values in ((shared.moving_mean, means), (shared.moving_variance, variances)):
        expected = np.average(values, axis=0, weights=ages)
        np.testing.assert_allclose(variable, expected, rtol=1e-4, atol=1e-6)


def test_what_is_cut_is_cut_from_the_averages():
    model = compiled(
        MagnitudePruning,
        UnitMask(),
        attack=moved,
        target_sparsity=0.5,
        pruning_steps=10,
        pruning_updates=1,
    )
    model.fit(*DATA, batch_size=8, epochs=5, verbose=0)
    kept = [np.array(v) for v in model.kept]
    model.use_averages([DATA])
    for kernel, mask in zip(model.kernels, kept, strict=True):
        assert np.mean(mask) == pytest.approx(0.5, abs=0.05)
        assert np.all(np.array(kernel)[mask == 0] == 0)


@pytest.mark.slow
def test_batches_are_read_as_in_training():
    """Integers are divided by 255, labels may be one-hot, and examples weighted."""
    x, y = np.round(255 * DATA[0]).astype(np.uint8), DATA[1]
    found = []
    for batch in ((x / np.float32(255), y), (x, np.eye(3)[y], np.ones(24))):
        model = compiled(AdversarialTraining, attack=moved)
        model.use_averages([batch])
        found.append([v.numpy() for v in model.network.variables])
    for expected, actual in zip(*found, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_after_batches_that_cannot_be_read_the_weights_are_there():
    model = compiled(Standard)
    before = [v.numpy() for v in model.network.variables]
    with pytest.raises(ValueError, match="`batches` must have batches"):
        model.use_averages(iter([]))
    with pytest.raises(ValueError, match="Images must be"):
        model.use_averages([(DATA[0][:, :5], DATA[1])])
    for variable, expected in zip(model.network.variables, before, strict=True):
        np.testing.assert_array_equal(variable, expected)
    model.use_averages([DATA])
    assert np.all(np.array(model.network.layers[2].moving_variance) > 0)


def test_no_averages_unless_asked_for():
    model = Standard(network(), 24)
    assert model.averages is None
    assert not [v for v in model.state_variables() if v.name.endswith("_average")]
    with pytest.raises(ValueError, match="`average_decay`"):
        model.use_averages([DATA])
    model.use_weights()


def test_nothing_is_trained_or_saved_of_averages(tmp_path):
    model = compiled(Standard)
    model.fit(*DATA, batch_size=8, verbose=0)
    path = tmp_path / "all.weights.h5"
    model.save_weights(path)
    model.use_averages([DATA])
    for call in (
        lambda: model.fit(*DATA),
        lambda: model.train_on_batch(*DATA),
        lambda: model.save_weights(path),
        lambda: model.load_weights(path),
    ):
        with pytest.raises(ValueError, match="a call of `use_weights` before"):
            call()
    model.evaluate(*DATA, verbose=0)
    model.use_weights()
    model.load_weights(path)


def test_a_look_at_averages_does_not_change_what_layers_draw():
    keras.utils.set_random_seed(3)
    dropout, norm = keras.layers.Dropout(0.5), keras.layers.BatchNormalization()
    network = keras.Sequential([keras.Input((6,)), norm, dropout, keras.layers.Dense(3)])
    model = Standard(network, 24, average_decay=0.9)
    before = np.array(dropout.seed_generator.state)
    model.use_averages([DATA])
    assert not np.array_equal(dropout.seed_generator.state, before)
    model.use_weights()
    np.testing.assert_array_equal(dropout.seed_generator.state, before)
