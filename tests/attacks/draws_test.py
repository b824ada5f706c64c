"""Random numbers of attacks: distributions, and independence of the batches."""

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from anp_tf.attacks import FGSM, L2, PGD, Linf, draws
from anp_tf.losses import margin

KINDS = {
    "uniform": (
        lambda seed, shape: draws.uniform(seed, shape, -1.0, 3.0),
        scipy.stats.uniform(-1, 4).cdf,
    ),
    "normal": (draws.normal, scipy.stats.norm.cdf),
}


def seeds(count, first=0):
    return tf.stack([tf.fill([count], 5), tf.range(first, first + count)], -1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("each", [False, True])
def test_distribution(kind, each):
    function, distribution = KINDS[kind]
    drawn = function(seeds(50) if each else tf.constant([1, 2]), [50, 40, 3]).numpy()
    assert drawn.shape == (50, 40, 3)
    assert scipy.stats.kstest(drawn.ravel(), distribution).pvalue > 1e-3
    correlations = np.corrcoef(drawn.reshape(50, -1))
    assert np.abs(correlations[~np.eye(50, dtype=bool)]).max() < 0.5


def test_signs():
    signs = draws.signs(seeds(100), [100, 30]).numpy()
    assert set(np.unique(signs)) == {-1, 1}
    assert abs(signs.mean()) < 0.07


def test_an_examples_numbers_are_its_own():
    together = draws.normal(seeds(7), [7, 4])
    apart = [draws.normal(seeds(1, first), [1, 4])[0] for first in range(7)]
    np.testing.assert_array_equal(together, apart)


@pytest.mark.parametrize("shape", [(2,), (6, 2)])
def test_seeds_differ(shape):
    seed = tf.reshape(tf.range(np.prod(shape), dtype=tf.int32), shape)
    derived = [draws.fold_in(seed, 0), draws.fold_in(seed, 1), *draws.split(seed, 3)]
    assert all(other.shape == shape for other in derived)
    rows = np.concatenate([np.reshape(other, (-1, 2)) for other in [seed, *derived]])
    assert len(np.unique(rows, axis=0)) == len(rows)


def test_a_fresh_seed_for_none():
    assert not np.array_equal(draws.given_seed(None), draws.given_seed(None))


def linear(pixels, training=False):
    weights = np.random.default_rng(3).normal(size=(16, 4)).astype(np.float32)
    return tf.reshape(pixels, [-1, 16]) @ weights


@pytest.mark.parametrize("norm", [Linf(), L2()])
def test_attacks_do_not_depend_on_the_batches(norm):
    x = np.random.default_rng(0).random((9, 4, 4, 1)).astype(np.float32)
    y = np.arange(9) % 4
    attack = PGD(epsilon=0.2, step_size=0.05, steps=3, restarts=2, norm=norm)
    together = attack(linear, x, y, seed=seeds(9))
    apart = [attack(linear, x[i : i + 1], y[i : i + 1], seed=seeds(1, i))[0] for i in range(9)]
    np.testing.assert_allclose(together, apart, atol=1e-6)


@pytest.mark.parametrize("loss", [margin, None])
def test_targeted_attacks_reach_the_class(loss):
    x = np.full((4, 4, 4, 1), 0.5, np.float32)
    options = {} if loss is None else {"loss": loss}
    attack = PGD(epsilon=0.5, step_size=0.1, steps=20, targeted=True, **options)
    reached = attack(linear, x, np.arange(4), seed=tf.constant([1, 2]))
    np.testing.assert_array_equal(np.argmax(linear(reached), -1), np.arange(4))


def test_fgsm_in_the_l2_ball_is_a_step_of_the_radius_along_the_gradient():
    x, y = np.full((3, 4, 4, 1), 0.5, np.float32), np.arange(3)
    moved = FGSM(epsilon=0.3, norm=L2())(linear, x, y) - x
    np.testing.assert_allclose(np.linalg.norm(np.reshape(moved, (3, -1)), axis=1), 0.3, rtol=1e-5)
