"""The attack of training on the slimmed network: the same images, whatever the masks do."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from anp_tf.attacks import FGSM, PGD
from anp_tf.layers import BetaBernoulliDropout, given_masks, mask_layers
from anp_tf.methods import METHODS, Schedule
from anp_tf.methods.attacked_network import AttackedNetwork
from anp_tf.methods.batch_reader import Batch
from anp_tf.methods.slimming import FollowPruning
from anp_tf.models import lenet5_caffe, resnet18, vgg16

PRUNED, ALIVE = -20.0, 2.0


def masked(make=lenet5_caffe, width=0.1):
    keras.utils.set_random_seed(0)
    network = make(lambda name: BetaBernoulliDropout(name=name), width_multiplier=width)
    random = np.random.default_rng(0)
    for mask in mask_layers(network):
        mask.b_u.assign(random.normal(1, 0.5, mask.units))
    return network


def prune(network, share, seed=1):
    """Has the posteriors prune a share of each mask's units, the same ones for every larger one."""
    random = np.random.default_rng(seed)
    for mask in mask_layers(network):
        pruned = random.permutation(mask.units) < share * mask.units
        mask.a_u.assign(np.where(pruned, PRUNED, ALIVE))


def of_inference(network):
    return {mask: mask.inference_mask() for mask in mask_layers(network)}


def batch(network, count=8):
    random = np.random.default_rng(2)
    x = random.random((count, *network.input_shape[1:])).astype(np.float32)
    return tf.constant(x), tf.constant(np.arange(count) % 10)


class Gradient:
    """Returns the gradient of the logits' sum in the place of images, and counts its calls."""

    def __init__(self):
        self.networks = []

    def __call__(self, network, x, y, seed=None):
        self.networks.append(network)

        @tf.function  # without the gradients of the weights, as in attacks
        def gradient(x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                logits = tf.square(network(x, training=False))
            return tape.gradient(logits, x)

        return gradient(x)


DEEP = [pytest.param(make, marks=pytest.mark.slow) for make in (vgg16, resnet18)]


@pytest.mark.parametrize("make", [lenet5_caffe, *DEEP])
def test_gradients_are_those_of_the_network(make):
    """For masks that have changed since the view was made, and are not 0 or 1."""
    network = masked(make)
    prune(network, 0.5)
    attacked, attack = AttackedNetwork(network), Gradient()
    attacked.open()
    assert attacked.update()
    prune(network, 0.7)
    for mask in mask_layers(network):
        mask.b_u.assign(mask.b_u + 0.3)
    x, y = batch(network)
    actual = attacked(attack, x, y, of_inference(network))
    expected = attack(network, x, y)
    assert attack.networks == [attacked.view.network, network]
    assert attacked.view.network.count_params() < 0.5 * network.count_params()
    np.testing.assert_allclose(actual, expected, atol=1e-4 * np.abs(expected).max())


def test_a_unit_that_comes_back_is_attacked():
    network = masked()
    prune(network, 0.5)
    attacked, attack = AttackedNetwork(network), FGSM(epsilon=0.1)
    attacked.open()
    attacked.update()
    prune(network, 0.3)
    x, y = batch(network)
    small = attacked.view.network
    np.testing.assert_array_equal(
        attacked(attack, x, y, of_inference(network)), attack(network, x, y)
    )
    assert attacked.update()  # and is in the next view
    assert attacked.view.network.count_params() > small.count_params()


@pytest.mark.slow
def test_in_one_graph_both_are_there():
    """What is attacked is decided at each step, not when the step is traced."""
    network = masked()
    prune(network, 0.5)
    attacked, attack = AttackedNetwork(network), Gradient()
    attacked.open()
    attacked.update()
    step = tf.function(lambda x, y: attacked(attack, x, y, of_inference(network)))
    x, y = batch(network)
    for share in (0.5, 0.6, 0.2, 0.5):
        prune(network, share)
        expected = Gradient()(network, x, y)
        np.testing.assert_allclose(step(x, y), expected, atol=1e-4 * np.abs(expected).max())
    assert len(attack.networks) == 2


def test_a_new_view_only_when_it_pays():
    network = masked(width=0.5)
    attacked = AttackedNetwork(network)
    attacked.open()
    sizes = [attacked.view.network.count_params()]
    for share, expected in ((0.1, False), (0.15, False), (0.3, True), (0.35, False), (0.5, True)):
        prune(network, share)
        assert attacked.update() == expected, share
        assert not attacked.update()
        sizes.append(attacked.view.network.count_params())
    assert sizes == sorted(sizes, reverse=True)
    # What a checkpoint holds makes the same view again.
    other = AttackedNetwork(network)
    for variable, value in zip(other.variables, attacked.variables, strict=True):
        variable.assign(value)
    other.open()
    assert other.view.network.count_params() == sizes[-1]


def test_without_masks_it_is_the_network():
    network = lenet5_caffe(width_multiplier=0.1)
    attacked, attack = AttackedNetwork(network), Gradient()
    attacked.open()
    assert not attacked.update()
    attacked(attack, *batch(network), {})
    assert attack.networks == [network]
    assert attacked.variables == []


def test_a_network_without_a_view_is_attacked_as_it_is(caplog):
    x = pixels = keras.Input((4, 4, 3))
    x = BetaBernoulliDropout()(keras.layers.Conv2D(4, 3)(x))
    x = keras.layers.Flatten()(keras.layers.Activation("sigmoid")(x))
    network = keras.Model(pixels, keras.layers.Dense(10)(x))
    attacked, attack = AttackedNetwork(network), Gradient()
    attacked.open()
    full = attacked.view.network
    prune(network, 0.5)  # a pruned unit is sigmoid(0), and no view is without it
    for _ in range(2):
        assert not attacked.update()
    assert all(np.all(np.array(variable) == 0) for variable in attacked.variables)  # as the view
    assert caplog.text.count("without the units' being cut") == 1
    images = batch(network)
    actual = attacked(attack, *images, of_inference(network))
    np.testing.assert_allclose(actual, attack(network, *images), rtol=1e-4, atol=1e-6)
    assert attack.networks[0] is full


def fitted(monkeypatch, small, **options):
    """Weights after training in which masks prune, and how large the attacked network is."""
    network = masked(width=0.3)
    prune(network, 0.5)
    random = np.random.default_rng(3)
    x = random.random((64, 28, 28, 1)).astype(np.float32)
    y = random.integers(0, 10, 64)
    model = METHODS["anp_vs"](
        network,
        64,
        attack=PGD(epsilon=0.1, step_size=0.05, steps=2, random_start=False),
        validation_attack=FGSM(epsilon=0.1),
        beta=1.0,
        **options,
    )
    model.compile(keras.optimizers.SGD(0.05), keras.optimizers.Adam(0.05))
    monkeypatch.setattr(FollowPruning, "every", 4)

    def fix_masks():
        if not model.masks_stay:
            model.masks_stay = True
            model.retrace()

    if not small:
        monkeypatch.setattr(AttackedNetwork, "open", lambda self: False)
        monkeypatch.setattr(AttackedNetwork, "update", lambda self: False)
        monkeypatch.setattr(model, "train_slimmed", fix_masks)
    model.fit(x, y, batch_size=8, epochs=3, validation_data=(x, y), shuffle=False, verbose=0)
    size = model.slimming.attacked.view.network.count_params() if small else network.count_params()
    return [np.array(v) for v in network.trainable_variables], size


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="learned", marks=pytest.mark.slow),
        pytest.param(
            {"schedule": Schedule(mask_freeze_step=18)}, id="fixed", marks=pytest.mark.slow
        ),
    ],
)
def test_training_is_the_same(monkeypatch, options):
    with monkeypatch.context() as patch:
        actual, size = fitted(patch, True, **options)
    with monkeypatch.context() as patch:
        expected, full = fitted(patch, False, **options)
    assert 100 < size < 0.7 * full, "the masks were to prune, so that the attack gets cheaper"
    for value, other in zip(actual, expected, strict=True):
        np.testing.assert_allclose(value, other, atol=2e-4)


