"""The inner maximisation of TRADES."""

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from anp_tf.attacks import TradesPGD, input_gradient
from anp_tf.losses import divergence


def linear(weights):
    pixels = keras.Input((weights.shape[0],))
    dense = keras.layers.Dense(weights.shape[1], use_bias=False)
    model = keras.Model(pixels, dense(pixels))
    dense.set_weights([weights])
    return model


WEIGHTS = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
X = np.random.default_rng(1).uniform(0.3, 0.7, (8, 5)).astype(np.float32)


def kl(p_logits, q_logits):
    p, q = (scipy.special.softmax(v, axis=-1) for v in (p_logits, q_logits))
    return scipy.special.rel_entr(p, q).sum(-1)


def test_divergence_is_scipys_and_not_symmetric():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(2, 6, 4)).astype(np.float32) * 3
    np.testing.assert_allclose(divergence(a, b), kl(b, a), rtol=2e-5)
    assert np.abs(kl(a, b) - kl(b, a)).max() > 0.1
    np.testing.assert_allclose(divergence(a, a + 7.0), 0.0, atol=1e-5)


def test_gradient_of_the_inner_loss_by_hand():
    """With logits xW the gradient of KL(p || q(x')) in x' is (q - p) W^T."""
    moved = X + 0.05
    reference = tf.constant(X @ WEIGHTS)
    gradient = input_gradient(linear(WEIGHTS), tf.constant(moved), reference, divergence)
    p, q = (scipy.special.softmax(v @ WEIGHTS, axis=-1) for v in (X, moved))
    np.testing.assert_allclose(gradient, (q - p) @ WEIGHTS.T, atol=1e-6)


def test_the_attack_increases_the_divergence_and_needs_no_labels():
    attack = TradesPGD(epsilon=0.1, step_size=0.02, steps=10)
    network = linear(WEIGHTS)
    moved = attack(network, X, seed=tf.constant([1, 2])).numpy()
    labelled = attack(network, X, np.zeros(8, np.int32), seed=tf.constant([1, 2])).numpy()
    np.testing.assert_array_equal(moved, labelled)
    assert np.abs(moved - X).max() <= 0.1 + 1e-6
    assert moved.min() >= 0
    assert moved.max() <= 1
    corners = X + 0.1 * np.random.default_rng(3).choice([-1, 1], (50, *X.shape))
    reached = kl(X @ WEIGHTS, moved @ WEIGHTS)
    random = np.array([kl(X @ WEIGHTS, corner @ WEIGHTS) for corner in corners])
    assert np.all(reached > random.mean(0))
    assert np.median(reached / random.max(0)) > 0.9  # where the other side is no better


def test_the_start_is_gaussian_with_a_deviation_of_a_thousandth():
    x = np.full((4, 1000), 0.5, np.float32)
    noise = TradesPGD(epsilon=0.1, step_size=0.02, steps=1)._start(x, 0.1, [1, 2]) - x
    assert np.std(noise) == pytest.approx(1e-3, rel=0.05)
    assert np.abs(np.mean(noise)) < 1e-4
    assert np.abs(noise).max() > 2.5e-3  # not uniform
