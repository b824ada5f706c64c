"""Attacks on parts of a batch at the same time."""

import os

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from anp_tf.attacks import PGD, LatentPGD, SquarePGD, TradesPGD
from anp_tf.attacks.side_by_side import side_by_side

BALL = {"epsilon": 0.2, "step_size": 0.05, "steps": 4}


@pytest.fixture
def places(monkeypatch):
    """`places(n)` sets for how many operations there are cores."""

    def set_to(count):
        # TensorFlow's own setting can only be made before it starts, in a process of its own.
        monkeypatch.setattr(tf.config.threading, "get_intra_op_parallelism_threads", lambda: 2)
        monkeypatch.setattr(os, "cpu_count", lambda: 2 * count)

    return set_to


@pytest.fixture
def network():
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(3),
        ]
    )


@pytest.fixture
def batch():
    random = np.random.default_rng(0)
    x = random.random((7, 6, 6, 1), np.float32)
    return tf.constant(x), tf.constant(random.integers(0, 3, 7))


def loops(function):
    """The while loops of a function's graph, with the operations that each one waits for."""
    graph = function.get_concrete_function().graph
    return {op: _before(op) for op in graph.get_operations() if op.type.endswith("While")}


def _before(op):
    found, waiting = set(), [op]
    while waiting:
        op = waiting.pop()
        for other in [*(tensor.op for tensor in op.inputs), *op.control_inputs]:
            if other not in found:
                found.add(other)
                waiting.append(other)
    return found


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(1, 5))
def test_parts_make_the_whole(size, count):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tf.config.threading, "get_intra_op_parallelism_threads", lambda: 1)
        patch.setattr(os, "cpu_count", lambda: count)
        seen = []

        @tf.function
        def run(x, more):
            def function(x, more):
                seen.append(x.shape[0])
                return {"sum": x + more[0], "other": more[1]}

            return side_by_side(function, x, more)

        x, numbers = np.arange(2.0 * size).reshape(size, 2), np.arange(size)
        outputs = run(tf.constant(x), (tf.constant(x), tf.constant(numbers)))
    np.testing.assert_array_equal(outputs["sum"], 2 * x)
    np.testing.assert_array_equal(outputs["other"], numbers)
    assert sum(seen) == size
    assert len(seen) == min(size, count)
    assert max(seen) - min(seen) <= 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "attack",
    [
        PGD(**BALL),
        PGD(**BALL, restarts=2),
        SquarePGD(**BALL, queries=5),
        TradesPGD(**BALL),
        LatentPGD(**BALL),
    ],
    ids=["pgd", "restarts", "square_pgd", "trades", "latent"],
)
def test_an_attack_finds_the_same(places, network, batch, attack):
    def run():
        return attack(network, *batch, seed=tf.constant([1, 2]))

    expected = tf.function(run)().numpy()
    places(3)
    divided = tf.function(run)
    # A sign that hangs on rounding moves a pixel by two steps.
    assert np.mean(np.abs(divided().numpy() - expected) < 1e-5) > 0.99


def test_no_loop_waits_for_another(places, network, batch):
    attack = PGD(**BALL)
    assert len(loops(tf.function(lambda: attack(network, *batch)))) == 1
    places(3)
    found = loops(tf.function(lambda: attack(network, *batch)))
    assert len(found) == 3
    assert not any(found.keys() & before for before in found.values())


def test_a_batch_stays_whole_eagerly_and_beside_what_is_none(places):
    places(2)
    sizes = []

    def function(x):
        sizes.append(x.shape[0])
        return x

    x = tf.ones([4, 2])
    side_by_side(function, x)
    tf.function(lambda x: side_by_side(lambda x, scale: function(x * scale), x, tf.ones([])))(x)
    assert sizes == [4, 4]


@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_batch_of_unknown_size_is_divided_too(places, size):
    places(3)
    sizes = []

    def function(x):
        sizes.append(x)
        tf.debugging.assert_positive(tf.size(x), "no part is empty")
        return 2 * x

    run = tf.function(lambda x: side_by_side(function, x), input_signature=[tf.TensorSpec([None])])
    np.testing.assert_array_equal(run(tf.range(size + 0.0)), 2 * np.arange(size))
    assert len(sizes) == 1  # traced once, for three parts
    calls = [op for op in run.get_concrete_function().graph.get_operations() if "Call" in op.type]
    assert len(calls) == 3


def test_what_is_not_finite_in_any_part_is_an_error(places, batch):
    places(3)
    x, y = batch

    def network(images, training):
        last = tf.reduce_all(images == x[-1:], [1, 2, 3])[:, None]  # at the start only
        return tf.where(last, np.nan, 1.0) * tf.reshape(images, [-1, 36])[:, :3]

    attack = PGD(**BALL, random_start=False)
    with pytest.raises(tf.errors.InvalidArgumentError, match="no finite gradient"):
        tf.function(lambda: attack(network, x, y))()
