"""Attacks: what they promise about every result, and how strong they are."""

import itertools
import subprocess
import sys

import hypothesis
import hypothesis.strategies as st
import keras
import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf

from anp_tf.attacks import APGD, FGSM, PGD, SquarePGD, draws, input_gradient
from anp_tf.losses import cross_entropy

CLASSES = 3


def linear_network(weights):
    """A network without Keras: any function of pixels and `training`."""
    weights = tf.convert_to_tensor(weights)

    def network(x, training):
        assert not training
        flat = tf.reshape(x, [tf.shape(x)[0], -1])
        return flat @ tf.cast(weights, flat.dtype)

    return network


def problem(shape=(4, 5), classes=CLASSES, dtype=np.float32, seed=0):
    """Pixels, among them exact 0 and 1, labels and the weights of a linear network."""
    rng = np.random.default_rng(seed)
    x = rng.random(shape)
    x[rng.random(shape) < 0.1] = 0.0
    x[rng.random(shape) < 0.1] = 1.0
    y = rng.integers(0, classes, shape[0])
    weights = rng.normal(size=(int(np.prod(shape[1:])), classes)).astype(np.float32)
    return x.astype(dtype), y, weights


SMALL = {"epsilon": 0.1, "step_size": 0.03, "steps": 5}


# The promise: in the ball and in [0, 1].


@hypothesis.settings(max_examples=50, deadline=None, derandomize=True)
@hypothesis.given(
    epsilon=st.one_of(st.sampled_from([1e-6, 0.3, 1.0]), st.floats(1e-6, 1)),
    step_size=st.one_of(st.sampled_from([1e-6, 0.01, 5.0]), st.floats(1e-6, 2)),
    steps=st.integers(1, 4),
    shape=st.sampled_from([(1, 1), (3, 5), (2, 4, 4, 1), (2, 3, 2, 3)]),
    dtype=st.sampled_from(["float16", "bfloat16", "float32", "float64"]),
    scale=st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1)),
    random_start=st.booleans(),
    restarts=st.integers(1, 2),
    seed=st.integers(0, 2**31 - 1),
)
def test_result_is_in_the_ball_and_has_valid_pixels(
    epsilon, step_size, steps, shape, dtype, scale, random_start, restarts, seed
):
    attack = PGD(
        epsilon=epsilon,
        step_size=step_size,
        steps=steps,
        random_start=random_start,
        restarts=restarts,
    )
    x, y, weights = problem(shape, seed=seed % 7)
    x = tf.cast(x, dtype)
    result = attack(linear_network(weights), x, y, seed=[seed, 1], scale=scale)
    assert (result.dtype, result.shape) == (x.dtype, x.shape)
    result, x = (np.asarray(tf.cast(t, tf.float64)) for t in (result, x))
    rounding = 2**-52 if dtype == "float64" else 2**-23  # half precision is rounded toward `x`
    assert np.abs(result - x).max() <= epsilon * scale + rounding
    assert result.min() >= 0.0
    assert result.max() <= 1.0


@pytest.mark.parametrize(
    ("attack", "scale"),
    [
        pytest.param(PGD(epsilon=0.3, step_size=0.1, steps=3, restarts=2), 0.0, id="scale"),
        pytest.param(FGSM(epsilon=0.3), 0.0, id="FGSM"),
    ],
)
def test_a_ball_of_radius_zero_is_the_image(attack, scale):
    x, y, weights = problem()
    np.testing.assert_array_equal(attack(linear_network(weights), x, y, scale=scale), x)


# Strength.


def by_hand(x, y, weights):
    """Cross-entropy's gradient of a linear network, in float64."""
    x = x.reshape(len(x), -1).astype(np.float64)
    probabilities = scipy.special.softmax(x @ weights, axis=-1)
    return (probabilities - np.eye(weights.shape[1])[y]) @ weights.T.astype(np.float64)


@pytest.mark.parametrize("kind", [PGD, APGD])
@pytest.mark.parametrize("pixels", ["float16", "float32"])
def test_a_network_in_float16_is_attacked_where_it_is_sure(kind, pixels):
    """The gradient of its loss is below the least number of float16; float32 has it."""
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(16, 3))
    x, y = tf.constant(rng.random((20, 16)), pixels), np.arange(20) % 3

    def network(dtype):
        def logits(x, training=False):
            lead = 25 * tf.one_hot(0 if len(x) == 1 else y, 3)
            return tf.cast(tf.cast(x, dtype) @ tf.cast(weights, dtype), tf.float32) + lead

        return logits

    assert np.mean(input_gradient(network("float16"), x, y) == 0) > 0.9
    options = {"step_size": 0.05, "random_start": False} if kind is PGD else {}
    attack = kind(epsilon=0.1, steps=10, **options)
    moved, expected = (attack(network(d), x, y, seed=[0, 1]) for d in ("float16", "float32"))
    assert np.mean(np.abs(moved - expected) < 1e-3) > 0.95


