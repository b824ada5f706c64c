"""The Square attack: what it promises, that it needs no gradient, and its queries in NumPy."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from anp_tf.attacks import L2, PGD, Linf, Square, draws, square
from anp_tf.attacks.square_l2 import odd_sides, pair_of_pyramids, pyramid
from anp_tf.attacks.square_linf import sides

SEED = tf.constant([1, 2])
SEEDS = tf.reshape(tf.range(40), [20, 2])  # one for each example
NORMS = {"Linf": Linf(), "L2": L2()}
BY_NORM = ["Linf", pytest.param("L2", marks=pytest.mark.slow)]


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


def queries_of(attack, x, seed):
    """All the images asked for one by one, of a network whose margin grows with each query."""
    asked = []

    def counting(pixels, training):
        asked.append(np.asarray(pixels))
        logits = tf.constant([[1e6 - len(asked), 0.0]])
        return tf.repeat(logits, len(pixels), 0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(square, "MOST_AHEAD", 1)
        attack(counting, x, np.zeros(len(x), int), seed=seed)
    return asked[2:]  # the first call asks for the number of classes, the second for `x` itself


def accuracy(network, x, y):
    return np.mean(np.argmax(network(x, training=False), -1) == y)


def test_half_precision_images_stay_finite_in_l2():
    """Squared lengths in float16 made one of these images NaN."""
    random = np.random.default_rng(0)
    weights = random.normal(size=(784, 3)).astype(np.float32)
    x = tf.cast(random.random((40, 28, 28, 1)), tf.float16)

    def never_fooled(pixels, training):
        assert pixels.dtype == tf.float16
        logits = tf.reshape(tf.cast(pixels, tf.float32), [-1, 784]) @ weights
        return logits + tf.constant([1000.0, 0.0, 0.0])

    attack = Square(epsilon=3, queries=10, norm=L2())
    moved = attack(never_fooled, x, tf.zeros(40, tf.int64), seed=SEED)
    assert moved.dtype == tf.float16
    distances = np.linalg.norm(
        np.asarray(moved, float).reshape(40, -1) - np.reshape(x, (40, -1)), axis=1
    )
    assert distances == pytest.approx(3, rel=0.1)


@pytest.mark.parametrize("norm", NORMS)
def test_result_is_in_the_ball_and_are_pixels(problem, norm):
    network, x, _ = problem
    x = np.where(x < 0.1, 0, np.where(x > 0.9, 1, x)).astype(np.float32)
    y = np.argmax(network(x), -1)
    for epsilon in (0.02, 0.3, 1.0):
        attack = Square(epsilon=epsilon, queries=20, norm=NORMS[norm])
        moved = np.asarray(attack(network, x, y))
        assert moved.min() >= 0
        assert moved.max() <= 1
        order = np.inf if norm == "Linf" else 2
        distances = np.linalg.norm((moved.astype(float) - x).reshape(20, -1), order, axis=1)
        assert np.all(distances <= epsilon * (1 + 1e-5) + 1e-6)
        assert np.all(distances > epsilon / 2)


@pytest.mark.parametrize(
    ("norm", "epsilon"), [("Linf", 0.03), pytest.param("L2", 0.3, marks=pytest.mark.slow)]
)
def test_more_queries_are_not_weaker(problem, norm, epsilon):
    network, x, y = problem
    shares = []
    for queries in (1, 20, 300):
        attack = Square(epsilon=epsilon, queries=queries, norm=NORMS[norm])
        run = tf.function(lambda attack=attack: attack(network, x, y, seed=SEED))
        shares.append(accuracy(network, run(), y))
    assert shares[2] < shares[0] <= 1
    assert shares[1] <= shares[0]


@pytest.mark.parametrize(("norm", "epsilon"), [("Linf", 0.04), ("L2", 0.4)])
def test_a_network_without_gradients_is_fooled(problem, norm, epsilon):
    network, x, _ = problem
    hidden = quantised(network)
    labels = np.argmax(hidden(tf.constant(x), training=False), -1)
    options = {"epsilon": epsilon, "norm": NORMS[norm]}
    pgd = PGD(step_size=epsilon / 4, steps=5, random_start=False, **options)
    assert accuracy(hidden, pgd(hidden, x, labels, seed=SEED), labels) == 1
    square = Square(queries=400, **options)
    moved = tf.function(lambda: square(hidden, x, labels, seed=SEED))()
    assert accuracy(hidden, moved, labels) < 0.5


@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_misclassified_examples_stay_as_they_are(problem, norm):
    """Where an attack starts they may be classified correctly, and few queries not change it."""
    network, x, labels = problem
    others = (labels + np.arange(20) % 2) % 4
    attack = Square(epsilon=0.5, queries=2, restarts=2, norm=NORMS[norm])
    moved = np.array(attack(network, x, others, seed=SEED))
    same = np.all(moved == x, axis=(1, 2, 3))
    np.testing.assert_array_equal(same, others != labels)


def test_the_share_of_the_pixels_is_halved_as_in_the_paper():
    """Of 5,000 queries, with p = 0.8: the schedule of the paper's appendix, at 28 x 28 pixels."""
    shares_of_queries = Square(epsilon=0.3)._shares()
    lengths = sides(shares_of_queries, 28, 28)
    odd = odd_sides(shares_of_queries, 28, 28)
    assert len(lengths) == len(odd) == 5000
    starts = [0, 6, 26, 101, 251, 501, 1001, 2001, 3001, 4001, 5000]
    shares = [0.8 / 2**n for n in range(10)]
    for share, (first, after) in zip(shares, itertools.pairwise(starts), strict=True):
        length = max(1, round(np.sqrt(share * 784)))
        assert set(lengths[first:after]) == {length}
        assert set(odd[first:after]) == {max(3, length if length % 2 else length + 1)}
    assert sides([1.0, 1e-9], 8, 12) == [8, 1]
    assert odd_sides([1.0, 1e-9], 8, 12) == [7, 3]
    assert odd_sides([1.0], 9, 12) == [9]


