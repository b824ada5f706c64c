"""Auto-PGD against a plain implementation of the paper's algorithm, one example at a time."""

import hypothesis
import hypothesis.strategies as st
import keras
import numpy as np
import pytest
import tensorflow as tf

from anp_tf.attacks import APGD, L2, PGD, Linf, TargetedAPGD, TargetedFAB, runs
from anp_tf.attacks.apgd import checkpoint_spans
from anp_tf.losses import cross_entropy, dlr, margin, targeted_dlr

CLASSES = 5
NORMS = {"Linf": Linf, "L2": L2}


@pytest.fixture(scope="module")
def network():
    """A small smooth network whose gradients change over the ball."""
    keras.utils.set_random_seed(1)
    wide = keras.initializers.RandomNormal(stddev=0.7)
    stack = [keras.layers.Dense(8, "tanh", kernel_initializer=wide) for _ in range(2)]
    head = keras.layers.Dense(CLASSES, kernel_initializer=wide)
    return keras.Sequential([keras.Input((6,)), *stack, head])


@pytest.fixture(scope="module")
def problem(network):
    """Images, labels that the network gives to most of them, and a stateless seed."""
    x = np.random.default_rng(2).random((24, 6)).astype(np.float32)
    y = np.argmax(network(x), -1)
    y[:3] = (y[:3] + 1) % CLASSES
    return x, y, tf.constant([3, 4])


def paper_apgd(values_and_gradients, x, y, start, epsilon, steps, norm):
    """Algorithm 1 of Croce & Hein (2020) for one image, in float64 but for the network."""

    def measure(point):
        pixels = tf.constant(point[None], tf.float32)
        logits, value, gradient = values_and_gradients(pixels, tf.constant([y]))
        wrong = int(np.argmax(logits[0])) != y
        return float(value[0]), wrong, gradient[0].numpy().astype(float)

    def project(point):
        if norm == "L2":  # clipped first, unlike the authors
            moved = np.clip(point, 0, 1) - x
            return x + moved * min(1, epsilon / max(np.linalg.norm(moved), 1e-30))
        return np.clip(x + np.clip(point - x, -epsilon, epsilon), 0, 1)

    def direction(gradient):
        return (
            np.sign(gradient) if norm == "Linf" else gradient / max(np.linalg.norm(gradient), 1e-30)
        )

    checkpoints, p = [0], [0.0, 0.22]
    while p[-1] <= 1 + 1e-9:
        checkpoints.append(int(np.ceil(round(p[-1] * steps, 6))))
        p.append(p[-1] + max(p[-1] - p[-2] - 0.03, 0.06))
    step = 2 * epsilon
    points, values = [start], []
    value, wrong, gradient = measure(start)
    values.append(value)
    best, best_value, best_gradient = start, value, gradient
    fooling = start if wrong else None
    steps_at, best_at = {0: np.inf}, {0: value}
    last = 0
    for k in range(steps):
        ahead = project(points[-1] + step * direction(gradient))
        if k == 0:
            new = ahead
        else:
            momentum = points[-1] - points[-2]
            new = project(points[-1] + 0.75 * (ahead - points[-1]) + 0.25 * momentum)
        points.append(new)
        value, wrong, gradient = measure(new)
        values.append(value)
        if wrong:
            fooling = new
        if value > best_value:
            best, best_value, best_gradient = new, value, gradient
        if k + 1 in checkpoints[1:]:
            span = k + 1 - last
            increases = sum(
                b > a for a, b in zip(values[-span - 1 : -1], values[-span:], strict=True)
            )
            same = steps_at[last] == step and best_at[last] == best_value
            steps_at[k + 1], best_at[k + 1] = step, best_value
            if increases < 0.75 * span or same:
                step /= 2
                points[-1], values[-1], gradient = best, best_value, best_gradient
            last = k + 1
    return (best if fooling is None else fooling), best_value, fooling is not None


LOSSES = {"cross-entropy": cross_entropy, "dlr": dlr, "margin": margin}