@pytest.mark.parametrize("kind", [PGD, APGD, SquarePGD])
def test_a_network_is_attacked_however_sure_it_is(kind):
    """The gradient of the cross-entropy is 0 in float32; that of the log-odds is as it was."""
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(16, 3)).astype("float32")
    x, y = tf.constant(rng.random((20, 4, 4, 1)), tf.float32), np.arange(20) % 3

    def network(lead):
        def logits(x, training=False):
            lead_of_label = lead * tf.one_hot(0 if len(x) == 1 else y, 3)
            return tf.reshape(x, [-1, 16]) @ weights + lead_of_label

        return logits

    assert np.all(input_gradient(network(500), x, y) == 0)
    options = {} if kind is APGD else {"step_size": 0.05, "random_start": False}
    attack = kind(epsilon=0.1, steps=10, **options)
    moved, expected = (attack(network(lead), x, y, seed=[0, 1]) for lead in (500, 30))
    assert np.abs(expected - x).max() > 0.09
    np.testing.assert_allclose(moved, expected, atol=1e-3)


@pytest.fixture
def optimized_graphs():
    """TensorFlow's optimizer of graphs, which tests are run without, as it is for users."""
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})
    yield
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


@pytest.mark.parametrize("lead", [50, 80, 200])
def test_slopes_of_a_loss_that_is_0_or_nearly_so(optimized_graphs, lead):
    """In a graph a slope's power of 2 may be multiplied by the network's factors first."""
    weights = np.random.default_rng(0).normal(size=(6, 3)).astype("float32")
    x, y = tf.constant(np.random.default_rng(1).random((8, 6)), tf.float32), np.zeros(8, "int64")

    def network(x, training=False):
        return tf.add(tf.nn.relu(x @ weights), [lead / 1000, 0.0, 0.0]) * 1000

    def loss(logits, y):
        return tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits)

    attack = PGD(epsilon=0.1, step_size=0.05, steps=3, loss=loss)
    moved = tf.function(lambda x, y: attack(network, x, y, seed=[0, 1]), autograph=False)(x, y)
    assert np.abs(moved - x).max() <= 0.1 + 1e-6


@pytest.mark.parametrize("shape", [(8, 6), (8, 4, 4, 1)])
def test_input_gradient_by_hand(shape):
    x, y, weights = problem(shape)
    expected = by_hand(x, y, weights).reshape(shape)
    actual = input_gradient(linear_network(weights), tf.constant(x), y)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("epsilon", [0.01, 0.3, 1.0])
@pytest.mark.parametrize("shape", [(8, 6), (8, 4, 4, 1)])
def test_fgsm_by_hand(epsilon, shape):
    x, y, weights = problem(shape)
    signs = np.sign(by_hand(x, y, weights)).reshape(shape)
    expected = np.clip(x + epsilon * signs, 0, 1)
    actual = FGSM(epsilon=epsilon)(linear_network(weights), x, y)
    np.testing.assert_allclose(actual, expected, atol=1e-6)


@pytest.mark.parametrize("random_start", [False, True])
@pytest.mark.parametrize("step_size", [0.05, 0.3])
def test_pgd_steps_by_hand(random_start, step_size):
    """Three steps in NumPy from the same start; overshooting is projected after each step."""
    x, y, weights = problem((8, 6))
    network = linear_network(weights)

    def run(steps):
        attack = PGD(epsilon=0.1, step_size=step_size, steps=steps, random_start=random_start)
        return np.array(attack(network, x, y, seed=[1, 2]))

    current = run(1)
    for steps in (2, 3):
        moved = current + step_size * np.sign(by_hand(current, y, weights))
        current = np.clip(np.clip(moved, x - 0.1, x + 0.1), 0, 1)
        np.testing.assert_allclose(run(steps), current, atol=1e-6)


def test_random_start_fills_the_ball():
    """With steps of no length, the result is the start: uniform in the ball, clipped."""
    x = np.full((50, 200), 0.5, np.float32)
    weights = np.ones((200, 2), np.float32)
    attack = PGD(epsilon=0.2, step_size=1e-12, steps=1)
    noise = (np.array(attack(linear_network(weights), x, np.zeros(50, int))) - x) / 0.2
    assert scipy.stats.kstest(noise.ravel(), "uniform", (-1, 2)).pvalue > 1e-3
    assert np.abs(np.corrcoef(noise[0], noise[1])[0, 1]) < 0.3


