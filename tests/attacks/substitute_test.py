"""The substitute attack: what the target is asked, what the substitute learns, what transfers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from anp_tf import data
from anp_tf.attacks import FGSM, train_substitute
from anp_tf.layers import BetaBernoulliDropout
from anp_tf.models import lenet5_caffe, substitute_network
from anp_tf.robustness import evaluate_robustness

FEATURES, CLASSES = 6, 3
SMALL = {"rounds": 3, "epochs": 3, "batch_size": 8}
STILL = 1e-12  # a learning rate that changes no weight's sign


class Target:
    """A linear network that keeps what it was asked."""

    def __init__(self, transform=lambda logits: logits):
        self.weights = np.random.default_rng(1).normal(size=(FEATURES, CLASSES))
        self.transform = transform
        self.queries = []

    def labels(self, x):
        return ((x - 0.5) @ self.weights).argmax(-1)

    def __call__(self, pixels, training):
        assert training is False
        self.queries.append(pixels.numpy())
        return self.transform((self.queries[-1] - 0.5) @ self.weights)


def pixels(count=20):
    """Random pixels, among them exact 0 and 1."""
    rng = np.random.default_rng(0)
    x = rng.random((count, FEATURES), np.float32)
    x[rng.random(x.shape) < 0.1] = 0.0
    x[rng.random(x.shape) < 0.1] = 1.0
    return x


def linear_substitute():
    x = keras.Input((FEATURES,))
    network = keras.Model(x, keras.layers.Dense(CLASSES)(x))
    weights = np.random.default_rng(2).normal(size=(FEATURES, CLASSES)) / 10
    network.set_weights([weights, np.zeros(CLASSES)])
    return network


def weights_after(target, **kwargs):
    substitute = linear_substitute()
    train_substitute(target, pixels(), substitute, **{**SMALL, **kwargs})
    return substitute.get_weights()


def children(x, labels, weights, step):
    return np.clip(x + step * np.sign(weights[:, labels].T), 0, 1)


# The points.


@pytest.mark.parametrize("step", [0.1, 0.7])
def test_augmentation_by_hand(step):
    """Along the sign of the label's row of the weights that the round before has left."""
    x, target, kwargs = pixels(), Target(), {"step": step, "learning_rate": 0.1, "batch_size": 20}
    (before, _), (after, _) = (
        linear_substitute().get_weights(),
        weights_after(target, **kwargs, rounds=1),
    )
    assert np.any(np.sign(before) != np.sign(after))
    assert np.any((x @ after).argmax(-1) != target.labels(x))
    target = Target()
    weights_after(target, **kwargs, rounds=2)
    np.testing.assert_array_equal(target.queries[0], x)
    expected = children(x, target.labels(x), after, step)
    np.testing.assert_allclose(target.queries[1], expected, atol=1e-6)


def test_points_stay_in_range():
    target, x = Target(), np.full((8, FEATURES), 0.5, np.float32)
    train_substitute(target, x, linear_substitute(), rounds=3, epochs=1, step=0.7)
    points = np.concatenate(target.queries)
    assert (points.min(), points.max()) == (0, 1)


@pytest.mark.parametrize(
    ("rounds", "max_queries", "expected"),
    [
        pytest.param(1, 100, [5], id="one round"),
        pytest.param(4, 100, [5, 5, 10, 20], id="below the limit"),
        pytest.param(4, 40, [5, 5, 10, 20], id="at the limit"),
        pytest.param(4, 39, [5, 5, 10, 19], id="one less"),
        pytest.param(6, 23, [5, 5, 10, 3], id="full before the last round"),
        pytest.param(3, 5, [5], id="no more than the first"),
    ],
)
@pytest.mark.parametrize("batch_size", [pytest.param(3, marks=pytest.mark.slow), 64])
def test_number_of_queries(rounds, max_queries, expected, batch_size):
    target = Target()
    count = train_substitute(
        target,
        pixels(5),
        linear_substitute(),
        rounds=rounds,
        epochs=1,
        max_queries=max_queries,
        batch_size=batch_size,
    )
    asked = [len(query) for query in target.queries]
    assert count == sum(asked) == sum(expected)
    assert max(asked) <= batch_size
    if batch_size == 64:
        assert asked == expected


def test_parents_at_the_limit_are_drawn_without_replacement():
    kept = []
    for seed in range(3):
        target = Target()
        weights_after(
            target, rounds=2, max_queries=33, batch_size=64, learning_rate=STILL, seed=seed
        )
        x, new = target.queries
        expected = children(x, target.labels(x), linear_substitute().get_weights()[0], 0.1)
        distances = np.abs(new[:, np.newaxis] - expected).max(-1)
        parents = distances.argmin(-1)
        assert distances.min(-1).max() < 1e-6
        assert len(set(parents)) == len(new) == 13
        kept.append(set(parents))
    assert kept[0] != kept[1] != kept[2]


# What is asked of the target.


@pytest.fixture(scope="module")
def reference():
    return weights_after(Target())


@pytest.mark.parametrize(
    "transform",
    [
        pytest.param(lambda z: 5 * z - 3, id="scaled and shifted"),
        pytest.param(np.exp, id="exp"),
        pytest.param(lambda z: np.eye(CLASSES)[z.argmax(-1)], id="one-hot"),
    ],
)
def test_only_labels_are_used(reference, transform):
    for value, other in zip(weights_after(Target(transform)), reference, strict=True):
        np.testing.assert_array_equal(value, other)


