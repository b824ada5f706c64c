"""Branch and bound decides what linear bounds leave open, and proves nothing that is not so."""

import keras
import numpy as np
import pytest

from anp_tf import bounds
from anp_tf.bounds.branching import BranchAndBound

L = keras.layers


def network_of(shape, *layers):
    network = keras.Sequential([keras.Input(shape), *layers, L.Dense(3)])
    random = np.random.default_rng(0)
    network.set_weights(
        [
            random.normal(0, 1 / np.sqrt(max(1, np.prod(weight.shape[:-1]))), weight.shape)
            for weight in network.weights
        ]
    )
    points = random.random([500, *shape])
    network.layers[-1].bias.assign_sub(np.mean(network(points), 0))  # so that it has three classes
    return network


def others(y):
    return [np.flatnonzero(np.arange(3) != own) for own in y]


@pytest.fixture(scope="module")
def dense():
    """A network of three pixels, and its branch and bound."""
    network = network_of((3,), L.Dense(6), L.ReLU())
    return network, BranchAndBound(network, domains=100)


def test_it_decides_what_intervals_leave_open(dense, oracle):
    network, branch_and_bound = dense
    x = np.random.default_rng(0).random([20, 3]).astype(np.float32)
    y = np.argmax(network(x), -1)
    true = left_open = proved = 0
    for epsilon in (0.02, 0.05, 0.1):
        intervals = np.asarray(bounds.proved(bounds.interval_margins(network, x, y, epsilon), y))
        found = branch_and_bound(x, y, others(y), epsilon)
        assert np.all(found[intervals])
        for i in np.flatnonzero(~intervals):
            exact = oracle.exact_margins(network, x[i].astype(np.float64), y[i], epsilon)
            holds = max(np.delete(exact, y[i])) < 0
            assert holds or not found[i]
            true, left_open, proved = true + holds, left_open + 1, proved + found[i]
    assert left_open > true >= 8
    assert proved >= 0.9 * true, (proved, true)


@pytest.mark.slow
def test_it_splits_where_the_bounds_gain_most():
    """Few parts are enough if they are the right ones; an activation is a layer, or a layer's."""
    keras.utils.set_random_seed(1)
    layers = [L.Dense(24, activation="relu"), L.Dense(24), L.ReLU(), L.Dense(4)]
    network = keras.Sequential([keras.Input((12,)), *layers])
    x = np.random.default_rng(1).random([6, 12]).astype(np.float32)
    y = np.argmax(network(x), -1)
    classes = [np.flatnonzero(np.arange(4) != own) for own in y]
    # By the gain of a bound when both of its ends move alike, none of them is proved.
    assert BranchAndBound(network, domains=64)(x, y, classes, 0.06).sum() >= 2


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_what_it_proves_no_image_in_the_ball_refutes(norm):
    layers = [L.Conv2D(4, 3), L.ReLU(), L.MaxPooling2D(2), L.Flatten(), L.Dense(8), L.LeakyReLU()]
    network = network_of((6, 6, 1), *layers)
    random = np.random.default_rng(0)
    x = random.random([20, 6, 6, 1]).astype(np.float32)
    y = np.argmax(network(x), -1)
    branch_and_bound = BranchAndBound(network, norm=norm, domains=20)
    counts = []
    for radius in (0.02, 0.04, 0.06) if norm == "linf" else (0.05, 0.1, 0.2):
        proved = branch_and_bound(x, y, others(y), radius)
        move = radius if norm == "linf" else radius / 6
        moved = np.clip(x + move * random.choice([-1.0, 1.0], [500, 1, 6, 6, 1]), 0, 1)
        held = np.argmax(network(moved.reshape(-1, 6, 6, 1)), -1).reshape(500, -1) == y
        assert np.all(held[:, proved])
        counts.append(proved.sum())
    assert len(x) > counts[0] > counts[-1]
    assert counts[0] > 0


def test_it_gives_up(dense):
    network, branch_and_bound = dense
    x = np.full([1, 3], 0.5, np.float32)
    wrong = (np.argmax(network(x), -1) + 1) % 3
    assert not branch_and_bound(x, wrong, others(wrong), 0.0)[0]
    assert branch_and_bound(x, wrong, [[]], 0.0)[0]  # nothing was left to be proved
    smooth = network_of((3,), L.Dense(6, activation="tanh"))  # has nothing to branch on
    assert list(BranchAndBound(smooth)(x, wrong, others(wrong), 0.0)) == [False]
