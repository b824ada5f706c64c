"""The slimmed network as a function of the masked network's weights."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from anp_tf.attacks import PGD
from anp_tf.layers import BetaBernoulliDropout, mask_layers
from anp_tf.methods import AdversarialNeuralPruningVS
from anp_tf.models import lenet5_caffe, resnet18, vgg16
from anp_tf.pruning.view import SlimView


def randomise(network, seed=0):
    rng = np.random.default_rng(seed)
    for layer in network.layers:
        if isinstance(layer, BetaBernoulliDropout):
            alive = rng.normal(2, 1, layer.units)
            layer.a_u.assign(np.where(rng.random(layer.units) < 0.5, -20.0, alive))
        elif layer.weights:
            layer.set_weights(
                [w + 0.05 * rng.random(w.shape, np.float32) for w in layer.get_weights()]
            )
    return network


def masked(make, width=0.1):
    return randomise(make(lambda name: BetaBernoulliDropout(name=name), width_multiplier=width))


def images(network, n=4):
    return np.random.default_rng(1).random((n, *network.input_shape[1:]), np.float32)


@pytest.mark.parametrize("make", [lenet5_caffe, vgg16, resnet18])
def test_it_follows_the_weights(make):
    """The view was made before the weights changed, and computes with those of the moment."""
    network = masked(make)
    view = SlimView(network)
    x = images(network)
    for seed in (1, 2):
        rng = np.random.default_rng(seed)
        for layer in network.layers:
            if layer.weights and not isinstance(layer, BetaBernoulliDropout):
                noisy = [w * rng.uniform(0.5, 1.0, w.shape) for w in layer.get_weights()]
                layer.set_weights(noisy)
        expected = np.array(network(x))
        with view.weights():
            actual = view.network(x)
        np.testing.assert_allclose(actual, expected, atol=1e-5 * np.abs(expected).max())
        stale = np.array(view.network(x))
        assert np.abs(stale - expected).max() > 1e-3 * np.abs(expected).max()
    assert view.network.count_params() < 0.5 * network.count_params()


@pytest.mark.parametrize("make", [lenet5_caffe, vgg16])
def test_gradients_are_those_of_the_masked_network(make):
    network = masked(make)
    view = SlimView(network)
    x = images(network)
    weights = [v for v in network.trainable_variables if not v.path.endswith(("a_u", "b_u"))]

    def gradients(forward):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(forward()))
        return tape.gradient(loss, weights, unconnected_gradients="zero")

    def through_view():
        with view.weights():
            return view.network(x)

    expected = gradients(lambda: network(x))
    for actual, gradient in zip(gradients(through_view), expected, strict=True):
        scale = np.abs(gradient).max() + 1e-6
        np.testing.assert_allclose(actual, gradient, atol=1e-4 * scale)


def test_moving_averages_go_back():
    network = masked(vgg16)
    view = SlimView(network)
    x = images(network)
    norm, alive = (
        network.get_layer("bn1_1"),
        np.array(network.get_layer("conv1_1_mask").active_units()),
    )
    before = np.array(norm.moving_mean)
    with view.weights(training=True):
        view.network(x, training=True)
    after = np.array(norm.moving_mean)
    np.testing.assert_array_equal(after[~alive], before[~alive])
    network(x, training=True)  # from there on once more, with the whole network
    assert np.all(after[alive] != before[alive])
    inputs = network.get_layer("normalise")(x)
    mean = np.array(network.get_layer("conv1_1")(inputs)).mean((0, 1, 2))
    np.testing.assert_allclose(after[alive], (0.99 * before + 0.01 * mean)[alive], rtol=1e-4)


def test_a_branch_that_comes_to_be_a_constant_has_no_view():
    network = masked(resnet18, 1 / 16)
    mask = network.get_layer("conv3_2_1_mask")
    mask.prune(np.arange(mask.units))
    with pytest.raises(ValueError, match="have come to be constants"):
        SlimView(network)


def toy(norm):
    keras.utils.set_random_seed(2)
    x = pixels = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(6, 3, name="conv")(x)
    x = keras.layers.BatchNormalization(name="norm")(x) if norm else x
    x = keras.layers.ReLU()(BetaBernoulliDropout(name="first")(x))
    x = keras.layers.Flatten()(keras.layers.MaxPooling2D(2)(x))
    x = keras.layers.Dense(12, name="dense")(BetaBernoulliDropout(name="second")(x))
    x = keras.layers.ReLU()(BetaBernoulliDropout(name="third")(x))
    return randomise(keras.Model(pixels, keras.layers.Dense(3, name="logits")(x), name="toy"))


@pytest.mark.parametrize("freeze", [0, 3])
@pytest.mark.parametrize("norm", [False, True])
def test_training_through_the_view_is_the_same(norm, freeze, monkeypatch):
    rng = np.random.default_rng(3)
    x, y = rng.random((24, 8, 8, 1), np.float32), rng.integers(0, 3, 24)

    def run(slims):
        model = AdversarialNeuralPruningVS(
            toy(norm),
            24,
            attack=PGD(epsilon=0.1, step_size=0.05, steps=2),
            vulnerability_weight=3.0,
            mask_freeze_step=freeze,
        )
        model.compile(keras.optimizers.SGD(0.1), keras.optimizers.SGD(0.0))
        with monkeypatch.context() as patch:
            if not slims:
                patch.setattr(model, "slim", lambda: None)
            history = model.fit(x, y, batch_size=6, epochs=2, shuffle=False, verbose=0).history
        assert (model.forward.view is not None) == slims
        # The moving averages of pruned channels, which nothing reads, stay behind.
        outputs = np.array(model.network(x))
        return history, [outputs, *(np.array(v) for v in model.network.trainable_variables)]

    (history, variables), (expected_history, expected) = run(True), run(False)
    assert history.keys() == expected_history.keys()
    for name, values in history.items():
        np.testing.assert_allclose(
            values, expected_history[name], rtol=1e-4, atol=1e-6, err_msg=name
        )
    for actual, value in zip(variables, expected, strict=True):
        np.testing.assert_allclose(actual, value, atol=2e-5)


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (lambda x: keras.layers.EinsumDense("abcd,de->abce", (2, 2, 3))(x), "EinsumDense"),
        (lambda x: keras.layers.Activation("sigmoid")(x), "have come to be constants"),
        (lambda x: keras.layers.BatchNormalization()(x), "have come to be constants"),
    ],
    ids=["unknown layer", "sigmoid", "normalization"],
)
def test_a_network_that_has_no_view_is_trained_as_it_is(layer, reason, caplog):
    x = pixels = keras.Input((4, 4, 3))
    x = keras.layers.ReLU()(layer(BetaBernoulliDropout()(keras.layers.Conv2D(4, 3)(x))))
    network = keras.Model(pixels, keras.layers.Dense(3)(keras.layers.Flatten()(x)))
    mask_layers(network)[0].prune([1])
    with pytest.raises(ValueError, match=reason):
        SlimView(network)
    attack = PGD(epsilon=0.1, step_size=0.05, steps=1)
    model = AdversarialNeuralPruningVS(network, 8, attack=attack, mask_freeze_step=1)
    model.compile("sgd", "sgd")
    rng = np.random.default_rng(0)
    model.fit(rng.random((8, 4, 4, 3), np.float32), rng.integers(0, 3, 8), batch_size=2, verbose=0)
    assert model.forward.view is None
    assert caplog.text.count("trained at its full size") == 1
