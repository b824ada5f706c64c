"""Attacks that are small: noise, transfer, the latent attack, PGD with squares."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from anp_tf.attacks import (
    L2,
    NFGSM,
    PGD,
    InTurn,
    LatentPGD,
    Linf,
    Noise,
    Square,
    SquarePGD,
    Transfer,
    draws,
)
from anp_tf.losses import classified, cross_entropy

SEED = tf.constant([1, 2])


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(3)
    layers = [keras.layers.Conv2D(4, 3, activation="relu"), keras.layers.Flatten()]
    layers += [keras.layers.Dense(6), keras.layers.ReLU(), keras.layers.Dense(4)]
    return keras.Sequential([keras.Input((6, 6, 2)), *layers])


@pytest.fixture(scope="module")
def problem(network):
    x = np.random.default_rng(0).random((12, 6, 6, 2)).astype(np.float32)
    return x, np.argmax(network(x), -1)


@pytest.mark.parametrize("norm", [Linf(), L2()])
def test_noise_is_at_a_corner(problem, norm):
    x = np.full_like(problem[0], 0.5)
    moved = Noise(epsilon=0.2, norm=norm)(None, x, None, seed=SEED).numpy() - x
    size = 0.2 if isinstance(norm, Linf) else 0.2 / np.sqrt(72)
    np.testing.assert_allclose(np.abs(moved), size, rtol=1e-4)
    assert 0.4 < np.mean(moved > 0) < 0.6
    at_the_border = Noise(epsilon=0.2, norm=norm)(None, 2 * x, None, seed=SEED).numpy()
    assert at_the_border.max() == 1


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_noise_in_half_precision_is_in_the_ball(dtype):
    x = tf.cast(tf.random.uniform([500, 3], 0.2, 0.8), dtype)
    moved = Noise(epsilon=8 / 255)(None, x, tf.zeros([500], tf.int64))
    assert moved.dtype == dtype
    distance = np.abs(tf.cast(moved, "float64") - tf.cast(x, "float64"))
    assert np.all(distance <= 8 / 255)
    assert np.all(distance > 4 / 255)


def test_n_fgsm_is_noise_and_a_step_of_the_sign(network, problem):
    """Noise of 3 epsilon, which the network's gradient is taken at; clipped to [0, 1] alone."""
    x, y = problem
    moved = NFGSM(epsilon=0.1, noise=3.0)(network, x, y, seed=SEED).numpy()
    again = NFGSM(epsilon=0.1)(network, x, y, seed=SEED, noise=tf.constant(3.0)).numpy()
    np.testing.assert_array_equal(moved, again)
    assert moved.min() >= 0
    assert moved.max() <= 1
    assert 0.35 < np.abs(moved - x).max() <= 0.4 + 1e-6
    start = Linf().random_start(x, 0.3, draws.fold_in(SEED, 0))
    start = tf.clip_by_value(start, 0, 1)
    with tf.GradientTape() as tape:
        tape.watch(start)
        loss = tf.reduce_sum(cross_entropy(network(start), y))
    expected = np.clip(start + 0.1 * np.sign(tape.gradient(loss, start)), 0, 1)
    assert np.mean(np.abs(moved - expected) > 1e-6) < 0.01  # where the gradient is next to 0
    unmoved = NFGSM(epsilon=0.1, noise=0.0)(network, x, y, seed=SEED)
    expected = PGD(epsilon=0.1, step_size=0.1, steps=1, random_start=False)(network, x, y)
    np.testing.assert_allclose(unmoved, expected, atol=1e-6)


def test_transfer_is_the_attack_on_the_source(network, problem):
    attack = PGD(epsilon=0.1, step_size=0.03, steps=3)
    made = Transfer(attack, network)(None, *problem, seed=SEED)
    np.testing.assert_array_equal(made, attack(network, *problem, seed=SEED))


def latent_loss(network, x, adversarial, y, weight):
    """By NumPy, from the outputs of the layers."""
    conv, _, dense, relu, logits = network.layers
    losses = []
    for one, other, label in zip(x, adversarial, y, strict=True):
        layers = []
        for image in (one, other):
            first = conv(image[None])
            second = relu(dense(tf.reshape(first, [1, -1])))
            layers.append([np.array(first), np.array(second), np.array(logits(second))[0]])
        (a1, a2, _), (b1, b2, z) = layers
        p = np.exp(z - z.max())
        distortion = [np.abs(b - a).mean() / np.abs(a).mean() for a, b in ((a1, b1), (a2, b2))]
        losses.append(-np.log(p[label] / p.sum()) + weight * np.mean(distortion))
    return np.array(losses)


@pytest.mark.parametrize("weight", [0.0, 1.0, 100.0])
def test_the_latent_attack_raises_its_loss(network, problem, weight):
    x, y = problem
    options = {"epsilon": 0.1, "step_size": 0.02, "steps": 10}
    moved = LatentPGD(**options, weight=weight)(network, x, y, seed=SEED)
    plain = PGD(**options)(network, x, y, seed=SEED)
    ours, others = (latent_loss(network, x, a, y, weight).sum() for a in (moved, plain))
    if weight == 0:
        np.testing.assert_allclose(moved, plain, atol=1e-6)
    else:
        assert ours > others
    assert np.abs(moved - x).max() <= 0.1 + 1e-6