@pytest.mark.parametrize("restarts", [1, 3])
def test_pgd_reaches_the_optimum_of_a_linear_network(restarts):
    """With two classes the loss is monotone along w, so the optimum is a corner."""
    x, y, weights = problem((8, 6), classes=2)
    towards = np.where(y[:, np.newaxis] == 0, 1, -1) * np.sign(weights[:, 1] - weights[:, 0])
    expected = np.clip(x + 0.1 * towards, 0, 1)
    attack = PGD(epsilon=0.1, step_size=0.021, steps=10, restarts=restarts)
    np.testing.assert_allclose(attack(linear_network(weights), x, y), expected, atol=1e-6)


@pytest.fixture(scope="module")
def trained():
    """A small trained network, with images of smooth shapes and their labels."""
    keras.utils.set_random_seed(1)
    rng = np.random.default_rng(1)
    grid = np.linspace(-1, 1, 8)
    y = rng.integers(0, 4, 512)
    angle = y * np.pi / 4 + rng.normal(0, 0.15, 512)
    waves = np.cos(angle)[:, None, None] * grid[:, None] + np.sin(angle)[:, None, None] * grid
    phase = rng.uniform(-0.5, 0.5, (512, 1, 1))
    x = 0.5 + 0.35 * np.sin(4 * waves + phase) + rng.normal(0, 0.05, (512, 8, 8))
    x = np.clip(x, 0, 1)[..., np.newaxis].astype(np.float32)
    network = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(8, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.Dense(4),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.Adam(1e-2), loss, metrics=["accuracy"], jit_compile=False)
    network.fit(x, y, epochs=10, verbose=0)
    assert network.evaluate(x, y, verbose=0)[1] > 0.9
    return network, x[:128], y[:128]


def losses_of(trained, attack, seed=(1, 2)):
    network, x, y = trained
    adversarial = attack(network, x, y, seed=seed)
    return np.array(cross_entropy(network(adversarial), y))


@pytest.mark.slow
def test_more_steps_are_not_weaker(trained):
    network, x, y = trained
    means = [np.mean(cross_entropy(network(x), y))]
    means += [
        losses_of(trained, PGD(epsilon=0.1, step_size=0.02, steps=steps)).mean()
        for steps in (1, 3, 6, 12, 24)
    ]
    assert means[-1] > 2 * means[0]
    assert np.all(np.diff(means) > -0.01 * means[-1]), means


def test_a_run_that_fools_the_network_is_kept():
    """With many classes the cross-entropy can be higher where the label is still ahead."""
    random = np.random.default_rng(0)
    weights = [random.normal(size=shape).astype(np.float32) for shape in ((6, 16), (16, 60))]

    def network(x, training=False):
        return 2 * tf.nn.relu(x @ weights[0]) @ weights[1]

    x = random.random((200, 6)).astype(np.float32)
    y = np.argmax(network(x), -1)
    seed = tf.constant([1, 2])
    options = {"epsilon": 0.02, "step_size": 0.02, "steps": 2}
    fooled = np.zeros(200, bool)
    for index in range(8):
        own = draws.fold_in(seed, index)
        run = PGD(**options)._run(network, tf.constant(x), y, own, 1.0, 2, 0.02, None)
        fooled |= np.argmax(network(run), -1) != y
    kept = PGD(**options, restarts=8)(network, x, y, seed=seed)
    np.testing.assert_array_equal(np.argmax(network(kept), -1) != y, fooled)
    assert 0 < fooled.sum() < 200


def test_more_restarts_are_not_weaker(trained):
    by_restarts = [
        losses_of(trained, PGD(epsilon=0.1, step_size=0.03, steps=3, restarts=restarts))
        for restarts in (1, 2, 4, 8)
    ]
    means = [losses.mean() for losses in by_restarts]
    assert np.all(np.diff(means) >= 0), means
    assert means[-1] > means[0]


def test_restarts_keep_the_worst_of_each_example(trained):
    """The first of several runs is the run without restarts; no example does better than it."""
    alone, *_ = by_restarts = [
        losses_of(trained, PGD(epsilon=0.1, step_size=0.03, steps=2, restarts=restarts))
        for restarts in (1, 2, 3)
    ]
    for fewer, more in itertools.pairwise(by_restarts):
        assert np.all(more >= fewer - 1e-5)
        assert np.any(more > fewer + 1e-3)
    assert np.any(by_restarts[-1] == alone)


