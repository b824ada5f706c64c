"""Labels of a teacher, against SciPy."""

import dataclasses

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from anp_tf.attacks import PGD
from anp_tf.methods import AdversarialTraining, Distillation, Standard

FEATURES, CLASSES = 6, 3


def network(seed, features=FEATURES, classes=CLASSES, **options):
    keras.utils.set_random_seed(seed)
    pixels = keras.Input((features,))
    dense = keras.layers.Dense(classes, bias_initializer="normal", **options)
    return keras.Model(pixels, dense(pixels))


def data(n=12):
    rng = np.random.default_rng(0)
    return rng.random((n, FEATURES)).astype(np.float32), rng.integers(0, CLASSES, n)


def log_softmax(net, x):
    kernel, bias = (np.array(w, np.float64) for w in net.get_weights())
    return scipy.special.log_softmax(x @ kernel + bias, axis=1)


def moved(network, x, y, seed=None, scale=1.0):
    return 1.0 - x


@pytest.mark.parametrize("weight", [0.3, 1.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_losses_are_mixed_with_the_divergence_from_the_teacher(weight, smoothing):
    net, teacher = network(1), network(2)
    x, y = data()
    model = AdversarialTraining(
        net,
        num_examples=12,
        attack=moved,
        validation_attack=None,
        adversarial_weight=5.0,
        label_smoothing=smoothing,
        weight_decay=0.0,
        distillation=Distillation(teacher, weight),
    )
    model.compile(keras.optimizers.SGD(1.0), run_eagerly=True)
    before = [np.array(w, np.float64) for w in net.get_weights()]
    frozen = teacher.get_weights()
    labels = np.eye(CLASSES)[y] * (1 - smoothing) + smoothing / CLASSES
    log_p = log_softmax(teacher, x)
    targets = weight * np.exp(log_p) + (1 - weight) * labels
    losses, gradient = {}, 0.0
    for name, images, share in (("loss", x, 1 / 6), ("adversarial_loss", 1 - x, 5 / 6)):
        log_q = log_softmax(net, images)
        entropy = np.sum(np.exp(log_p) * log_p, axis=1)
        losses[name] = np.mean(weight * entropy - np.sum(targets * log_q, axis=1))
        gradient += share * images.T.astype(np.float64) @ (np.exp(log_q) - targets) / len(x)
    logs = model.train_on_batch(x, y, return_dict=True)
    assert {name: logs[name] for name in losses} == pytest.approx(losses, rel=1e-5)
    np.testing.assert_allclose(before[0] - net.get_weights()[0], gradient, rtol=1e-4, atol=1e-6)
    for old, new in zip(frozen, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_adversarial_images_alone():
    net = network(1)
    teacher = keras.models.clone_model(net)
    teacher.set_weights(net.get_weights())
    x, y = data()
    options = {"num_examples": 12, "adversarial_weight": np.inf, "weight_decay": 0.0}
    model = AdversarialTraining(
        net,
        attack=PGD(epsilon=0.1, step_size=0.1, steps=1),
        distillation=Distillation(teacher),
        **options,
    )
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    logs = model.train_on_batch(x, y, return_dict=True)
    # From the same network, only what the attack moved: far below the labels' cross-entropy.
    assert 1e-5 < logs["adversarial_loss"] < 0.05
    assert model.evaluate(x, y, verbose=0, return_dict=True)["loss"] > 0.5  # of the labels


def test_the_teacher_is_not_part_of_the_model():
    net, teacher = network(1), network(2)
    model = Standard(net, num_examples=12, distillation=Distillation(teacher))
    ids = {id(v) for v in model.variables}
    assert not [v for v in teacher.variables if id(v) in ids]


@pytest.mark.parametrize(
    ("teacher", "said"),
    [
        ({"features": 5}, r"teacher: expected a network with inputs of shape \(None, 6\).*5"),
        ({"classes": 4}, r"teacher: expected a network with logits of shape \(None, 3\).*4"),
    ],
)
def test_a_teacher_of_other_images_or_classes(teacher, said):
    with pytest.raises(ValueError, match=said):
        Standard(network(1), 12, distillation=Distillation(network(2, **teacher)))


def test_a_teacher_of_probabilities():
    with pytest.raises(ValueError, match="must return logits"):
        Distillation(network(1, activation="softmax"))


@pytest.mark.parametrize("weight", [0.0, -0.1, 1.1, float("nan")])
def test_a_weight_out_of_range(weight):
    with pytest.raises(ValueError, match=r"argument `weight`\. Expected a number in \(0, 1\]"):
        dataclasses.replace(Distillation(network(1)), weight=weight)


@pytest.mark.slow
def test_compiled():
    net, teacher = network(1), network(2)
    x, y = data()
    model = Standard(net, 12, distillation=Distillation(teacher, 1.0), weight_decay=0.0)
    model.compile(keras.optimizers.Adam(0.05))
    model.fit(tf.constant(x), y, epochs=150, batch_size=12, verbose=0)
    gap = np.abs(np.exp(log_softmax(net, x)) - np.exp(log_softmax(teacher, x)))
    assert np.max(gap) < 0.05
