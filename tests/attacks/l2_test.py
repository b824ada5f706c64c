"""The L2 ball: projection, directions and starts, in NumPy."""

import numpy as np
import scipy.stats
import tensorflow as tf

from anp_tf.attacks import L2, PGD


def test_projection_is_the_nearest_point_of_the_ball():
    random = np.random.default_rng(0)
    x = random.random((6, 4, 3)).astype(np.float32)
    candidate = x + random.normal(size=x.shape).astype(np.float32) * np.geomspace(1e-3, 10, 6)[:, None, None].astype(np.float32)  # fmt: skip # noqa: E501
    projected = L2().project(tf.constant(candidate), tf.constant(x), tf.constant(0.5)).numpy()
    moved = (candidate - x).reshape(6, -1).astype(float)
    norms = np.linalg.norm(moved, axis=1, keepdims=True)
    expected = x.reshape(6, -1) + moved * np.minimum(1, 0.5 / norms)
    np.testing.assert_allclose(projected.reshape(6, -1), expected, atol=1e-6)
    inside = norms[:, 0] < 0.5
    assert 0 < inside.sum() < 6
    np.testing.assert_array_equal(projected[inside], candidate[inside])


def test_directions_have_length_one_whatever_the_gradients():
    gradient = np.random.default_rng(0).normal(size=(4, 3, 2)).astype(np.float32)
    gradient[1] *= 1e-30  # whose squares are 0 in float32
    gradient[2] *= 1e30
    gradient[3] = 0
    direction = L2().direction(tf.constant(gradient)).numpy().reshape(4, -1)
    np.testing.assert_allclose(np.linalg.norm(direction, axis=1), [1, 1, 1, 0], rtol=1e-5)
    cosine = np.sum(direction[:3] * np.sign(gradient[:3].reshape(3, -1)), axis=1)
    assert np.all(cosine > 1)


def test_starts_are_uniform_in_the_ball():
    x = tf.fill([4000, 3], 0.5)
    start = L2().random_start(x, 0.2, tf.constant([1, 2])).numpy() - 0.5
    radius = np.linalg.norm(start, axis=1) / 0.2
    assert radius.max() <= 1 + 1e-5
    assert scipy.stats.kstest(radius**3, "uniform").pvalue > 1e-3
    along = start[:, 0] / np.linalg.norm(start, axis=1)  # uniform on a sphere in three dimensions
    assert scipy.stats.kstest(along, "uniform", (-1, 2)).pvalue > 1e-3


def test_pgd_finds_the_optimum_of_a_linear_loss():
    weights = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    x = np.full((3, 5), 0.5, np.float32)
    attack = PGD(epsilon=0.2, step_size=0.05, steps=40, norm=L2())
    moved = attack(lambda pixels, training: pixels @ weights, x, np.zeros(3, int)).numpy()
    steepest = weights[:, 1] - weights[:, 0]
    expected = x + 0.2 * steepest / np.linalg.norm(steepest)
    np.testing.assert_allclose(moved, expected, atol=1e-3)


def test_confined_points_use_all_of_the_radius():
    """At a corner of the box the clipped coordinates leave their share to the others."""
    x, epsilon = np.zeros((1, 4), np.float32), 0.5
    candidate = np.array([[-3.0, -3.0, 3.0, 0.5]], np.float32)
    confined = L2().confine(tf.constant(candidate), tf.constant(x), tf.constant(epsilon)).numpy()
    expected = np.array([0, 0, 1, 0.5]) * epsilon / np.hypot(1, 0.5)
    np.testing.assert_allclose(confined[0], expected, rtol=1e-6)


def test_confined_points_are_in_the_ball_and_in_the_box():
    random = np.random.default_rng(1)
    x = random.choice([0.0, 0.3, 0.7, 1.0], (200, 30)).astype(np.float32)
    candidate = (x + random.normal(0, 0.5, x.shape)).astype(np.float32)
    confined = L2().confine(tf.constant(candidate), tf.constant(x), tf.constant(0.8)).numpy()
    assert confined.min() >= 0
    assert confined.max() <= 1
    assert np.linalg.norm(confined - x.astype(float), axis=1).max() <= 0.8 * (1 + 1e-6)
