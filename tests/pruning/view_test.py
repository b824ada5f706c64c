"""The slimmed network as a function of the masked network's weights."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from anp_tf.attacks import PGD
from anp_tf.layers import (
    BetaBernoulliDropout,
    InformationBottleneck,
    UnitMask,
    given_masks,
    mask_layers,
)
from anp_tf.methods import AdversarialNeuralPruningVS, Schedule
from anp_tf.models import lenet5_caffe, resnet18, vgg16
from anp_tf.pruning import insert_masks
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


SLOW_VGG16, SLOW_RESNET18 = (
    pytest.param(make, marks=pytest.mark.slow) for make in (vgg16, resnet18)
)


@pytest.mark.parametrize("make", [lenet5_caffe, SLOW_VGG16, SLOW_RESNET18])
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


@pytest.mark.parametrize("make", [lenet5_caffe, SLOW_VGG16])
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
    network = toy(norm=True)
    view = SlimView(network)
    x = images(network)
    norm, alive = network.get_layer("norm"), np.array(network.get_layer("first").active_units())
    assert 0 < alive.sum() < alive.size
    before = np.array(norm.moving_mean)
    with view.weights(training=True):
        view.network(x, training=True)
    after = np.array(norm.moving_mean)
    np.testing.assert_array_equal(after[~alive], before[~alive])
    network(x, training=True)  # from there on once more, with the whole network
    assert np.all(after[alive] != before[alive])
    mean = np.array(network.get_layer("conv")(x)).mean((0, 1, 2))
    np.testing.assert_allclose(after[alive], (0.99 * before + 0.01 * mean)[alive], rtol=1e-4)


def test_a_branch_that_comes_to_be_a_constant_has_no_view():
    network = masked(resnet18, 1 / 16)
    mask = network.get_layer("conv3_2_1_mask")
    mask.prune(np.arange(mask.units))
    with pytest.raises(ValueError, match="have come to be constants"):
        SlimView(network)


def test_a_large_depthwise_kernel_has_a_view():
    """Of more than 8,192 numbers, and with an axis of 1."""
    x = pixels = keras.Input((2, 2, 3))
    x = keras.layers.Conv2D(920, 1, name="conv")(x)
    x = BetaBernoulliDropout(name="mask")(x)
    x = keras.layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(x))
    network = keras.Model(pixels, keras.layers.Dense(3, name="dense")(x))
    view = SlimView(network)
    with view.weights():
        actual = view.network(images(network))
    np.testing.assert_allclose(actual, network(images(network)), rtol=1e-4, atol=1e-5)


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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("norm", "freeze"),
    [
        pytest.param(True, 3, id="norm, masks fixed on the way"),
        *(
            pytest.param(norm, freeze, marks=pytest.mark.slow)
            for norm, freeze in [(False, 0), (False, 3), (True, 0)]
        ),
    ],
)
def test_training_through_the_view_is_the_same(norm, freeze, monkeypatch):
    rng = np.random.default_rng(3)
    x, y = rng.random((24, 8, 8, 1), np.float32), rng.integers(0, 3, 24)

    def run(slims):
        model = AdversarialNeuralPruningVS(
            toy(norm),
            24,
            attack=PGD(epsilon=0.1, step_size=0.05, steps=2),
            vulnerability_weight=3.0,
            schedule=Schedule(mask_freeze_step=freeze),
        )
        model.compile(keras.optimizers.SGD(0.1), keras.optimizers.SGD(0.0))
        with monkeypatch.context() as patch:
            if not slims:
                patch.setattr(model, "train_slimmed", lambda: None)
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (lambda x: keras.layers.Lambda(keras.ops.sort)(x), "Lambda"),
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
    model = AdversarialNeuralPruningVS(
        network, 8, attack=attack, schedule=Schedule(mask_freeze_step=1)
    )
    model.compile("sgd", "sgd")
    rng = np.random.default_rng(0)
    model.fit(rng.random((8, 4, 4, 3), np.float32), rng.integers(0, 3, 8), batch_size=2, verbose=0)
    assert model.forward.view is None
    assert caplog.text.count("trained at its full size") == 1


def chain(*layers, shape=(6, 6, 2)):
    keras.utils.set_random_seed(4)
    x = pixels = keras.Input(shape)
    for layer in layers:
        x = layer(x)
    return keras.Model(pixels, x, name="chain")


class WithoutConfiguration(keras.layers.Layer):
    def __init__(self, argument):
        super().__init__()

    def call(self, x):
        return x


dense, conv = keras.layers.Dense, keras.layers.Conv2D
WITHOUT_A_VIEW = {
    "tanh": lambda: chain(
        conv(3, 3, activation="relu"), UnitMask(), keras.layers.Activation("tanh")
    ),
    "gelu": lambda: chain(
        conv(3, 3, activation="relu"), UnitMask(), keras.layers.Activation("gelu")
    ),
    "ReLU 6": lambda: chain(conv(3, 3, activation="relu"), UnitMask(), keras.layers.ReLU(0.1)),
    "layer normalization": lambda: chain(
        conv(3, 3, activation="relu"), UnitMask(), keras.layers.LayerNormalization()
    ),
    "mask as output": lambda: chain(dense(3, activation="relu"), UnitMask()),
    "negative factors": lambda: chain(
        *(conv(3, 3), keras.layers.ReLU(), InformationBottleneck(), keras.layers.MaxPooling2D(2))
    ),
    "bias": lambda: chain(
        *(dense(8), UnitMask(), keras.layers.Activation("sigmoid"), dense(3, use_bias=False))
    ),
    "batch renormalization": lambda: chain(
        *(dense(4), keras.layers.BatchNormalization(renorm=True), UnitMask(), dense(2))
    ),
    "no configuration": lambda: chain(
        *(dense(4), WithoutConfiguration(1), UnitMask(), keras.layers.ReLU(), dense(2))
    ),
}


@pytest.mark.parametrize("make", WITHOUT_A_VIEW.values(), ids=WITHOUT_A_VIEW)
def test_what_would_not_be_the_network_is_no_view(make):
    network = make()
    (mask,) = mask_layers(network)
    if isinstance(mask, UnitMask):
        mask.prune([1])
    with pytest.raises(ValueError, match=r"for another reason|does not know|cannot be copied"):
        SlimView(network)


def test_negative_factors_where_they_can_be():
    network = chain(conv(3, 3), InformationBottleneck(), keras.layers.ReLU(), dense(2))
    view = SlimView(network)
    x = images(network)
    masks = {mask_layers(network)[0]: tf.constant([-1.0, 0.5, -0.2])}
    with given_masks(masks):
        expected = network(x)
    with view.weights(masks):
        np.testing.assert_allclose(view.network(x), expected, atol=1e-5)


def test_nested_models_and_layers_of_layers():
    network = chain(
        keras.layers.Reshape((36, 2)),
        chain(dense(4, name="same"), shape=(36, 2)),
        *(UnitMask(), keras.layers.ReLU()),
        keras.layers.Bidirectional(keras.layers.LSTM(3)),
        *(dense(6), UnitMask(), keras.layers.ReLU(), dense(2, name="same")),
    )
    for mask in mask_layers(network):
        mask.prune([1])
    view, x = SlimView(network), images(network)
    for variable in network.trainable_variables:
        variable.assign(variable + 0.1)
    with view.weights():
        np.testing.assert_allclose(view.network(x), network(x), atol=1e-5)


def test_dropout_goes_on():
    """Each training pass draws anew, as it would in the network."""
    network = chain(
        *(dense(8), UnitMask(), keras.layers.ReLU(), keras.layers.Dropout(0.5, seed=1), dense(2))
    )
    view, seed = SlimView(network), network.layers[4].seed_generator.state
    x, start = images(network), np.array(seed)

    @tf.function
    def through_view():
        with view.weights(training=True):
            return view.network(x, training=True)

    actual = [np.array(through_view()) for _ in range(3)]
    seed.assign(start)
    expected = [np.array(network(x, training=True)) for _ in range(3)]
    np.testing.assert_allclose(actual, expected, atol=1e-6)
    assert not np.allclose(actual[0], actual[1])


def test_weights_that_are_not_trained_stay():
    network = toy(norm=True)
    frozen = network.get_layer("norm"), network.get_layer("dense"), network.get_layer("logits")
    for layer in frozen:
        layer.trainable = False
    before = [w for layer in frozen for w in layer.get_weights()]
    view = SlimView(network)
    with view.weights(training=True):
        view.network(images(network), training=True)
    after = [w for layer in frozen for w in layer.get_weights()]
    for value, other in zip(after, before, strict=True):
        np.testing.assert_array_equal(value, other)


def test_a_network_with_attention_and_an_adapted_layer_has_a_view():
    """The weights of projections have one name; what is adapted is no weight."""
    norm = keras.layers.Normalization()
    norm.adapt(np.random.default_rng(0).normal(3, 2, (50, 6, 4)).astype(np.float32))
    x = pixels = keras.Input((6, 4))
    x = keras.layers.Dense(8, activation="gelu")(norm(x))
    x = keras.layers.MultiHeadAttention(2, 3)(x, x)
    x = keras.layers.Dense(5, activation="relu")(keras.layers.Flatten()(x))
    network = insert_masks(keras.Model(pixels, keras.layers.Dense(3)(x)))
    for mask in mask_layers(network):
        mask.prune([0, 2])
    view = SlimView(network)
    x = images(network)
    with view.weights():
        actual = view.network(x)
    np.testing.assert_allclose(actual, network(x), atol=1e-5)
    assert view.network.count_params() < network.count_params()