@pytest.mark.parametrize("norm", ["Linf", pytest.param("L2", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "loss",
    [name if name == "dlr" else pytest.param(name, marks=pytest.mark.slow) for name in LOSSES],
)
def test_follows_the_papers_algorithm(network, problem, norm, loss):
    x, y, seed = problem
    epsilon, steps, loss = (0.08 if norm == "Linf" else 0.15), 23, LOSSES[loss]
    geometry = NORMS[norm]()
    attack = APGD(epsilon=epsilon, steps=steps, loss=loss, norm=geometry)
    result = np.asarray(attack(network, x, y, seed=seed))
    first = tf.random.fold_in(seed, 0)
    starts = geometry.confine(geometry.random_start(tf.constant(x), epsilon, first), x, epsilon)
    starts = np.array(starts)
    values = loss(network(result), tf.constant(y)).numpy()

    @tf.function
    def values_and_gradients(pixels, labels):
        with tf.GradientTape() as tape:
            tape.watch(pixels)
            logits = network(pixels, training=False)
            value = loss(logits, labels)
        return logits, value, tape.gradient(value, pixels)

    fooled = 0
    for i in range(len(x)):
        expected, best, found = paper_apgd(
            values_and_gradients, x[i].astype(float), int(y[i]), starts[i], epsilon, steps, norm
        )
        fooled += found
        assert (np.argmax(network(result[i : i + 1])) != y[i]) == found
        if not found:  # float32 may choose another of several points of the same loss
            assert values[i] == pytest.approx(best, rel=1e-3, abs=1e-5)
            np.testing.assert_allclose(result[i], expected, atol=2e-3)
    assert 3 < fooled < len(x)


@pytest.mark.parametrize("steps", [1, 2, 7, 50, 100, 333])
def test_checkpoints(steps):
    spans = checkpoint_spans(steps)
    assert len(spans) == steps
    points = [index + 1 for index, span in enumerate(spans) if span]
    assert [b - a for a, b in zip([0, *points], points, strict=False)] == [s for s in spans if s]
    if steps == 100:
        assert points == [22, 41, 57, 70, 80, 87, 93, 99]


@hypothesis.settings(max_examples=10, deadline=None, derandomize=True)
@hypothesis.given(
    epsilon=st.sampled_from([1e-4, 0.1, 1.0]),
    steps=st.integers(1, 6),
    restarts=st.integers(1, 3),
    norm=st.sampled_from(list(NORMS)),
    targeted=st.booleans(),
)
def test_results_are_in_the_ball_and_are_pixels(network, epsilon, steps, restarts, norm, targeted):
    x = np.random.default_rng(0).random((5, 6)).astype(np.float32)
    x[0, :3], x[1, :3] = 0, 1
    y = np.arange(5) % CLASSES
    if targeted:
        attack = TargetedAPGD(epsilon=epsilon, steps=steps, targets=restarts, norm=NORMS[norm]())
    else:
        attack = APGD(epsilon=epsilon, steps=steps, restarts=restarts, norm=NORMS[norm]())
    moved = np.asarray(attack(network, x, y))
    assert moved.shape == x.shape
    assert moved.min() >= 0
    assert moved.max() <= 1
    distance = moved.astype(float) - x
    size = np.abs(distance).max() if norm == "Linf" else np.linalg.norm(distance, axis=1).max()
    assert size <= epsilon * (1 + 1e-5) + 1e-6


def accuracy(network, x, y):
    return np.mean(np.argmax(network(x), -1) == y)


@pytest.mark.slow
def test_more_restarts_and_targets_are_not_weaker(network, problem):
    x, y, seed = problem
    options = {"epsilon": 0.06, "steps": 10}
    one, three = (
        accuracy(network, APGD(restarts=n, **options)(network, x, y, seed=seed), y) for n in (1, 3)
    )
    assert three <= one < accuracy(network, x, y)
    one, four = (
        accuracy(network, TargetedAPGD(targets=n, **options)(network, x, y, seed=seed), y)
        for n in (1, 4)
    )
    assert four <= one < accuracy(network, x, y)


def test_not_weaker_than_pgd_with_as_many_steps(network, problem):
    x, y, seed = problem
    pgd = PGD(epsilon=0.06, step_size=0.015, steps=20, loss=margin)(network, x, y, seed=seed)
    apgd = APGD(epsilon=0.06, steps=20, loss=margin)(network, x, y, seed=seed)
    assert accuracy(network, apgd, y) <= accuracy(network, pgd, y) + 1 / len(y)


def test_targets_are_the_highest_other_classes(problem):
    """On a linear network the nearest boundary can be that of any target: all must be tried."""
    x, _, seed = problem
    random = np.random.default_rng(5)
    weights = random.normal(size=(6, CLASSES)).astype(np.float32)

    def linear(pixels, training):
        return pixels @ weights

    x = np.clip(x, 0.3, 0.7)  # the ball is within [0, 1]
    y = np.argmax(x @ weights, -1)
    epsilon = 0.15
    result = TargetedAPGD(epsilon=epsilon, steps=30, targets=9)(linear, x, y, seed=seed)
    logits = x @ weights
    reach = epsilon * np.abs(weights[:, None, :] - weights[:, :, None]).sum(0)  # [label, target]
    can = np.array([np.any((logits[i] + reach[y[i]] > logits[i, y[i]]) & (np.arange(CLASSES) != y[i])) for i in range(len(y))])  # fmt: skip # noqa: E501
    np.testing.assert_array_equal(np.argmax(result @ weights, -1) != y, can)
    assert 0 < can.sum() < len(y)


@pytest.mark.slow
@pytest.mark.parametrize(
    "attack",
    [
        TargetedAPGD(epsilon=0.1, steps=9, targets=3),
        APGD(epsilon=0.06, steps=5, restarts=3),
        TargetedFAB(epsilon=0.12, steps=21, targets=3, restarts=2),
    ],
    ids=["targets", "restarts", "fab"],
)
def test_runs_at_once_are_those_one_after_the_other(problem, monkeypatch, attack):
    x, _, _ = problem
    # Each image is computed alone, so that its logits do not depend on the others by a bit.
    kernel = tf.random.stateless_normal([6, CLASSES], [5, 6])

    def alone(pixels, training):
        return tf.reduce_sum(tf.tanh(pixels[:, :, None] * kernel), 1)

    y, seeds = np.argmax(alone(x, False), -1), tf.reshape(tf.range(2 * len(x)), [-1, 2])
    found = []
    for together in (1, 60):
        monkeypatch.setattr(runs, "TOGETHER", together)
        found.append(tf.function(lambda: attack(alone, x, y, seed=seeds))().numpy())
    assert 0.1 < np.mean(np.argmax(alone(found[0], False), -1) == y) < 0.9
    np.testing.assert_array_equal(found[1], found[0])


def test_is_one_graph(network, problem):
    x, y, seed = problem
    attack = APGD(epsilon=0.05, steps=9, restarts=2)
    eager = attack(network, x, y, seed=seed)
    compiled = tf.function(lambda a, b: attack(network, a, b, seed=seed))(x, y)
    np.testing.assert_allclose(compiled, eager, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epsilon": 0}, "argument `epsilon`. Expected a number in "),
        ({"epsilon": 0.1, "steps": 0}, "argument `steps`"),
        ({"epsilon": 0.1, "restarts": 1.5}, "argument `restarts`"),
    ],
)
def test_invalid_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        APGD(**arguments)


def test_losses_that_need_more_classes(problem):
    x, y, _ = problem
    weights = np.ones((6, 2), np.float32)

    def binary(pixels, training):
        return pixels @ weights

    with pytest.raises(ValueError, match=r"`dlr` needs at least 3 classes\. Received: 2"):
        APGD(epsilon=0.1, loss=dlr)(binary, x, y % 2)
    with pytest.raises(ValueError, match="`targeted_dlr` needs at least 4 classes"):
        TargetedAPGD(epsilon=0.1)(binary, x, y % 2)
    assert targeted_dlr is not dlr


def test_bad_pixels_and_gradients(network, problem):
    x, y, _ = problem
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"pixels in \[0, 1\]"):
        APGD(epsilon=0.1)(network, x + 1, y)
    with pytest.raises(ValueError, match="does not depend on the pixels"):
        APGD(epsilon=0.1)(lambda pixels, training: tf.zeros([24, 5]), x, y)
