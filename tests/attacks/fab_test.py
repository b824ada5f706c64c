"""FAB-T: its projections by SciPy and enumeration, its search by a plain implementation."""

import itertools

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.optimize
import tensorflow as tf

from anp_tf.attacks import L2, PGD, Linf, TargetedFAB, draws
from anp_tf.attacks.hyperplane import steps_to_hyperplanes

CLASSES, PIXELS = 5, 6
NORMS = {"Linf": Linf(), "L2": L2()}
BY_NORM = ["Linf", pytest.param("L2", marks=pytest.mark.slow)]
ORDER = {"Linf": np.inf, "L2": 2}


def shortest_linf(point, normal, value):
    """The distance of a hyperplane by linear programming, or infinity if it misses the box."""
    size, one = len(point), np.ones([len(point), 1])
    solved = scipy.optimize.linprog(
        np.append(np.zeros(size), 1),
        A_ub=np.block([[np.eye(size), -one], [-np.eye(size), -one]]),
        b_ub=np.zeros(2 * size),
        A_eq=np.append(normal, 0)[None],
        b_eq=[-value],
        bounds=[*((-p, 1 - p) for p in point), (0, None)],
    )
    return solved.x[-1] if solved.status == 0 else np.inf


def shortest_l2(point, normal, value):
    """The distance by trying which pixels are at which edge of the box: the others solve it."""
    best = np.inf
    edges = np.stack([-point, 1 - point, np.zeros_like(point)])
    for pattern in itertools.product(range(3), repeat=len(point)):
        free = np.equal(pattern, 2)
        step = edges[pattern, np.arange(len(point))]
        rest, square = -value - normal @ step, np.sum(normal[free] ** 2)
        step[free] = normal[free] * rest / square if square else 0
        if abs(normal @ step + value) < 1e-9 and np.all(np.abs(point + step - 0.5) <= 0.5 + 1e-9):
            best = min(best, np.linalg.norm(step))
    return best


SHORTEST = {"Linf": shortest_linf, "L2": shortest_l2}
COMPILED = {
    name: tf.function(
        lambda point, normal, value, norm=norm: steps_to_hyperplanes(normal, norm)(point, value),
        input_signature=[tf.TensorSpec([1, 4], tf.float64)] * 2 + [tf.TensorSpec([1], tf.float64)],
    )
    for name, norm in NORMS.items()
}


@hypothesis.settings(max_examples=12, deadline=None, derandomize=True)
@hypothesis.given(
    seed=st.integers(0, 999), share=st.floats(-1.2, 1.2), norm=st.sampled_from(list(NORMS))
)
def test_steps_are_the_shortest_there_are(seed, share, norm):
    random = np.random.default_rng(seed)
    point, normal = np.clip(random.uniform(-0.3, 1.3, 4), 0, 1), random.normal(size=4)
    normal[random.random(4) < 0.2] = 0
    reach = np.sum(np.abs(normal) * np.where(normal * share < 0, 1 - point, point))
    value = reach * share  # which steps in the box can make 0 if |share| <= 1
    hypothesis.assume(abs(abs(share) - 1) > 1e-6)
    hypothesis.assume(abs(value) > 1e-6)
    (step,) = COMPILED[norm]([point], [normal], [value]).numpy()
    assert np.all(np.abs(point + step - 0.5) <= 0.5 + 1e-12)
    shortest = SHORTEST[norm](point, normal, value)
    assert np.isfinite(shortest) == (abs(share) < 1)
    if np.isfinite(shortest):
        assert normal @ step == pytest.approx(-value, abs=1e-9)
        assert np.linalg.norm(step, ORDER[norm]) == pytest.approx(shortest, abs=1e-7)
    else:  # the corner
        expected = np.where(normal == 0, 0, np.where(normal * value < 0, 1 - point, -point))
        np.testing.assert_allclose(step, expected, atol=1e-12)


@pytest.mark.parametrize("norm", NORMS)
def test_steps_of_many_pixels_in_float32(norm):
    random = np.random.default_rng(0)
    points = np.clip(random.uniform(-0.3, 1.3, [9, 3000]), 0, 1).astype(np.float32)
    normals = random.normal(size=points.shape).astype(np.float32) ** 3
    normals *= np.geomspace(1e-30, 1e30, 9, dtype=np.float32)[:, None]
    reach = np.sum(np.abs(normals, dtype=float) * np.where(normals < 0, 1 - points, points), 1)
    values = (reach * np.linspace(0.1, 0.9, 9)).astype(np.float32)
    steps = steps_to_hyperplanes(tf.constant(normals), NORMS[norm])(points, values).numpy()
    assert np.all(np.abs(points + steps - 0.5) <= 0.5 + 1e-6)
    np.testing.assert_allclose(np.sum(normals.astype(float) * steps, 1), -values, rtol=1e-4)
    expected = np.linalg.norm(steps.astype(float), ORDER[norm], axis=1)
    np.testing.assert_allclose(NORMS[norm].lengths(tf.constant(steps)), expected, rtol=1e-5)