def test_custom_loss():
    x, y, weights = problem((8, 6))

    def towards_class_2(logits, y):
        return logits[:, 2]

    attack = PGD(epsilon=0.1, step_size=0.03, steps=7, loss=towards_class_2)
    result = attack(linear_network(weights), x, y)
    expected = np.clip(x + 0.1 * np.sign(weights[:, 2]), 0, 1)
    np.testing.assert_allclose(result, expected, atol=1e-6)
    fgsm = FGSM(epsilon=0.1, loss=towards_class_2)(linear_network(weights), x, None)
    np.testing.assert_allclose(fgsm, expected, atol=1e-6)


# Randomness.


def test_other_numbers_of_steps_cover_the_same_way(trained):
    network, x, y = trained[:3]
    seed = tf.constant([1, 2])
    attack = PGD(epsilon=0.2, step_size=0.05, steps=4)
    finer = PGD(epsilon=0.2, step_size=0.02, steps=10)
    expected = finer(network, x, y, seed=seed)
    actual = attack(network, x, y, seed=seed, steps=tf.constant(10))
    np.testing.assert_allclose(actual, expected, atol=1e-6)
    assert np.abs(expected - attack(network, x, y, seed=seed)).max() > 0.01


def test_changes_at_the_call_are_those_of_another_attack(trained):
    network, x, y = trained[:3]
    seed = tf.constant([1, 2])
    expected = PGD(epsilon=0.15, step_size=0.03, steps=6)(network, x, y, seed=seed)
    change = {"scale": 1.5, "steps": tf.constant(6), "step_size": 0.02}
    actual = PGD(epsilon=0.1, step_size=0.05, steps=4)(network, x, y, seed=seed, **change)
    np.testing.assert_allclose(actual, expected, atol=1e-6)


def test_seeds():
    x, y, weights = problem()
    attack, network = PGD(**SMALL), linear_network(weights)

    def run(**kwargs):
        return np.array(attack(network, x, y, **kwargs))

    np.testing.assert_array_equal(run(seed=[1, 2]), run(seed=tf.constant([1, 2])))
    assert np.any(run(seed=[1, 2]) != run(seed=[1, 3]))
    assert np.any(run() != run())


# Where it runs.


def test_keras_and_plain_functions_give_the_same(trained):
    network, x, y = trained

    def plain(pixels, training):
        return network(pixels, training=training)

    attack = PGD(**SMALL)
    expected = attack(network, x, y, seed=[1, 2])
    np.testing.assert_array_equal(attack(plain, x, y, seed=[1, 2]), expected)


@pytest.mark.parametrize("label_dtype", [np.int32, np.int64])
@pytest.mark.parametrize("attack", [PGD(**SMALL), PGD(**SMALL, restarts=3), FGSM(epsilon=0.1)])
def test_eagerly_and_in_a_function(trained, attack, label_dtype):
    network, x, y = trained
    x, y = x[:16], y[:16].astype(label_dtype)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 8, 8, 1]),
            tf.TensorSpec([None], label_dtype),
            tf.TensorSpec([2], tf.int32),
        ]
    )
    def function(x, y, seed):
        return attack(network, x, y, seed=seed)

    expected = attack(network, x, y, seed=[1, 2])
    np.testing.assert_allclose(function(x, y, [1, 2]), expected, atol=1e-6)
    assert function(x[:3], y[:3], [1, 2]).shape == (3, 8, 8, 1)