def test_the_latent_attack_in_a_graph_with_restarts(network, problem):
    x, y = problem
    attack = LatentPGD(epsilon=0.1, step_size=0.05, steps=3, restarts=2)
    eager = attack(network, x, y, seed=SEED)
    compiled = tf.function(lambda a, b: attack(network, a, b, seed=SEED))(x, y)
    np.testing.assert_allclose(compiled, eager, atol=1e-5)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_the_latent_attack_where_a_network_is_sure(weight):
    """At margins of thousands, where the cross-entropy has no gradient in float32."""
    layers = [keras.layers.Dense(2, "relu"), keras.layers.Dense(2)]
    network = keras.Sequential([keras.Input((4,)), *layers])
    weights = np.ones((4, 2)), np.zeros(2), [[5e3, -5e3]] * 2, [-2e4, 2e4]
    network.set_weights([np.array(weight) for weight in weights])
    x = np.full((8, 4), 0.6, np.float32)
    attack = LatentPGD(epsilon=0.15, step_size=0.05, steps=10, weight=weight)
    moved = attack(network, x, np.zeros(8, int), seed=SEED)
    assert np.all(np.argmax(network(moved), -1) == 1)


def test_latent_weight():
    with pytest.raises(ValueError, match=r"argument `weight`.*Received: weight=-1"):
        LatentPGD(epsilon=0.1, step_size=0.1, steps=1, weight=-1)


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.0])
def test_squares_after_pgd_raise_the_loss_within_the_ball(network, problem, scale):
    x, y = problem
    options = {"epsilon": 0.1, "step_size": 0.05, "steps": 2}
    attack = SquarePGD(**options, queries=40)
    moved = attack(network, x, y, seed=SEED, scale=scale, steps=1)
    assert np.abs(moved - x).max() <= 0.1 * scale + 1e-6
    assert np.min(moved) >= 0
    assert np.max(moved) <= 1
    few = SquarePGD(**options, queries=1)(network, x, y, seed=SEED, scale=scale, steps=1)
    losses = [cross_entropy(network(images), y).numpy() for images in (few, moved)]
    assert (
        np.all(losses[1] >= losses[0] - 1e-5) if scale == 0 else losses[1].mean() > losses[0].mean()
    )


def test_squares_find_what_pgd_cannot(network, problem):
    """A network whose gradient is 0."""

    def hidden(x, training=False):
        return network(tf.stop_gradient(tf.round(x * 64) / 64) + 0 * x, training=training)

    x, y = problem
    moved = SquarePGD(epsilon=0.2, step_size=0.05, steps=2, queries=60)(hidden, x, y, seed=SEED)
    plain = PGD(epsilon=0.2, step_size=0.05, steps=2)(hidden, x, y, seed=SEED)
    losses = [cross_entropy(hidden(images), y).numpy().mean() for images in (plain, moved)]
    assert losses[1] > losses[0]


@pytest.mark.parametrize("arguments", [{"queries": 0}, {"norm": L2()}])
def test_square_pgd_checks_its_arguments(arguments):
    with pytest.raises(ValueError, match=f"argument `{next(iter(arguments))}`"):
        SquarePGD(epsilon=0.1, step_size=0.1, steps=1, **arguments)


# -------------------------------------------------------------------------------------- in turn


@pytest.mark.parametrize(
    "seed", [SEED, pytest.param(tf.stack([tf.range(12), tf.range(12)], 1), marks=pytest.mark.slow)]
)
def test_attacks_in_turn_are_each_made_on_what_is_left(network, problem, seed):
    x, y = problem
    y = np.where(np.arange(12) < 2, (y + 1) % 4, y)  # two are misclassified as they are
    attacks = PGD(epsilon=0.08, step_size=0.04, steps=2), Square(epsilon=0.3, queries=30)
    in_turn = tf.function(InTurn(*attacks))(network, x, y[:, None], seed=seed)
    expected, fooled = x.copy(), ~classified(network(x), y).numpy()
    counts = [fooled.sum()]
    for index, attack in enumerate(attacks):
        left = np.flatnonzero(~fooled)
        own = draws.fold_in(seed, index)
        own = tf.gather(own, left) if seed.shape.rank == 2 else own
        expected[left] = attack(network, x[left], y[left], seed=own)
        fooled = ~classified(network(expected), y).numpy()
        counts.append(fooled.sum())
    assert 2 <= counts[0] < counts[1] < counts[2] < 12
    np.testing.assert_allclose(in_turn, expected, atol=1e-6)


def test_where_nothing_is_left_no_attack_is_made(network, problem):
    x, y = problem
    wrong = (y + 1) % 4
    attack = InTurn(PGD(epsilon=0.1, step_size=0.1, steps=1), Square(epsilon=0.1, queries=5))
    np.testing.assert_array_equal(attack(network, x, wrong, seed=SEED), x)
    assert repr(attack).startswith("InTurn(PGD(epsilon=0.1")
    with pytest.raises(ValueError, match="at least one attack"):
        InTurn()