@pytest.mark.parametrize("norm", NORMS)
def test_no_step_for_no_gradient_or_no_value(norm):
    points = tf.constant([[0.0, 0.3, 1.0], [0.2, 0.5, 1.0]])
    normals, values = tf.constant([[0.0, 0, 0], [1, -2, 3]]), tf.constant([1.0, 0])
    steps = steps_to_hyperplanes(normals, NORMS[norm])(points, values)
    np.testing.assert_array_equal(steps, np.zeros([2, 3]))


@pytest.fixture(scope="module")
def weights():
    """Those of a small smooth network whose gradients change over the ball."""
    random = np.random.default_rng(1)
    shapes = [(PIXELS, 8), (8,), (8, CLASSES), (CLASSES,)]
    return [random.normal(size=shape) * 0.9 for shape in shapes]


@pytest.fixture(scope="module")
def network(weights):
    first, bias, second, offset = weights
    return lambda x, training: tf.tanh(x @ first + bias) @ second + offset


@pytest.fixture(scope="module")
def problem(network):
    """Images in float64, labels that the network gives to most of them, and a seed for each."""
    x = np.random.default_rng(2).random((18, PIXELS))
    x[0, :3], x[1, :3] = 0, 1
    y = np.argmax(network(x, training=False), -1)
    y[:3] = (y[:3] + 1) % CLASSES
    return tf.constant(x), y, tf.random.uniform([18, 2], maxval=1000, dtype=tf.int32, seed=1)


def compiled(function, network):
    """An attack, or its search for the nearest images, as one graph for any batch."""
    return tf.function(
        lambda x, y, seed: function(network, x, y, seed=seed),
        input_signature=[
            tf.TensorSpec([None, PIXELS], tf.float64),
            tf.TensorSpec([None], tf.int64),
            tf.TensorSpec([None, 2], tf.int32),
        ],
    )


def predicted(network, x):
    return np.argmax(network(tf.convert_to_tensor(x), training=False), -1)


def by_bisection(point, normal, value, norm):
    """The step to a hyperplane: how far pixels go, as the multiplier grows, found by bisection."""
    caps = np.where(normal * value < 0, 1 - point, point) * (normal != 0)
    rates = np.abs(normal) if norm == "L2" else np.ones_like(normal)

    def sizes(scale):
        return np.minimum(scale * rates, caps)

    low, high = 0.0, 1e9
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (
            (low, middle) if np.abs(normal) @ sizes(middle) >= abs(value) else (middle, high)
        )
    return -np.sign(value) * np.sign(normal) * sizes(high)


def paper_fab(weights, x, y, count, restarts, steps, epsilon, norm, noise):
    """FAB-T for one image: the nearest misclassified image and its distance."""
    first, bias, second, offset = weights

    def logits(point):
        return np.tanh(point @ first + bias) @ second + offset

    def length(step):
        return np.linalg.norm(step, ORDER[norm])

    order = [int(c) for c in np.argsort(-logits(x)) if c != y][:count]
    nearest, shortest = x, (np.inf if np.argmax(logits(x)) == y else 0)
    for run, target in enumerate(order * restarts):
        point = x
        if run >= len(order):
            radius = epsilon / 2
            point = np.clip(x + radius * noise(run) / length(noise(run)), 0, 1)
        for _ in range(steps):
            value = logits(point)[target] - logits(point)[y]
            slope = 1 - np.tanh(point @ first + bias) ** 2
            normal = first @ (slope * (second[:, target] - second[:, y]))
            step = by_bisection(point, normal, value, norm)
            from_x = by_bisection(x, normal, value + normal @ (x - point), norm)
            one, two = max(length(step), 1e-8), max(length(from_x), 1e-8)
            alpha = min(one / (one + two), 0.1)
            point = (1 - alpha) * (point + 1.05 * step) + alpha * (x + 1.05 * from_x)
            point = np.clip(point, 0, 1)
            if np.argmax(logits(point)) != y:
                if length(point - x) < shortest:
                    nearest, shortest = point, length(point - x)
                point = x + 0.9 * (point - x)
    return nearest, shortest


