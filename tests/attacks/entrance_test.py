"""What every attack asks of labels, pixels, radii and networks."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from anp_tf.attacks import (
    APGD,
    FGSM,
    L2,
    PGD,
    LatentPGD,
    Noise,
    Square,
    SquarePGD,
    TargetedAPGD,
    TargetedFAB,
    TradesPGD,
)
from anp_tf.losses import classified

STEPS = {"step_size": 0.1, "steps": 2}
KINDS = {
    FGSM: {},
    PGD: STEPS,
    SquarePGD: {**STEPS, "queries": 2},
    LatentPGD: STEPS,
    APGD: {"steps": 2},
    TargetedAPGD: {"steps": 2},
    TargetedFAB: {"steps": 2},
    Square: {"queries": 3},
}
ATTACKS = {kind.__name__: kind(epsilon=0.3, **options) for kind, options in KINDS.items()}
X = np.random.default_rng(0).random((6, 8, 8, 1)).astype(np.float32)


def build(dtype="float32", classes=4):
    keras.utils.set_random_seed(2)
    flat = [keras.layers.Flatten(dtype=dtype), keras.layers.Dense(8, "relu", dtype=dtype)]
    last = keras.layers.Dense(classes, dtype=dtype)
    return keras.Sequential([keras.Input((8, 8, 1)), *flat, last])


@pytest.fixture(scope="module")
def network():
    return build()


@pytest.fixture(scope="module")
def y(network):
    return np.argmax(network(X), -1)


@pytest.mark.parametrize("name", ATTACKS)
def test_labels(network, y, name):
    attack = ATTACKS[name]
    expected = attack(network, X, y, seed=[1, 2])
    for labels in (y.astype(np.uint8), y.astype(np.int16)[:, None]):
        np.testing.assert_array_equal(attack(network, X, labels, seed=[1, 2]), expected)
    for labels in (np.eye(4, dtype=int)[y], y.astype(float), y[:5]):
        with pytest.raises(ValueError, match="`y` must be one integer label for each image"):
            attack(network, X, labels)
    for images, labels in ((X, y + 4), (X, y - 4), (X[:1], y[:1] + 4)):
        with pytest.raises(tf.errors.InvalidArgumentError, match="integers from 0 to 3"):
            attack(network, images, labels)


@pytest.mark.parametrize("name", ATTACKS)
def test_pixels_are_floats_in_0_1(network, y, name):
    with pytest.raises(ValueError, match=r"must be pixels in .* as floats"):
        ATTACKS[name](network, (X > 0.5).astype(int), y)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"pixels in \[0, 1\]"):
        ATTACKS[name](network, 255 * X, y)


@pytest.mark.parametrize("kind", [*KINDS, Noise, TradesPGD])
def test_radii(kind):
    options = {**KINDS, Noise: {}, TradesPGD: STEPS}[kind]
    for epsilon in (0, -0.1, 8, float("nan")):
        with pytest.raises(ValueError, match=r"`epsilon`. Expected a number in \(0, 1\]"):
            kind(epsilon=epsilon, **options)
    if kind not in (SquarePGD, TradesPGD):
        assert kind(epsilon=8, norm=L2(), **options).epsilon == 8


@pytest.mark.parametrize("name", ["PGD", "APGD", "Square", "TargetedFAB"])
@pytest.mark.parametrize(
    ("change", "received"),
    [
        (lambda z: [z, z], "a list of 2"),
        (lambda z: {"logits": z}, "a dict of 1"),
        (lambda z: z[:, :1], r"float32 of shape \(\d, 1\)"),
        (lambda z: z[:, None], r"float32 of shape \(\d, 1, 4\)"),
        (lambda z: tf.cast(z, tf.int32), "int32 of shape"),
    ],
)
def test_networks_that_return_no_logits(network, y, name, change, received):
    with pytest.raises(ValueError, match=f"2 at least. Received: {received}"):
        ATTACKS[name](lambda pixels, training: change(network(pixels)), X, y)


def test_a_sigmoid_is_no_logits(y):
    with pytest.raises(ValueError, match="of a known number of classes, 2 at least"):
        ATTACKS["PGD"](build(classes=1), X, 0 * y)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ATTACKS)
def test_half_precision(y, name, dtype):
    network = build(f"mixed_{dtype}" if name == "LatentPGD" else dtype)
    moved = np.asarray(ATTACKS[name](network, X, y, seed=[1, 2]))
    assert moved.dtype == np.float32
    assert np.abs(moved - X).max() <= 0.3 + 1e-6
    assert np.any(moved != X)


@pytest.mark.parametrize("change", ["scaled", "shifted", "equal", "nan"])
def test_square_stops_by_the_one_definition(network, y, change):
    """What small, large or equal logits hide from a tolerance they do not hide from the search."""
    changed = {
        "scaled": lambda z: z * 1e-6,
        "shifted": lambda z: z + 1e3,
        "equal": lambda z: 0 * z,
        "nan": lambda z: z * float("nan"),
    }[change]

    def other(pixels, training=False):
        return changed(network(pixels))

    square = Square(epsilon=0.5, queries=100)
    moved = tf.function(lambda: square(other, X, y, seed=[1, 2]))()
    assert not np.any(classified(other(moved), y))


def test_channels_first(network, y):
    first = np.transpose(X, [0, 3, 1, 2])

    def other(pixels, training=False):
        return network(tf.transpose(pixels, [0, 2, 3, 1]))

    with pytest.raises(ValueError, match=r"of which 8 are too many.*channels_first=True"):
        Square(epsilon=0.1, queries=5)(other, first, y)
    attack = Square(epsilon=0.1, queries=5, channels_first=True)
    expected = Square(epsilon=0.1, queries=5)(network, X, y, seed=[1, 2])
    moved = attack(other, first, y, seed=[1, 2])
    np.testing.assert_allclose(np.transpose(moved, [0, 2, 3, 1]), expected, atol=1e-6)


def test_restarts_of_square_are_not_weaker(network, y):
    one, four = (
        np.mean(
            classified(
                network(
                    Square(epsilon=0.06, queries=5, restarts=count)(network, X, y, seed=[1, 2])
                ),
                y,
            )
        )
        for count in (1, 4)
    )
    assert four <= one


@pytest.mark.parametrize("seed", [0, [1], [[1, 2, 3]]])
def test_seeds_of_another_shape_are_refused(seed):
    with pytest.raises(ValueError, match=r"`seed` must be integers \[2\], or \[batch, 2\]"):
        ATTACKS["PGD"](build(), X, np.zeros(6, int), seed=seed)


def test_half_precision_in_l2_moves_images_of_many_values():
    """Their squared lengths are beyond float16."""
    x = tf.fill([1, 300, 240, 1], tf.constant(0.5, tf.float16))

    def network(x, training=False):
        total = tf.reduce_mean(tf.cast(x, tf.float32), [1, 2, 3])
        return tf.stack([total, -total], -1)

    attack = PGD(epsilon=5, step_size=5, steps=1, random_start=False, norm=L2())
    moved = attack(network, x, [0])
    length = np.linalg.norm(np.asarray(moved, np.float64) - 0.5)
    assert 4 < length <= 5


def test_an_l2_start_of_images_of_any_size():
    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 1])])
    def moved(x):
        def network(x, training=False):
            total = tf.reduce_sum(x, [1, 2, 3])
            return tf.stack([total, -total], -1)

        return PGD(epsilon=1, norm=L2(), **STEPS)(network, x, tf.zeros(6, tf.int64), seed=[0, 1])

    lengths = np.linalg.norm((moved(X) - X).numpy().reshape(6, -1), axis=1)
    assert np.all((lengths > 0) & (lengths <= 1 + 1e-5))


def test_rows_have_no_squares():
    with pytest.raises(ValueError, match=r"needs images \[batch, height, width, channels\]"):
        ATTACKS["SquarePGD"](build(), X[..., 0, 0], np.zeros(6, int))
