"""The loss on bounds, against NumPy."""

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from anp_tf.attacks import PGD
from anp_tf.layers import UnitMask, mask_layers
from anp_tf.methods import METHODS, AdversarialTraining, Bound, Standard
from anp_tf.methods.bound_loss import BoundLoss
from anp_tf.pruning.view import SlimView

FEATURES, HIDDEN, CLASSES = 6, 5, 3


def network(mask=None):
    keras.utils.set_random_seed(3)
    x = pixels = keras.Input((FEATURES,))
    x = keras.layers.Dense(HIDDEN, bias_initializer="normal")(x)
    x = keras.layers.ReLU()(x if mask is None else mask(x))
    return keras.Model(pixels, keras.layers.Dense(CLASSES, bias_initializer="normal")(x))


def data(n=10):
    rng = np.random.default_rng(0)
    return rng.random((n, FEATURES)).astype(np.float32), rng.integers(0, CLASSES, n)


def margins(network, x, y, epsilon, factors):
    """Upper bounds of output_j - output_y by intervals, one image and one margin at a time."""
    dense = (layer for layer in network.layers if isinstance(layer, keras.layers.Dense))
    w1, b1, w2, b2 = (np.array(w, np.float64) for layer in dense for w in layer.get_weights())
    found = np.zeros([len(x), CLASSES])
    for index, (image, label) in enumerate(zip(x.astype(np.float64), y, strict=True)):
        low, high = np.clip(image - epsilon, 0, 1), np.clip(image + epsilon, 0, 1)
        center, radius = (low + high) / 2 @ w1 + b1, (high - low) / 2 @ np.abs(w1)
        low, high = (np.maximum(factors * end, 0) for end in (center - radius, center + radius))
        for other in range(CLASSES):
            row = w2[:, other] - w2[:, label]
            best = np.where(row > 0, high, low)
            found[index, other] = row @ best + b2[other] - b2[label]
    return found


@pytest.mark.parametrize(("step", "radius"), [(0, 0.025), (3, 0.1), (50, 0.1)])
def test_loss_is_the_cross_entropy_of_the_bounds(step, radius):
    mask = UnitMask()
    net = network(mask)
    x, y = data()
    factors = np.array([0.3, 1.0, 0.0, 0.7, 1.0], np.float32)
    loss = BoundLoss(net, Bound(0.5, epsilon=0.1, warmup_steps=4))
    found = loss(x, y, {mask: factors}, step).numpy()
    bounds = margins(net, x, y, radius, factors)
    expected = np.mean(scipy.special.logsumexp(bounds, axis=1))
    assert found == pytest.approx(expected, rel=1e-5)
    weights = np.arange(10, dtype=np.float32)
    weighted = loss(x, y, {mask: factors}, step, weights).numpy()
    assert weighted == pytest.approx(
        np.mean(weights * scipy.special.logsumexp(bounds, axis=1)), rel=1e-5
    )


def test_through_the_slimmed_network():
    mask = UnitMask()
    net = network(mask)
    x, y = data()
    mask.prune([1, 3])
    factors = np.array([1, 0, 1, 0, 1], np.float32)
    loss = BoundLoss(net, Bound(0.5, epsilon=0.1))
    whole = loss(x, y, {mask: factors}, 0).numpy()
    loss.use_view(SlimView(net))
    kernel = net.trainable_variables[0]
    with tf.GradientTape() as tape:
        slim = loss(x, y, {mask: factors}, 0)
    assert slim.numpy() == pytest.approx(whole, rel=1e-6)
    gradient = tape.gradient(slim, kernel.value).numpy()
    assert np.all(gradient[:, [1, 3]] == 0)
    assert np.max(np.abs(gradient)) > 1e-3


@pytest.mark.slow
def test_training_stays_whole_if_bounds_have_no_slimmed_form(monkeypatch):
    """What runs first does not keep a view that what runs next has refused."""
    net = network(UnitMask())
    mask_layers(net)[0].prune([1])
    attack = PGD(epsilon=0.1, step_size=0.1, steps=1)
    model = METHODS["magnitude"](net, 10, attack=attack, bound=Bound(0.5, epsilon=0.1))
    model.compile("sgd")

    def refused(network, rounding):
        raise ValueError("no rule")

    monkeypatch.setattr("anp_tf.methods.bound_loss.BoundedNetwork", refused)
    model.train_slimmed()
    assert model.forward.view is None
    assert model.slimming.attacked.view is None
    model.fit(*data(), verbose=0)