@pytest.mark.parametrize("norm", BY_NORM)
def test_follows_the_papers_algorithm(weights, network, problem, norm):
    x, y, seed = problem
    options = {"targets": 3, "restarts": 2, "steps": 9, "epsilon": 0.1}
    attack = TargetedFAB(norm=NORMS[norm], **options)
    images, distances = compiled(attack.nearest, network)(x, y, seed)
    zeros = tf.zeros_like(x)
    noises = [NORMS[norm].random_start(zeros, 1.0, draws.fold_in(seed, i)) for i in range(6)]
    for i in range(len(x)):
        nearest, shortest = paper_fab(
            weights, x[i].numpy(), y[i], 3, 2, 9, 0.1, norm, lambda run, i=i: noises[run][i].numpy()
        )
        assert float(distances[i]) == pytest.approx(shortest, rel=1e-6)
        np.testing.assert_allclose(images[i], nearest, atol=1e-6)
    np.testing.assert_array_equal(distances[:3], 0)
    assert np.isfinite(distances).sum() > 12


@pytest.mark.parametrize("norm", BY_NORM)
def test_finds_the_minimal_distance_of_a_linear_network(norm):
    random = np.random.default_rng(4)
    x = np.clip(random.uniform(-0.2, 1.2, (10, 5)), 0, 1).astype(np.float32)
    matrix = random.normal(size=(5, 4)).astype(np.float32)

    def linear(pixels, training):
        return pixels @ matrix

    y = np.argmax(x @ matrix, -1)
    attack = TargetedFAB(epsilon=0.2, steps=40, norm=NORMS[norm])
    _, distances = tf.function(lambda: attack.nearest(linear, x, y))()
    expected = []
    for point, label in zip(x.astype(float), y, strict=True):
        normals = [
            matrix.astype(float) @ (np.eye(4)[c] - np.eye(4)[label]) for c in range(4) if c != label
        ]
        expected.append(min(SHORTEST[norm](point, n, n @ point) for n in normals))
    assert np.all(distances >= np.array(expected) * (1 - 1e-5))
    np.testing.assert_allclose(distances, expected, rtol=0.02)
    fooled = predicted(linear, tf.function(lambda: attack(linear, x, y))()) != y
    np.testing.assert_array_equal(fooled, distances <= 0.2)
    assert 0 < fooled.sum() < len(x)


@pytest.mark.parametrize(
    ("epsilon", "steps", "restarts", "norm", "double"),
    [
        pytest.param(0.3, 4, 2, "L2", True, marks=pytest.mark.slow),
        (0.05, 3, 1, "Linf", False),
    ],
)
def test_results_are_in_the_ball(weights, problem, epsilon, steps, restarts, norm, double):
    dtype = np.float64 if double else np.float32
    first, bias, second, offset = (weight.astype(dtype) for weight in weights)
    x, y, seed = problem[0].numpy().astype(dtype), *problem[1:]

    def network(x, training):
        return tf.tanh(x @ first + bias) @ second + offset

    options = {"steps": steps, "restarts": restarts, "targets": 2}
    attack = TargetedFAB(epsilon=epsilon, norm=NORMS[norm], **options)
    moved, (images, distances) = tf.function(
        lambda: [f(network, x, y, seed=seed) for f in (attack, attack.nearest)]
    )()
    moved, images, distances = (tensor.numpy() for tensor in (moved, images, distances))
    assert moved.dtype == dtype
    assert moved.min() >= 0
    assert moved.max() <= 1
    sizes = np.linalg.norm(moved.astype(float) - x, ORDER[norm], axis=1)
    assert sizes.max() <= epsilon * (1 + 1e-5) + 1e-6
    found = np.isfinite(distances)
    assert np.all(predicted(network, images)[found] != y[found])
    np.testing.assert_allclose(np.linalg.norm(images - x, ORDER[norm], axis=1)[found], distances[found], rtol=1e-5)  # fmt: skip # noqa: E501
    within = distances < epsilon * (1 - 1e-5)
    assert np.all(predicted(network, moved)[within] != y[within])
    np.testing.assert_array_equal(moved[:3], x[:3])  # which are misclassified


@pytest.mark.slow
@pytest.mark.parametrize("norm", NORMS)
def test_more_targets_steps_and_restarts_are_not_farther(network, problem, norm):
    x, y, seed = problem
    least = {"targets": 1, "steps": 5, "restarts": 1}

    def distances(**options):
        attack = TargetedFAB(epsilon=0.1, norm=NORMS[norm], **least | options)
        return compiled(attack.nearest, network)(x, y, seed)[1].numpy()

    few = distances()
    for more in ({"targets": 4}, {"steps": 15}, {"restarts": 3}):
        many = distances(**more)
        assert np.all(many <= few + 1e-12), more
        assert np.any(many < few)


