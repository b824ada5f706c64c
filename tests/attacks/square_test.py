"""The Square attack: what it promises, and that it needs no gradient."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from anp_tf.attacks import PGD, Square

SEED = tf.constant([1, 2])


@pytest.fixture(scope="module")
def problem():
    """A random convolutional network, images, and the labels it gives them."""
    keras.utils.set_random_seed(3)
    stack = [keras.layers.Conv2D(6, 3, activation="relu"), keras.layers.Flatten()]
    network = keras.Sequential([keras.Input((8, 9, 2)), *stack, keras.layers.Dense(4)])
    x = np.random.default_rng(0).random((20, 8, 9, 2)).astype(np.float32)
    return network, x, np.argmax(network(x), -1)


def quantised(network):
    """The network behind a step function: its gradient in the pixels is 0."""

    def behind(x, training):
        steps = tf.stop_gradient(tf.round(x * 64) / 64) + 0 * x
        return network(steps, training=training)

    return behind


def accuracy(network, x, y):
    return np.mean(np.argmax(network(x, training=False), -1) == y)


def test_result_is_in_the_ball_and_are_pixels(problem):
    network, x, y = problem
    x = np.where(x < 0.1, 0, np.where(x > 0.9, 1, x)).astype(np.float32)
    for epsilon in (0.02, 0.3, 1.0):
        moved = np.asarray(Square(epsilon=epsilon, queries=30)(network, x, y))
        assert moved.min() >= 0
        assert moved.max() <= 1
        assert np.abs(moved - x).max() <= epsilon + 1e-6


def test_more_queries_are_not_weaker(problem):
    network, x, y = problem
    shares = []
    for queries in (1, 20, 300):
        attack = Square(epsilon=0.03, queries=queries)
        shares.append(accuracy(network, attack(network, x, y, seed=SEED), y))
    assert shares[2] < shares[0] <= 1
    assert shares[1] <= shares[0]


def test_a_network_without_gradients_is_fooled(problem):
    network, x, _ = problem
    hidden = quantised(network)
    labels = np.argmax(hidden(tf.constant(x), training=False), -1)
    pgd = PGD(epsilon=0.04, step_size=0.01, steps=20, random_start=False)
    assert accuracy(hidden, pgd(hidden, x, labels, seed=SEED), labels) == 1
    square = Square(epsilon=0.04, queries=400)(hidden, x, labels, seed=SEED)
    assert accuracy(hidden, square, labels) < 0.5


def test_the_share_of_the_pixels_is_halved_as_in_the_paper():
    """Of 5,000 queries, with p = 0.8: the schedule of the paper's appendix, at 28 x 28 pixels."""
    sides = Square(epsilon=0.3)._sides(28, 28)
    assert len(sides) == 5000
    starts = [0, 6, 26, 101, 251, 501, 1001, 2001, 3001, 4001, 5000]
    shares = [0.8 / 2**n for n in range(10)]
    for share, (first, after) in zip(shares, itertools.pairwise(starts), strict=True):
        assert set(sides[first:after]) == {max(1, round(np.sqrt(share * 784)))}


def test_squares_are_squares_at_corners_of_the_ball(problem):
    """A network whose margin any change increases takes each square there is."""
    _, x, _ = problem
    x = np.full_like(x, 0.5)
    asked = []

    def counting(pixels, training):
        asked.append(np.asarray(pixels))
        logits = tf.constant([[1e6 - len(asked), 0.0]])
        return tf.repeat(logits, len(pixels), 0)

    Square(epsilon=0.1, queries=4, first_share=0.3)(counting, x, np.zeros(20, int), seed=SEED)
    assert len(asked) == 4
    first = asked[0]  # vertical stripes
    np.testing.assert_allclose(np.abs(first - 0.5), 0.1, atol=1e-6)
    assert np.all(first == first[:, :1])
    assert len(np.unique(first[:, 0])) == 2
    for before, after in itertools.pairwise(asked):
        np.testing.assert_allclose(np.abs(after - 0.5), 0.1, atol=1e-6)
        for old, new in zip(before, after, strict=True):
            rows, columns, _ = np.nonzero(old != new)
            if len(rows):
                assert np.ptp(rows) < 5  # round(sqrt(0.3 * 72)) = 5
                assert np.ptp(columns) < 5


def test_misclassified_images_are_left_alone(problem):
    network, x, y = problem
    wrong = (y + 1) % 4
    one = Square(epsilon=0.001, queries=1)(network, x, wrong, seed=SEED)
    many = Square(epsilon=0.001, queries=50)(network, x, wrong, seed=SEED)
    np.testing.assert_array_equal(one, many)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epsilon": 0}, "argument `epsilon`"),
        ({"epsilon": 0.1, "queries": 0}, "argument `queries`"),
        ({"epsilon": 0.1, "first_share": 1.5}, "argument `first_share`"),
    ],
)
def test_invalid_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Square(**arguments)


def test_what_is_no_image_is_refused(problem):
    with pytest.raises(ValueError, match=r"needs images \[batch, height, width, channels\]"):
        Square(epsilon=0.1)(problem[0], np.zeros((3, 4), np.float32), np.zeros(3, int))