def test_validation_counts_what_is_proved():
    net = network()
    x, y = data(50)
    y = np.argmax(net(x), -1)
    loss = BoundLoss(net, Bound(0.5, epsilon=0.02, warmup_steps=9))
    loss.validate(x, y, {})
    bounds = margins(net, x, y, 0.02, np.ones(HIDDEN))
    proved = np.mean(np.sum(bounds < 0, -1) == CLASSES - 1)
    assert 0 < proved < 1
    assert loss.means["proved"].result().numpy() == pytest.approx(proved)


def test_validation_weighs_examples():
    net, (x, y) = network(), data(12)
    weights = np.arange(12, dtype=np.float32)
    loss = BoundLoss(net, Bound(0.5, epsilon=0.02))
    for part in (slice(0, 5), slice(5, 12)):
        loss.validate(x[part], y[part], {}, weights[part])
    bounds = margins(net, x, y, 0.02, np.ones(HIDDEN))
    expected = np.mean(weights * np.log(np.sum(np.exp(bounds), -1)))
    assert loss.means["bound_loss"].result().numpy() == pytest.approx(expected, rel=1e-5)


def unchanged(network, x, y, seed=None, scale=1.0):
    return x


def after_a_step(weight):
    """The weights that plain gradient descent of rate 1 leaves after a step."""
    net = network()
    bound = Bound(weight, epsilon=0.1) if weight else None
    model = AdversarialTraining(net, num_examples=20, attack=unchanged, bound=bound)
    model.compile(keras.optimizers.SGD(1.0), run_eagerly=True)
    model.train_on_batch(*data())
    return np.concatenate([np.ravel(value) for value in net.get_weights()])


def test_weights_follow_both_losses():
    none, all_of_it, some = (after_a_step(weight) for weight in (0.0, 1.0, 0.3))
    start = np.concatenate([np.ravel(value) for value in network().get_weights()])
    np.testing.assert_allclose(
        some - start, 0.7 * (none - start) + 0.3 * (all_of_it - start), atol=1e-6
    )
    assert np.max(np.abs(all_of_it - none)) > 0.01


@pytest.mark.slow
def test_training_proves_more():
    """`fit`, compiled, with validation: more is proved after some epochs than before."""
    net = network()
    x, y = data(200)
    y = (x[:, 0] > 0.5).astype(int)
    x[:, 0] = np.where(y, 0.8, 0.2)
    model = Standard(net, num_examples=200, bound=Bound(0.5, epsilon=0.05), weight_decay=0.0)
    model.compile(keras.optimizers.Adam(0.05))
    history = model.fit(x, y, epochs=40, batch_size=50, validation_data=(x, y), verbose=0).history
    assert history["val_proved"][-1] > history["val_proved"][0] + 0.1
    assert history["bound_loss"][-1] < history["bound_loss"][0]


def test_masks_may_have_it_too():
    loss = BoundLoss(network(UnitMask()), Bound(0.25, epsilon=0.1, masks=True))
    assert loss.mixed((4.0, 8.0), 2.0) == (0.75 * 4 + 0.25 * 2, 0.75 * 8 + 0.25 * 2)
    assert loss.mixed((4.0, None), 2.0) == (0.75 * 4 + 0.25 * 2, None)
    loss = BoundLoss(network(), Bound(0.25, epsilon=0.1))
    assert loss.mixed((4.0, 8.0), 2.0) == (0.75 * 4 + 0.25 * 2, 8.0)


@pytest.mark.parametrize(
    "options", [{"weight": 1.5}, {"epsilon": 0.0}, {"warmup_steps": -1}], ids=str
)
def test_arguments(options):
    (name,) = options
    with pytest.raises(ValueError, match=f"argument `{name}`"):
        Bound(**{"weight": 0.1, "epsilon": 0.1, **options})


def test_a_layer_without_a_rule():
    pixels = keras.Input((4, 4, 1))
    x = keras.layers.Flatten()(keras.layers.Conv2D(2, 3)(pixels))
    x = keras.layers.LayerNormalization()(x)
    net = keras.Model(pixels, keras.layers.Dense(2)(x))
    assert not mask_layers(net)
    with pytest.raises(ValueError, match="LayerNormalization"):
        Standard(net, num_examples=10, bound=Bound(0.1, epsilon=0.1))