def test_squares_are_squares_at_corners_of_the_ball(problem):
    """A network whose margin any change increases takes each square there is."""
    x = np.full_like(problem[1], 0.5)
    asked = queries_of(Square(epsilon=0.1, queries=4, first_share=0.3), x, SEED)
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


def test_pyramids_by_hand():
    expected = [[4, 13, 13, 13, 4], [4, 13, 49, 13, 4]]
    np.testing.assert_allclose(pyramid(2, 5) * 36, expected)
    expected = np.array([[1, 5, 1], [-1, -1, -1], [-1, -5, -1]]) / np.sqrt([[54], [60], [60]])
    np.testing.assert_allclose(pair_of_pyramids(3), expected)
    for side in (1, 2, 5, 12, 25):
        pair = pair_of_pyramids(side)
        assert np.linalg.norm(pair) == pytest.approx(1)
        assert np.all(pair[: side // 2] > 0)
        assert np.all(pair[side // 2 :] < 0)


def test_the_start_in_l2_is_a_grid_of_pairs(problem):
    x = np.full([20, 12, 16, 2], 0.5, np.float32)
    (start,) = queries_of(Square(epsilon=0.2, queries=1, norm=L2()), x, SEEDS)
    change = (start - 0.5)[:, :, :].astype(float)
    np.testing.assert_allclose(np.sum(change**2, (1, 2, 3)), 0.2**2, rtol=1e-4)
    tiles = change.reshape(20, 6, 2, 8, 2, 2) * np.sqrt(6 * 8 * 2) / 0.2
    pair = pair_of_pyramids(2)
    kinds = np.stack([pair, -pair, pair.T, -pair.T])
    which = np.abs(tiles[:, :, None, :, :, :, :] - kinds[:, :, None, :, None])
    matches = np.all(which < 1e-4, axis=(3, 5))  # [example, row, kind, column, channel]
    np.testing.assert_array_equal(matches.sum(2), 1)
    assert np.all(np.abs(matches.mean((0, 1, 3, 4)) - 0.25) < 0.05)


def algorithm_3(change, side, epsilon, numbers):
    """The next change of one image [height, width, channels], with loops and slices."""
    height, width, channels = change.shape
    (r1, s1), (r2, s2) = (
        [int(number * (size - side + 1)) for number, size in zip(two, (height, width), strict=True)]
        for two in (numbers[0:2], numbers[2:4])
    )
    first, second = np.s_[r1 : r1 + side, s1 : s1 + side], np.s_[r2 : r2 + side, s2 : s2 + side]
    unused = epsilon**2 - np.sum(change**2)
    pair = pair_of_pyramids(side)
    pair = pair if numbers[4] < 0.5 else pair.T
    result = change.copy()
    for i in range(channels):
        old = change[..., i][first]
        length = np.linalg.norm(old)
        new = (-1 if numbers[5 + i] < 0.5 else 1) * pair + (old / length if length else 0)
        both = np.zeros([height, width], bool)
        both[first] = both[second] = True
        available = np.sqrt(np.sum(change[..., i][both] ** 2) + unused / channels)
        result[..., i][second] = 0
        result[..., i][first] = new / np.linalg.norm(new) * available
    return result


@pytest.mark.parametrize("each", [False, True])
def test_queries_in_l2_follow_algorithm_3(each):
    random = np.random.default_rng(3)
    x = random.uniform(0.2, 0.8, [20, 12, 10, 2]).astype(np.float32)
    x[:5, :, 5:] = 1  # where half of the changes are cut off
    seed, epsilon, queries = SEEDS if each else SEED, 0.3, 12
    attack = Square(epsilon=epsilon, queries=queries, first_share=0.4, norm=L2())
    asked = np.array(queries_of(attack, x, seed), float)
    assert len(asked) == queries
    numbers = draws.uniform(draws.split(draws.fold_in(seed, 0), 2)[1], [20, queries, 7]).numpy()
    shares = attack._shares()
    for query, (before, after) in enumerate(itertools.pairwise(asked), 1):
        (side,) = odd_sides([shares[query]], 12, 10)
        for i in range(20):
            change = algorithm_3(before[i] - x[i], side, epsilon, numbers[i, query])
            np.testing.assert_allclose(after[i], np.clip(x[i] + change, 0, 1), atol=2e-6)
    lengths = np.sqrt(np.sum((asked - x) ** 2, (2, 3, 4)))
    np.testing.assert_allclose(lengths[:, 5:], epsilon, rtol=1e-4)  # the full radius
    assert lengths.max() < epsilon * (1 + 1e-5)


@pytest.mark.parametrize("norm", BY_NORM)
def test_batches_of_any_size_do_not_matter(problem, norm):
    network, x, y = problem
    attack = Square(epsilon=0.02 if norm == "Linf" else 0.2, queries=15, norm=NORMS[norm])
    specs = tf.TensorSpec([None, 8, 9, 2]), tf.TensorSpec([None], tf.int64)
    run = tf.function(
        lambda x, y, seed: attack(network, x, y, seed=seed),
        input_signature=[*specs, tf.TensorSpec([None, 2], tf.int32)],
    )
    together = run(x, y, SEEDS)
    for size in (1, 3):
        rows = [slice(i, i + size) for i in range(0, 9, size)]
        apart = tf.concat([run(x[r], y[r], SEEDS[r]) for r in rows], 0)
        np.testing.assert_allclose(apart, together[:9], atol=1e-6)
    np.testing.assert_allclose(attack(network, x, y, seed=SEEDS), together, atol=1e-6)


@pytest.mark.parametrize("norm", BY_NORM)
def test_queries_made_ahead_are_those_made_one_by_one(problem, monkeypatch, norm):
    _, x, _ = problem
    # Each image is computed alone, so that its logits do not depend on the others by a bit.
    kernel = tf.random.stateless_normal([144, 4], [5, 6])

    def alone(pixels, training):
        columns = tf.reshape(pixels, [-1, 144, 1])
        return tf.reduce_sum(tf.tanh(columns * kernel), 1)

    y = np.argmax(alone(x, False), -1)
    attack = Square(epsilon=0.05 if norm == "Linf" else 0.5, queries=61, norm=NORMS[norm])
    found = []
    for ahead in (1, 2, 16):
        monkeypatch.setattr(square, "MOST_AHEAD", ahead)
        monkeypatch.setattr(square, "TOGETHER", 40 if ahead == 2 else 1000)
        found.append(tf.function(lambda: attack(alone, x, y, seed=SEEDS))().numpy())
    left = np.mean(np.argmax(alone(found[0], False), -1) == y)
    assert 0.1 < left < 0.9
    np.testing.assert_array_equal(found[1], found[0])
    np.testing.assert_array_equal(found[2], found[0])


def test_images_of_one_batch_are_moved_differently():
    x = np.full([20, 8, 9, 2], 0.5, np.float32)
    for norm, seed in itertools.product(NORMS.values(), (SEED, SEEDS)):
        for images in queries_of(Square(epsilon=0.1, queries=3, norm=norm), x, seed):
            assert len(np.unique(images, axis=0)) == 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epsilon": 0}, "argument `epsilon`"),
        ({"epsilon": 1.5}, r"argument `epsilon`. Expected a number in \(0, 1\], in pixel units"),
        (
            {"epsilon": 0, "norm": L2()},
            "argument `epsilon`. Expected a number above 0, in",
        ),
        ({"epsilon": 0.1, "queries": 0}, "argument `queries`"),
        ({"epsilon": 0.1, "first_share": 1.5}, "argument `first_share`"),
        ({"epsilon": 0.1, "norm": 2}, r"`norm`. Expected Linf\(\) or L2\(\). Received: norm=2"),
    ],
)
def test_invalid_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Square(**arguments)


def test_an_l2_ball_that_holds_all_images():
    """The square of its radius is no float32."""
    x = np.random.default_rng(0).random((3, 8, 5, 2)).astype(np.float32)
    found, expected = (
        queries_of(Square(epsilon=radius, queries=4, norm=L2()), x, SEEDS[:3])
        for radius in (1e25, np.sqrt(8 * 5 * 2))
    )
    np.testing.assert_array_equal(found, expected)
    assert np.all((np.array(found) >= 0) & (np.array(found) <= 1))
    assert np.all(np.any(found != x, axis=(2, 3, 4)))


def test_what_is_no_image_is_refused(problem):
    with pytest.raises(ValueError, match=r"needs images \[batch, height, width, channels\]"):
        Square(epsilon=0.1)(problem[0], np.zeros((3, 4), np.float32), np.zeros(3, int))


def test_too_small_images_are_refused_in_l2(problem):
    x = np.zeros((3, 4, 9, 1), np.float32)
    with pytest.raises(ValueError, match=r"at least 5 by 5 pixels\. Received: x of shape \(3, 4"):
        Square(epsilon=0.1, norm=L2())(problem[0], x, np.zeros(3, int))
    network = keras.Sequential(
        [keras.Input((5, 6, 1)), keras.layers.Flatten(), keras.layers.Dense(2)]
    )
    Square(epsilon=2.0, queries=3, norm=L2())(network, np.zeros((3, 5, 6, 1)), np.zeros(3, int))