def test_keras_target_is_in_inference_mode():
    """Else masks and dropout would draw, and the moving statistics would change."""
    x = keras.Input((FEATURES,))
    hidden = keras.layers.BatchNormalization()(keras.layers.Dense(8, activation="relu")(x))
    hidden = keras.layers.Dropout(0.5, seed=1)(BetaBernoulliDropout(seed=1)(hidden))
    network = keras.Model(x, keras.layers.Dense(CLASSES)(hidden))
    before = [np.array(variable) for variable in network.variables]
    actual = weights_after(network)
    for variable, value in zip(network.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)
    expected = weights_after(lambda x, training: network(x, training=False))
    for value, other in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(value, other)


# The training.


@pytest.mark.slow
def test_training_is_that_of_keras():
    """In one batch; the substitute is in training mode and its regularisation counts."""

    def build():
        keras.utils.set_random_seed(1)
        x = keras.Input((FEATURES,))
        hidden = keras.layers.BatchNormalization()(keras.layers.Dense(8, activation="relu")(x))
        logits = keras.layers.Dense(CLASSES, kernel_regularizer=keras.regularizers.L2(0.1))(hidden)
        return keras.Model(x, logits)

    x, (actual, expected) = pixels(), (build(), build())
    train_substitute(Target(), x, actual, rounds=1, epochs=20, batch_size=20, learning_rate=0.01)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    expected.compile(keras.optimizers.Adam(0.01), loss, jit_compile=False)
    expected.fit(x, Target().labels(x), epochs=20, batch_size=20, verbose=0)
    for value, other in zip(actual.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_allclose(value, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("rounds", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_seed_decides(rounds):
    """In one round it can only be the order of the batches."""

    def run(seed, global_seed=0):
        keras.utils.set_random_seed(global_seed)
        target = Target()
        weights, _ = weights_after(target, rounds=rounds, max_queries=50, seed=seed)
        return np.concatenate(target.queries), weights

    for value, other in zip(run(1), run(1, global_seed=5), strict=True):
        np.testing.assert_array_equal(value, other)
    (queries, weights), (other_queries, other_weights) = run(1), run(2)
    assert np.array_equal(queries, other_queries) == (rounds == 1)
    assert np.any(weights != other_weights)


# The transfer, on MNIST.


@pytest.mark.slow
def test_attacks_on_the_substitute_transfer(data_dir):
    """Of the test images, the target has the last 4,000 and the attacker the first 150."""
    test = data.load("mnist", "test", data_dir)
    x, y = test.images / np.float32(255), test.labels
    network = lenet5_caffe(width_multiplier=0.3)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.Adam(3e-3), loss, jit_compile=False)
    network.fit(x[-4000:], y[-4000:], 64, epochs=2, verbose=0)
    substitute = substitute_network()
    assert train_substitute(network, x[:150], substitute, rounds=3) == 600

    x, y = x[150:650], y[150:650]
    labels, others = (np.argmax(either(x), -1) for either in (network, substitute))
    assert np.mean(labels == others) > 0.7

    held_out = tf.data.Dataset.from_tensor_slices((x, y)).batch(250)
    result = evaluate_robustness(network, held_out, FGSM(epsilon=0.3), source=substitute)
    signs = np.random.default_rng(0).choice(np.float32([-1, 1]), x.shape)
    noisy = np.argmax(network(np.clip(x + 0.3 * signs, 0, 1)), -1)
    assert result.clean_accuracy > 0.9
    assert result.clean_accuracy - np.mean(noisy == y) < 0.2
    assert result.clean_accuracy - result.adversarial_accuracy > 0.4


def test_substitute_network():
    convs = (2 * 2 * 1 + 1) * 32 + (2 * 2 * 32 + 1) * 64
    denses = (7 * 7 * 64 + 1) * 200 + (200 + 1) * 200 + (200 + 1) * 10
    assert substitute_network().count_params() == convs + denses
    x = np.random.default_rng(0).random((8, 32, 32, 3), np.float32)
    logits = substitute_network((32, 32, 3), 100)(x).numpy()
    assert logits.shape == (8, 100)
    assert logits.min() < 0 < logits.max()


# Errors.


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("rounds", 0),
        ("rounds", 1.5),
        ("epochs", 0),
        ("batch_size", 0),
        ("max_queries", 19),
        ("max_queries", 99.5),
        ("step", 0),
        ("step", float("nan")),
        ("learning_rate", -0.1),
    ],
)
def test_invalid_arguments(argument, value):
    target = Target()
    with pytest.raises(ValueError, match=f"argument `{argument}`.*Received: {argument}={value}"):
        train_substitute(target, pixels(), linear_substitute(), **{argument: value})
    assert target.queries == []


@pytest.mark.parametrize(
    ("x", "message"),
    [
        pytest.param(pixels()[:0], "at least one image", id="none"),
        pytest.param(pixels()[:, :5], r"fit the substitute's inputs, \(None, 6\)", id="shape"),
        pytest.param(pixels() * 255, r"must be in \[0, 1\]", id="bytes"),
        pytest.param(pixels() - 0.1, r"must be in \[0, 1\]", id="negative"),
        pytest.param(pixels() * np.nan, r"must be in \[0, 1\]", id="NaN"),
    ],
)
def test_invalid_pixels(x, message):
    target = Target()
    with pytest.raises(ValueError, match=message):
        train_substitute(target, x, linear_substitute())
    assert target.queries == []


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        pytest.param(lambda z: z[:, :2], r"substitute's 3 classes.*\(20, 2\)", id="classes"),
        pytest.param(lambda z: z.argmax(-1), r"substitute's 3 classes.*\(20,\)", id="no logits"),
        pytest.param(lambda z: z * np.nan, "logits are NaN", id="NaN"),
    ],
)
def test_invalid_targets(transform, message):
    with pytest.raises(ValueError, match=message):
        train_substitute(Target(transform), pixels(), linear_substitute())