def test_not_weaker_than_pgd_of_the_same_radius(network, problem):
    x, y, seed = problem
    pgd = PGD(epsilon=0.08, step_size=0.02, steps=20)(network, x, y, seed=seed)
    fab = compiled(TargetedFAB(epsilon=0.08, steps=20), network)(x, y, seed)
    wrong = [np.sum(predicted(network, images) != y) for images in (pgd, fab)]
    assert 3 < wrong[0] <= wrong[1] < len(y)


@pytest.mark.parametrize("norm", BY_NORM)
def test_batches_do_not_matter(network, problem, norm):
    x, y, seeds = problem
    attack = TargetedFAB(epsilon=0.1, steps=4, restarts=2, norm=NORMS[norm])
    attack = compiled(attack, network)
    together = attack(x, y, seeds)
    for size in (1, 3):
        rows = [slice(i, i + size) for i in range(0, 9, size)]
        apart = [attack(x[r], y[r], seeds[r]) for r in rows]
        np.testing.assert_allclose(tf.concat(apart, 0), together[:9], atol=1e-9)


@pytest.mark.parametrize("norm", BY_NORM)
def test_eager_calls_are_as_the_graph(network, problem, norm):
    x, y, seeds = (tensor[1:5] for tensor in problem)
    attack = TargetedFAB(epsilon=0.1, steps=2, targets=2, restarts=2, norm=NORMS[norm])
    eager = attack(network, x, y, seed=seeds)
    np.testing.assert_allclose(compiled(attack, network)(x, y, seeds), eager, atol=1e-9)
    one = attack(network, x, y, seed=[1, 2])
    np.testing.assert_array_equal(attack(network, x, y, seed=[1, 2]), one)


@pytest.mark.parametrize("norm", NORMS)
def test_networks_without_a_gradient_are_left_alone(norm):
    """A step function: the images stay, without NaN, and without an error."""
    x = np.random.default_rng(0).random((4, 2, 3, 1)).astype(np.float32)

    def flat(pixels, training):
        return 0 * tf.reduce_sum(pixels, [2, 3]) + [1.0, 0.0]

    attack = TargetedFAB(epsilon=0.1, steps=2, restarts=2, norm=NORMS[norm])
    images, distances = attack.nearest(flat, x, np.array([0, 0, 0, 1]))
    np.testing.assert_array_equal(images, x)
    np.testing.assert_array_equal(distances, [np.inf, np.inf, np.inf, 0])
    np.testing.assert_array_equal(attack(flat, x, np.array([0, 0, 0, 1])), x)


def test_networks_of_few_classes():
    x, y = np.full((2, 3), 0.5, np.float32), np.array([0, 1])
    matrix = np.array([[1, -1], [0.5, 0], [0, 0.5]], np.float32)
    attack = TargetedFAB(epsilon=0.4, steps=3, targets=9)
    moved = attack(lambda pixels, training: pixels @ matrix, x, y)
    np.testing.assert_array_equal(np.argmax(moved @ matrix, -1), [1, 0])
    np.testing.assert_array_equal(moved[1], x[1])
    with pytest.raises(ValueError, match=r"2 at least\. Received: float32 of shape \(1, 1\)"):
        attack(lambda pixels, training: pixels @ matrix[:, :1], x, y)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epsilon": 0}, "argument `epsilon`. Expected a number in "),
        ({"epsilon": 0.1, "steps": 0}, "argument `steps`"),
        ({"epsilon": 0.1, "targets": 0}, "argument `targets`"),
        ({"epsilon": 0.1, "restarts": 1.5}, "argument `restarts`"),
        (
            {"epsilon": 0.1, "norm": "L2"},
            r"`norm`. Expected Linf\(\) or L2.*: norm='L2'",
        ),
    ],
)
def test_invalid_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        TargetedFAB(**arguments)


@pytest.mark.slow
def test_bad_pixels_and_gradients(network, problem):
    x, y, _ = problem
    ahead = tf.one_hot(y[:1], PIXELS, dtype=x.dtype)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"pixels in \[0, 1\]"):
        TargetedFAB(epsilon=0.1)(network, x + 1, y)
    with pytest.raises(tf.errors.InvalidArgumentError, match="no finite gradient"):
        TargetedFAB(epsilon=0.1)(lambda p, training: tf.sqrt(0 * p) + ahead, x, y)
    with pytest.raises(ValueError, match="does not depend on the pixels"):
        TargetedFAB(epsilon=0.1)(lambda p, training: tf.repeat(ahead, len(p), 0), x, y)