def test_network_is_in_inference_mode(trained):
    """Dropout would make the gradient random, and batch statistics would leak between images."""
    _, x, y = trained
    keras.utils.set_random_seed(0)
    parts = [keras.layers.Flatten(), keras.layers.BatchNormalization(), keras.layers.Dropout(0.5)]
    network = keras.Sequential([keras.Input((8, 8, 1)), *parts, keras.layers.Dense(4)])
    before = network.get_weights()
    first, second = (PGD(**SMALL)(network, x, y, seed=[1, 2]) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    for value, expected in zip(network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, expected)


@pytest.mark.slow
def test_two_replicas():
    script = """if True:
        import numpy as np
        import tensorflow as tf
        (cpu,) = tf.config.list_physical_devices("CPU")
        halves = 2 * [tf.config.LogicalDeviceConfiguration()]
        tf.config.set_logical_device_configuration(cpu, halves)
        from anp_tf.attacks import PGD
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
        with strategy.scope():
            weights = tf.Variable(tf.random.stateless_normal([6, 3], [1, 2]))
        network = lambda x, training: x @ weights
        x = np.random.default_rng(0).random((8, 6), np.float32)
        y = np.arange(8) % 3
        attack = PGD(epsilon=0.1, step_size=0.03, steps=3, restarts=2)
        data = tf.data.Dataset.from_tensor_slices((x, y)).batch(8)
        (batch,) = strategy.experimental_distribute_dataset(data)

        @tf.function
        def run(batch):
            return strategy.run(lambda x, y: attack(network, x, y, seed=[1, 2]), batch)

        halves = strategy.experimental_local_results(run(batch))
        assert len(halves) == 2
        for start, half in zip((0, 4), halves):
            rows = slice(start, start + 4)
            alone = attack(network, x[rows], y[rows], seed=[1, 2])
            np.testing.assert_allclose(half, alone, atol=1e-6)
    """
    subprocess.run([sys.executable, "-c", script], check=True)


# No gradient of a weight.


@pytest.mark.parametrize("traced", [False, True])
def test_no_gradient_of_a_weight_is_computed(traced):
    computed = []

    @tf.custom_gradient
    def guarded(weights):
        def gradient(upstream):
            computed.append("weights")
            return upstream

        return tf.identity(weights), gradient

    x, y, weights = problem()
    weights = tf.Variable(weights)

    def network(pixels, training):
        return pixels @ guarded(weights)

    attack = PGD(**SMALL, restarts=2)
    if traced:
        attack = tf.function(attack)
    attack(network, tf.constant(x), tf.constant(y))
    assert computed == []
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(network(x, training=False))
    tape.gradient(loss, weights)
    assert computed == ["weights"]  # the guard works


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("restarts", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_outer_tape_sees_a_constant(traced, restarts):
    x, y, start = problem()
    weights = tf.Variable(start)

    def network(pixels, training):
        return pixels @ weights

    attack = PGD(**SMALL, restarts=restarts)

    def gradients(x):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(x)
            adversarial = attack(network, x, y, seed=[1, 2])
            loss = tf.reduce_mean(cross_entropy(network(adversarial, training=True), y))
        assert tape.gradient(adversarial, weights) is None
        assert tape.gradient(adversarial, x) is None
        return adversarial, tape.gradient(loss, weights)

    if traced:
        gradients = tf.function(gradients)
    adversarial, gradient = gradients(tf.constant(x))
    constant = np.array(adversarial, np.float64)
    errors = scipy.special.softmax(constant @ start, axis=-1) - np.eye(CLASSES)[y]
    np.testing.assert_allclose(gradient, constant.T @ errors / len(x), rtol=1e-4, atol=1e-6)


# Errors.


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("pixel", [float("nan"), float("inf"), -0.01, 1.01, 255.0])
def test_invalid_pixels(pixel, traced):
    x, y, weights = problem()
    x[1, 2] = pixel
    network = linear_network(weights)

    def attack(x):
        return PGD(**SMALL)(network, x, y)

    with pytest.raises(tf.errors.InvalidArgumentError, match=r"finite pixels in \[0, 1\]"):
        (tf.function(attack) if traced else attack)(tf.constant(x))


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("weight", [float("nan"), float("inf")])
def test_network_that_is_not_finite(weight, traced):
    x, y, weights = problem()
    weights[0, 0] = weight
    network = linear_network(weights)

    def attack(x):
        return PGD(**SMALL)(network, x, y)

    with pytest.raises(tf.errors.InvalidArgumentError, match="no finite gradient"):
        (tf.function(attack) if traced else attack)(tf.constant(x))


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("epsilon", -0.1),
        ("epsilon", 0.0),
        ("epsilon", 1.1),
        ("epsilon", 8),
        ("epsilon", float("nan")),
        ("epsilon", None),
        ("step_size", 0),
        ("step_size", -0.01),
        ("step_size", float("nan")),
        ("step_size", float("inf")),
        ("steps", 0),
        ("steps", 2.5),
        ("restarts", 0),
        ("restarts", 1.5),
    ],
)
def test_invalid_arguments(argument, value):
    with pytest.raises(ValueError, match=f"argument `{argument}`.*Received: {argument}={value}"):
        PGD(**{**SMALL, argument: value})


@pytest.mark.parametrize("epsilon", [-0.1, 0.0, 1.1])
def test_invalid_arguments_of_fgsm(epsilon):
    with pytest.raises(ValueError, match="argument `epsilon`"):
        FGSM(epsilon=epsilon)


def test_arguments_are_keyword_only():
    with pytest.raises(TypeError, match="positional"):
        PGD(0.3, 0.01, 40)