@pytest.mark.slow
def test_a_second_fit_goes_on_with_the_same_graph():
    network = masked()
    prune(network, 0.5)
    model = METHODS["anp"](network, 8, attack=FGSM(epsilon=0.1))
    model.compile(keras.optimizers.SGD(0.01), keras.optimizers.SGD(0.01))
    x, y = batch(network)
    model.fit(x, y, verbose=0)
    view, function = model.slimming.attacked.view, model.train_function
    model.fit(x, y, verbose=0)
    assert model.slimming.attacked.view is view
    assert model.train_function is function


def test_latent_features_keep_their_sizes():
    """In the slimmed network, whose layers may come in another order."""
    x = pixels = keras.Input((6,))
    long = keras.layers.ReLU(name="long")(
        BetaBernoulliDropout()(keras.layers.Dense(20)(BetaBernoulliDropout()(x)))
    )
    short = keras.layers.ReLU(name="short")(keras.layers.Dense(5)(x))
    x = keras.layers.Concatenate()([long, keras.layers.Dense(3)(short)])
    network = keras.Model(pixels, keras.layers.Dense(3)(x))
    random = np.random.default_rng(0)
    x, y = random.random((8, 6)).astype(np.float32), random.integers(0, 3, 8)
    model = METHODS["anp_vs"](
        network, 8, attack=FGSM(epsilon=0.1), schedule=Schedule(mask_freeze_step=0)
    )
    moved = np.clip(x + 0.1, 0, 1)
    masks = of_inference(network)
    examples = Batch(x, y, None, y)
    expected = model.forward(x, moved, examples, masks, training=True)[-1]
    model.compile(keras.optimizers.SGD(0.0), keras.optimizers.SGD(0.0))
    model.train_slimmed()
    assert model.forward.view is not None
    actual = model.forward(x, moved, examples, masks, training=True)[-1]
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_images_of_unknown_size():
    pixels = keras.Input((None, None, 1))
    x = keras.layers.ReLU()(keras.layers.Conv2D(3, 3)(pixels))
    network = keras.Model(pixels, keras.layers.Dense(10)(keras.layers.GlobalMaxPooling2D()(x)))
    x, y = np.zeros((2, 8, 8, 1), np.float32), np.array([0, 1])
    model = METHODS["standard"](network, 2)
    model.compile("sgd")
    model.fit(x, y, verbose=0)
    model = METHODS["at"](network, 2, attack=FGSM(epsilon=0.1))
    model.compile("sgd")
    model.fit(x, y, verbose=0)  # shows the vulnerability
    with pytest.raises(ValueError, match="needs images of a known size"):
        METHODS["at_vs"](network, 2, attack=FGSM(epsilon=0.1), vulnerability_weight=1.0)


def test_masks_given_from_outside_do_not_leak():
    network = masked()
    prune(network, 0.5)
    attacked = AttackedNetwork(network)
    attacked.open()
    x, y = batch(network)
    masks = of_inference(network)
    other = {mask: tf.zeros(mask.units) for mask in masks}
    with given_masks(other):
        actual = attacked(Gradient(), x, y, masks)
    expected = Gradient()(network, x, y)
    np.testing.assert_allclose(actual, expected, atol=1e-4 * np.abs(expected).max())
