"""Losses by hand, in NumPy."""

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from anp_tf.losses import (
    classified,
    cross_entropy,
    dlr,
    l2_decay,
    layer_vulnerability,
    margin,
    targeted_dlr,
    vulnerability,
)

LOGITS = np.array([[2.0, -1.0, 0.5], [0.0, 0.0, 0.0], [-3.0, 4.0, 100.0], [1.0, 90.0, -90.0]])
LABELS = np.array([0, 2, 1, 0])


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("logits", "label", "right"),
    [
        ([2, 1, 0], 0, True),
        ([2, 1, 0], 1, False),
        ([1, 1, 0], 0, False),  # a tie
        ([0, 0, 0], 0, False),
        ([2e-30, 1e-30, 0], 0, True),
        ([-2e30, 1e30, 2e30], 2, True),
        ([-3e38, -3.2e38, -3.3e38], 0, True),
        ([NAN, 1, 0], 1, False),
        ([NAN, NAN, NAN], 0, False),
        ([INF, 1, 0], 0, False),
        ([1, 0, -INF], 0, False),
        ([1e300, 1, 0], 0, False),  # infinite in float32
        ([1 + 1e-12, 1, 0], 0, False),  # a tie in float32
    ],
)
def test_classified_is_strictly_ahead_and_finite(logits, label, right):
    for dtype in ("uint8", "int32", "int64"):
        result = classified(
            tf.constant([logits, [0, 0, 1]], tf.float64), np.array([label, 2], dtype)
        )
        np.testing.assert_array_equal(result, [right, True])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_classified_of_every_dtype(dtype):
    np.testing.assert_array_equal(classified(tf.cast(LOGITS, dtype), LABELS), [1, 0, 0, 0])


@pytest.mark.parametrize("label_dtype", ["int32", "int64"])
@pytest.mark.parametrize(
    ("dtype", "result_dtype"),
    [
        ("float16", "float32"),
        ("bfloat16", "float32"),
        ("float32", "float32"),
        ("float64", "float64"),
    ],
)
def test_cross_entropy_of_each_example(dtype, result_dtype, label_dtype):
    expected = -scipy.special.log_softmax(LOGITS, axis=-1)[np.arange(4), LABELS]
    result = cross_entropy(tf.cast(LOGITS, dtype), LABELS.astype(label_dtype))
    assert result.dtype == result_dtype
    np.testing.assert_allclose(result, expected, rtol=1e-6)


@pytest.mark.parametrize("ahead", [-60.0, 0.0, 10.0, 17.0, 30.0, 80.0])
def test_cross_entropy_keeps_the_digits_of_what_is_left_to_a_sure_label(ahead):
    logits = tf.constant([[1.0, 1.0 + ahead, -2.0, 0.5]])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = cross_entropy(logits, np.array([1]))
    odds = np.exp(np.delete(logits.numpy()[0].astype("float64"), 1) - (1.0 + ahead))
    np.testing.assert_allclose(loss, [np.log1p(odds.sum())], rtol=1e-5)
    of_others = odds / (1 + odds.sum())
    expected = np.insert(of_others, 1, -of_others.sum())
    np.testing.assert_allclose(tape.gradient(loss, logits)[0], expected, rtol=1e-5)


def test_cross_entropy_with_smoothed_labels():
    labels = 0.7 * np.eye(3)[LABELS] + 0.1
    expected = -np.sum(labels * scipy.special.log_softmax(LOGITS, axis=-1), axis=-1)
    np.testing.assert_allclose(cross_entropy(tf.constant(LOGITS), LABELS, 0.3), expected)


def test_vulnerability_is_the_mean_over_features_then_over_layers():
    rng = np.random.default_rng(0)
    clean = [rng.normal(size=shape) for shape in ((4, 5, 5, 2), (4, 3))]
    moved = [layer + rng.normal(size=layer.shape) for layer in clean]
    by_layer = [np.mean(np.abs(c - m)) for c, m in zip(clean, moved, strict=True)]
    for c, m, expected in zip(clean, moved, by_layer, strict=True):
        np.testing.assert_allclose(layer_vulnerability(tf.constant(c), m), expected, rtol=1e-12)
    result = vulnerability([tf.constant(layer) for layer in clean], moved)
    # Not the mean over all features, in which the larger layer would count for more.
    assert abs(np.mean(by_layer) - np.average(by_layer, weights=[200, 12])) > 0.01
    np.testing.assert_allclose(result, np.mean(by_layer), rtol=1e-12)


def test_vulnerability_of_half_precision_features_is_computed_in_float32():
    clean = tf.zeros([8, 2000], tf.float16)
    moved = tf.fill([8, 2000], tf.constant(60000.0, tf.float16))
    assert layer_vulnerability(clean, moved) == 60000.0


def test_vulnerability_needs_the_same_layers():
    with pytest.raises(ValueError, match="shorter"):
        vulnerability([tf.zeros([2, 3]), tf.zeros([2, 3])], [tf.zeros([2, 3])])


def test_l2_decay_is_half_the_sum_of_squares():
    values = [np.array([[1.0, -2.0], [3.0, 0.5]]), np.array([4.0])]
    variables = [keras.Variable(value) for value in values]
    assert l2_decay(variables) == 0.5 * (1 + 4 + 9 + 0.25 + 16)
    assert l2_decay([]) == 0.0
    with tf.GradientTape() as tape:
        loss = l2_decay(variables)
    for gradient, value in zip(tape.gradient(loss, variables), values, strict=True):
        np.testing.assert_array_equal(gradient, value)


FOUR = np.array([[2.0, -1.0, 0.5, 1.0], [3.0, 7.0, -2.0, 6.5], [-3.0, 4.0, 100.0, 4.0]])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_margin_and_difference_of_logits_ratio(dtype):
    """By hand: z = (2, -1, 0.5, 1), label 0: 1 - 2 = -1, over 2 - 0.5."""
    logits = tf.cast(FOUR, dtype)
    labels, targets = [0, 2, 1], [3, 0, 3]
    np.testing.assert_allclose(margin(logits, labels), [-1, 9, 96], rtol=1e-6)
    np.testing.assert_allclose(dlr(logits, labels), [-1 / 1.5, 9 / 4, 96 / 96], rtol=1e-6)
    spreads = [2 + 0.25, 7 - 0.5, 100 - 0.5]
    expected = np.array([1 - 2, 3 + 2, 0]) / spreads
    np.testing.assert_allclose(targeted_dlr(logits, labels, targets), expected, rtol=1e-6)
    assert margin(logits, labels).dtype == ("float64" if dtype == "float64" else "float32")


def test_difference_of_logits_ratio_is_invariant():
    logits, labels = tf.constant(FOUR), tf.constant([0, 2, 1])
    for loss in (dlr, lambda z, y: targeted_dlr(z, y, tf.constant([3, 0, 3]))):
        np.testing.assert_allclose(loss(1e3 * logits - 50, labels), loss(logits, labels), rtol=1e-6)


def test_losses_of_equal_logits_are_finite():
    logits = tf.ones([2, 4])
    for loss in (dlr, lambda z, y: targeted_dlr(z, y, tf.constant([3, 0]))):
        np.testing.assert_array_equal(loss(logits, tf.constant([0, 2])), [0, 0])
