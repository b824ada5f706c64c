import functools

import hypothesis
import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from anp_tf import bounds
from anp_tf.bounds import activations
from anp_tf.layers import (
    BayesDense,
    BetaBernoulliDropout,
    FusedBatchNormalization,
    LogNormalDropout,
    UnitMask,
    given_masks,
    mask_layers,
)

L = keras.layers
IMAGE = (6, 6, 2)


def network_of(shape, *layers):
    """A network of layers, the last of them dense, with random weights."""
    pixels = x = keras.Input(shape)
    for layer in layers:
        x = layer(x)
    if len(x.shape) > 2:
        x = L.Flatten()(x)
    return randomised(keras.Model(pixels, L.Dense(3)(x)))


def randomised(network, seed=0):
    random = np.random.default_rng(seed)
    for weight in network.weights:
        if weight.dtype != "float32" or weight.name in ("kept", "a_u", "b_u"):
            continue
        values = random.normal(0, 1 / np.sqrt(max(1, np.prod(weight.shape[:-1]))), weight.shape)
        if "variance" in weight.name:
            values = random.uniform(0.5, 2.0, weight.shape)
        weight.assign(values)
    return network


def conv(**kwargs):
    return L.Conv2D(3, 3, **kwargs)


CHAINS = {  # without branches, of layers that are affine, ReLUs and max-pooling
    "dense": lambda: ((5,), L.Dense(6), L.ReLU(), L.Dense(5), L.ReLU()),
    "conv": lambda: (IMAGE, conv(strides=2, padding="same"), L.ReLU(), conv(padding="same")),
    "conv1d": lambda: ((7, 2), L.Conv1D(3, 3, dilation_rate=2), L.ReLU(), L.Conv1D(2, 2)),
    "depthwise": lambda: (IMAGE, L.DepthwiseConv2D(3, depth_multiplier=2), L.ReLU()),
    "separable": lambda: (IMAGE, L.SeparableConv2D(3, 3), L.ReLU()),
    "transposed": lambda: (IMAGE, L.Conv2DTranspose(2, 3, strides=2, padding="same"), L.ReLU()),
    "max_pooling": lambda: (IMAGE, conv(), L.ReLU(), L.MaxPooling2D(2)),
    "max_first": lambda: (IMAGE, conv(), L.MaxPooling2D(2, strides=1), L.ReLU()),
    "max_same": lambda: (IMAGE, conv(), L.MaxPooling2D(3, 2, padding="same"), L.ReLU()),
    "global_max": lambda: (IMAGE, conv(), L.ReLU(), L.GlobalMaxPooling2D()),
    "average": lambda: (IMAGE, conv(), L.ReLU(), L.AveragePooling2D(3, 2, padding="same")),
    "global_average": lambda: (IMAGE, conv(), L.ReLU(), L.GlobalAveragePooling2D()),
    "batch_norm": lambda: (IMAGE, conv(), L.BatchNormalization(), L.ReLU(), L.Dropout(0.5)),
    "fused": lambda: (IMAGE, conv(), FusedBatchNormalization(scale=False), L.ReLU()),
    "rescaling": lambda: (IMAGE, L.Rescaling(4.0, -2.0), conv(), L.ReLU(), L.Rescaling(-0.5)),
    "normalization": lambda: (
        IMAGE,
        L.Normalization(mean=[0.5, 0.4], variance=[0.1, 0.2]),
        conv(),
        L.ReLU(),
    ),
    "beta_mask": lambda: (IMAGE, conv(), BetaBernoulliDropout(initial_a=2.0), L.ReLU()),
    "normal_mask": lambda: (IMAGE, conv(), L.ReLU(), L.Flatten(), LogNormalDropout()),
    "unit_mask": lambda: ((5,), L.Dense(6), UnitMask(), L.ReLU()),
    "shapes": lambda: (
        IMAGE,
        L.ZeroPadding2D(1),
        conv(),
        L.ReLU(),
        L.Cropping2D(((1, 0), (0, 2))),
        L.UpSampling2D(2),
        L.Permute((3, 1, 2)),
        L.Reshape((-1, 5)),
    ),
    "bayes": lambda: ((5,), BayesDense(6), L.ReLU()),
    "together": lambda: (
        IMAGE,
        conv(),
        L.BatchNormalization(),
        BetaBernoulliDropout(initial_a=2.0),
        L.ReLU(),
        L.MaxPooling2D(2),
    ),
}


def branches():
    pixels = keras.Input((4, 4, 2))
    a, b = (conv(padding="same", activation=name)(pixels) for name in ("relu", "tanh"))
    x = L.Add()([a, b])
    x = L.Concatenate()([L.Subtract()([x, a]), L.Multiply()([a, b]), L.Maximum()([a, b])])
    inner = keras.Sequential([keras.Input((4, 4, 9)), conv(), L.LeakyReLU(0.1)])
    x = keras.ops.relu(inner(x) * 2.0 - 0.5) + 1.0
    x = L.Average()([L.GlobalAveragePooling2D()(x), L.GlobalMaxPooling2D()(x)])
    return randomised(keras.Model(pixels, L.Dense(3)(x)))


FUNCTIONS = sorted(name for name in activations.NAMES if hasattr(keras.activations, name))


def points_around(network, x, y, epsilon, count, seed=0):
    """Images in the balls: at random, at corners, and at the corners that a gradient points to."""
    random = np.random.default_rng(seed)
    moves = [random.uniform(-epsilon, epsilon, [count, *x.shape])]
    moves.append(epsilon * random.choice([-1.0, 1.0], moves[0].shape))
    for sign in (-1.0, 1.0):
        with tf.GradientTape() as tape:
            pixels = tf.constant(x)
            tape.watch(pixels)
            own = tf.gather(network(pixels, training=False), y, batch_dims=1)
        moves.append(sign * epsilon * np.sign(tape.gradient(own, pixels))[None])
    return np.clip(x + np.concatenate(moves), 0, 1).astype(np.float32)


def check_inside(network, box, points):
    """Points [n, batch, ...] are within bounds, as float32 arithmetic has them: exactly."""
    for images in points.reshape(-1, 50 if len(points) % 50 == 0 else 1, *points.shape[1:]):
        flat = images.reshape(-1, *images.shape[2:])
        logits = np.asarray(network(flat, training=False), np.float64)
        logits = logits.reshape(*images.shape[:2], -1)
        assert np.all(logits >= box.lower)
        assert np.all(logits <= box.upper)


def check_all(network, shape, epsilon=0.1, count=99):
    x = np.random.default_rng(1).random([2, *shape]).astype(np.float32)
    y = np.array([0, 2])
    bounded = bounds.BoundedNetwork(network)
    interval = bounds.interval_bounds(bounded, x, epsilon)
    compiled = tf.function(
        lambda x: bounds.crown_bounds(bounded, x, epsilon, rows=40), autograph=False
    )
    crown = compiled(x)
    alpha = bounds.alpha_crown_bounds(bounded, x, epsilon, rows=500, steps=3)
    points = points_around(network, x, y, epsilon, count)
    for box in (interval, crown, alpha):
        check_inside(network, box, points)
    for outer, inner in ((interval, crown), (crown, alpha)):
        assert np.all(inner.lower >= outer.lower - 1e-9)
        assert np.all(inner.upper <= outer.upper + 1e-9)
    return x, interval


QUICK = ("dense", "together")


@pytest.mark.parametrize(
    "name",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in CHAINS],
)
def test_bounds_of_each_layer_are_those_of_numpy(name, oracle):
    shape, *layers = CHAINS[name]()
    network = network_of(shape, *layers)
    x, interval = check_all(network, shape)
    steps = oracle.steps_of(network)
    crown = bounds.crown_bounds(network, x, 0.1, intermediate="interval")
    margins = bounds.interval_margins(network, x, [0, 2], 0.1)
    for index, (image, label) in enumerate(zip(x.astype(np.float64), (0, 2), strict=True)):
        box = (side.ravel() for side in (np.maximum(image - 0.1, 0), np.minimum(image + 0.1, 1)))
        expected = oracle.ibp(steps, *box)
        lower, upper = expected[-1]
        np.testing.assert_allclose(interval.lower[index], lower, rtol=1e-4, atol=5e-4)
        np.testing.assert_allclose(interval.upper[index], upper, rtol=1e-4, atol=5e-4)
        below = oracle.crown(steps, expected, np.eye(3))
        above = -oracle.crown(steps, expected, -np.eye(3))
        np.testing.assert_allclose(
            crown.lower[index], np.maximum(below, lower), rtol=1e-4, atol=5e-4
        )
        np.testing.assert_allclose(
            crown.upper[index], np.minimum(above, upper), rtol=1e-4, atol=5e-4
        )
        assert np.all(margins[index] <= upper - lower[label] + 1e-3)


@pytest.mark.slow
def test_branches_products_and_operations():
    check_all(branches(), (4, 4, 2))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_activations(name):
    function = getattr(keras.activations, name)
    check_lines(activations.of_function(function), function)
    rule = activations.of_function(function)
    x = np.concatenate([np.linspace(-30, 30, 20001), np.linspace(-1, 1, 2001)]).astype(np.float32)
    single, double = (
        np.asarray(function(tf.constant(x, t)), np.float64) for t in ("float32", "float64")
    )
    ulps = getattr(rule, "_ulps", 0)
    assert np.all(np.abs(single - double) <= ulps * 2.0**-24 * (1 + np.abs(x) + np.abs(double)))
    if getattr(rule, "_curvature", None) and not callable(rule._curvature):
        h = 1e-3
        x = np.linspace(-8, 8, 4001) + 1e-4
        second = np.asarray(function(x + h) - 2 * function(x) + function(x - h)) / h**2
        smooth = np.all([np.abs(x - kink) > 2 * h for kink in rule._kinks], axis=0)
        assert np.abs(second[..., smooth if rule._kinks else slice(None)]).max() <= rule._curvature


def check_lines(rule, function):
    """Bounds and lines of random intervals hold at points within, those of any slope too."""
    random = np.random.default_rng(0)
    sides = np.sort(random.normal(0, 1, [300, 2]) * random.choice([0.1, 1.0, 5.0], [300, 1]))
    box = bounds.Interval(*(tf.constant(side[:, None]) for side in sides.T))
    points = sides[:, :1] + (sides[:, 1:] - sides[:, :1]) * np.linspace(0, 1, 101)
    points = np.clip(points, sides[:, :1], sides[:, 1:])
    values = np.asarray(function(tf.constant(points)))
    output = rule.interval(2.0**-24, box)
    assert np.all((values >= output.lower) & (values <= output.upper))
    tight = np.min(values, 1) - np.asarray(output.lower)[:, 0]
    assert np.all(tight < 0.05 * (1 + np.abs(values).max(1)))
    learned = [tf.constant(random.normal(0, 1, [300, 1, 1])) for _ in rule.slopes(box)]
    for sign in (-1.0, 1.0):
        ones = tf.fill([300, 1, 1], tf.constant(sign, tf.float64))
        for slopes in (None, learned) if learned else (None,):
            (slope,), constant = rule.backward(2.0**-24, ones, [box], output, slopes)
            slope = 0.0 if slope is None else np.asarray(slope)[:, 0]
            gap = sign * values - slope * points - np.asarray(constant)
            assert np.all(gap >= 0)


@pytest.mark.slow
def test_other_activations():
    layers = [L.LeakyReLU(0.3), L.PReLU(), L.ELU(0.5), L.ReLU(0.6), L.ReLU(None, 0.1, 0.2)]
    wide = [layer for activation in layers for layer in (L.Dense(5), activation)]
    check_all(network_of((4,), *wide), (4,), 0.2)


def test_tiny_networks_against_all_their_activation_patterns(oracle):
    for seed in range(4):
        network = randomised(network_of((2,), L.Dense(4), L.ReLU()), seed)
        x = np.random.default_rng(seed).random([1, 2]).astype(np.float32)
        label = int(np.argmax(network(x)))
        for epsilon in (0.02, 0.3):
            exact = oracle.exact_margins(network, x[0].astype(np.float64), label, epsilon)
            margins = bounds.alpha_crown_margins(network, x, [label], epsilon, steps=4)[0]
            assert np.all(margins >= exact - 1e-6)
            assert not bounds.proved(margins[None], [label]) or max(np.delete(exact, label)) < 0
            box = oracle.ibp(oracle.steps_of(network), *oracle.edges(x[0], epsilon))[1]
            if np.all((box[0] >= 0) | (box[1] <= 0)):  # then it is linear in the ball
                np.testing.assert_allclose(margins, exact, atol=1e-4)


@hypothesis.settings(max_examples=3, deadline=None, derandomize=True)
@hypothesis.given(st.integers(0, 2**31), st.floats(0.001, 0.5))
def test_images_of_random_networks_are_within_bounds(seed, epsilon):
    check_random_network(seed, epsilon, 199)


@pytest.mark.slow
@hypothesis.settings(max_examples=200, deadline=None, derandomize=True)
@hypothesis.given(st.integers(0, 2**31), st.floats(0.001, 0.5))
def test_10000_images_of_each_of_200_random_networks_are_within_bounds(seed, epsilon):
    check_random_network(seed, epsilon, 4999)


def check_random_network(seed, epsilon, count):
    random = np.random.default_rng(seed)
    layers = [conv(padding="same"), L.BatchNormalization(), L.ReLU(), L.MaxPooling2D(2)]
    layers += [L.Flatten(), L.Dense(6, activation=str(random.choice(["relu", "tanh", "gelu"])))]
    network = randomised(network_of(IMAGE, *layers), seed)
    x = random.random([1, *IMAGE]).astype(np.float32)
    box = bounds.crown_bounds(network, x, epsilon)
    check_inside(network, box, points_around(network, x, [0], epsilon, count, seed))


def test_rounding_that_decides():
    """In real numbers class 0 wins by 0.5; in float32 1e8 x + y - 1e8 x is 0 and class 1 wins."""
    pixels = keras.Input((3,))
    logits = L.Dense(2)(pixels)
    network = keras.Model(pixels, logits)
    kernel = np.array([[1e8, 0.0], [1.0, 0.0], [-1e8, 0.0]])
    network.set_weights([kernel, np.array([0.0, 0.5])])
    x = np.array([[0.7, 1.0, 0.7]], np.float32)
    exact = x.astype(np.float64) @ kernel + [0.0, 0.5]
    assert exact[0, 0] > exact[0, 1] + 0.4
    orders = [
        np.float32([x[0, i] * kernel[i, 0] for i in order]) for order in ((0, 1, 2), (0, 2, 1))
    ]
    sums = [np.float32(np.float32(a + b) + c) for a, b, c in orders]
    assert sums[0] == 0.0  # which loses
    for margins in (bounds.interval_margins, bounds.crown_margins):
        assert not bounds.proved(margins(network, x, [0], 0.0), [0])
        assert margins(network, x, [0], 0.0)[0, 1] >= 0.5


def test_what_overflows_is_not_proved():
    network = network_of((2,), L.Dense(2), L.ReLU())
    network.set_weights([w * 0 + 1e30 for w in network.get_weights()])
    box = bounds.interval_bounds(network, np.ones([1, 2], np.float32), 0.0)
    assert np.all(np.isinf(box.lower))
    margins = bounds.crown_margins(network, np.ones([1, 2], np.float32), [0], 0.0)
    assert not bounds.proved(margins, [0])


def test_queries_that_must_fail():
    network = network_of((4,), L.Dense(5), L.ReLU())
    moved = np.random.default_rng(1).random([1000, 4]).astype(np.float32)
    network.layers[-1].bias.assign_sub(np.mean(network(moved), 0))
    assert len(set(np.argmax(network(moved), -1))) > 1
    x = moved[:3]
    y = np.argmax(network(x), -1)
    broken = x.copy()
    broken[0, 0], broken[1, 1], broken[2, 2] = np.nan, 1.5, -0.1
    alpha = functools.partial(bounds.alpha_crown_margins, steps=2)
    for margins in (bounds.interval_margins, bounds.crown_margins, alpha):
        assert np.all(bounds.proved(margins(network, x, y, 1e-4), y))
        assert not np.any(bounds.proved(margins(network, x, (y + 1) % 3, 1e-4), (y + 1) % 3))
        assert not np.any(bounds.proved(margins(network, broken, y, 1e-4), y))
    assert not np.any(bounds.proved(alpha(network, x, y, 1.0), y))


def test_l2_balls():
    network = network_of((4,), L.Dense(5), L.ReLU())
    x = np.full([1, 4], 0.5, np.float32)
    box = bounds.crown_bounds(network, x, 0.3, norm="l2")
    moves = np.random.default_rng(0).normal(size=[2000, 4])
    moves *= 0.3 / np.linalg.norm(moves, axis=1, keepdims=True)
    check_inside(network, box, (x + moves).astype(np.float32)[:, None])
    linear = network_of((4,))
    kernel, bias = linear.get_weights()
    box = bounds.crown_bounds(linear, x, 0.3, norm="l2")
    expected = x @ kernel + bias + 0.3 * np.linalg.norm(kernel, axis=0)
    np.testing.assert_allclose(box.upper, expected, atol=1e-5)


MARGINS = {
    "interval": bounds.interval_margins,
    "crown": bounds.crown_margins,
    "alpha_crown": functools.partial(bounds.alpha_crown_margins, steps=1),
}


@pytest.mark.parametrize("margins", MARGINS.values(), ids=MARGINS)
def test_labels_are_those_that_attacks_take(margins):
    network = network_of((4,), L.Dense(5), L.ReLU())
    x = np.random.default_rng(1).random([3, 4]).astype(np.float32)
    y = np.array([0, 2, 1])
    expected = np.asarray(margins(network, x, y, 0.01))
    np.testing.assert_array_equal(expected[np.arange(3), y], 0.0)
    column = y[:, np.newaxis].astype(np.uint8)  # as keras.datasets has them
    np.testing.assert_array_equal(margins(network, x, column, 0.01), expected)
    np.testing.assert_array_equal(bounds.proved(expected, column), bounds.proved(expected, y))
    for other in (y[:1], y + 0.9, np.eye(3, dtype=int)[y]):
        for use in (lambda y: margins(network, x, y, 0.01), lambda y: bounds.proved(expected, y)):
            with pytest.raises(ValueError, match="Argument `y` must be one integer label for each"):
                use(other)


def test_given_masks_count():
    network = network_of(IMAGE, conv(), BetaBernoulliDropout(initial_a=2.0), L.ReLU())
    (mask,) = mask_layers(network)
    x = np.random.default_rng(0).random([2, *IMAGE]).astype(np.float32)
    draw = tf.constant([[0.0, 1.0, 2.0], [1.0, 0.5, 0.0]])
    for function in (bounds.interval_margins, bounds.crown_margins):
        with given_masks({mask: draw}):
            together = function(network, x, [0, 1], 0.05)
        for index in range(2):
            with given_masks({mask: draw[index]}):
                alone = function(network, x[index : index + 1], [index], 0.05)
            np.testing.assert_allclose(together[index], alone[0], atol=1e-9)


@pytest.mark.slow
def test_parts_and_graphs_give_the_same():
    layers = [L.Dense(6), BetaBernoulliDropout(initial_a=2.0), L.ReLU(), L.Dense(5), L.ReLU()]
    network = network_of((4,), *layers)
    x = np.random.default_rng(0).random([2, 4]).astype(np.float32)
    one = bounds.crown_bounds(network, x, 0.05, rows=2)
    many = bounds.crown_bounds(network, x, 0.05, rows=1000)
    np.testing.assert_allclose(one.lower, many.lower, atol=1e-9)
    traced = tf.function(lambda x: bounds.alpha_crown_margins(network, x, [0, 1], 0.05, steps=2))
    expected = bounds.alpha_crown_margins(network, x, [0, 1], 0.05, steps=2)
    np.testing.assert_allclose(traced(x), expected, atol=1e-9)


class Doubled(L.Layer):
    def call(self, x):
        return 2.0 * x

    def compute_output_shape(self, shape):
        return shape


def test_layers_without_a_rule_and_registered_ones():
    network = network_of((4,), L.Dense(5), Doubled(name="mine"), L.ReLU())
    x = np.zeros([1, 4], np.float32)
    with pytest.raises(ValueError, match=r"Layer `mine` \(Doubled\) has no rule"):
        bounds.interval_bounds(network, x, 0.1)
    bounds.register_rule(Doubled, lambda node: bounds.Affine(lambda x, absolute: 2.0 * x, 1))
    check_all(network, (4,))
    for layer in (L.LayerNormalization(), L.Dense(5, activation="softmax")):
        with pytest.raises(ValueError, match="has no rule"):
            bounds.interval_bounds(network_of((4,), layer), x, 0.1)
    half = network_of((4,), L.Dense(5, dtype="float16", name="half"))
    with pytest.raises(ValueError, match=r"`half` \(Dense\) computes in float16"):
        bounds.interval_bounds(half, x, 0.1)
    rounded = network_of((4,), L.Dense(5, dtype="float64"), L.ReLU(dtype="float32", name="low"))
    with pytest.raises(ValueError, match=r"`low` \(ReLU\) reads float64 and computes in float32"):
        bounds.interval_bounds(rounded, x, 0.1)
    for kind in ("float16", "uint8"):
        pixels = keras.Input((4,), dtype=kind)
        whole = keras.Model(pixels, L.Dense(2)(L.Rescaling(1.0, dtype="float32")(pixels)))
        with pytest.raises(ValueError, match=f"an input of {kind}"):
            bounds.interval_bounds(whole, x, 0.1)
    for kwargs, name in (({"norm": "l1"}, "norm"), ({"rows": 0}, "rows")):
        with pytest.raises(ValueError, match=name):
            bounds.crown_bounds(network, x, 0.1, **kwargs)
    for negative in (-0.1, np.float32(-0.1)):
        with pytest.raises(ValueError, match="epsilon"):
            bounds.crown_bounds(network, x, negative)
    for margins in (bounds.interval_margins, bounds.crown_margins, bounds.alpha_crown_margins):
        with pytest.raises(ValueError, match="`y` must have labels from 0 to 2"):
            margins(network, x, [3], 0.1)
        with pytest.raises(ValueError, match="a network with one output"):
            margins(keras.Sequential([keras.Input((4,)), L.Dense(1)]), x, [0], 0.1)


@pytest.mark.parametrize(
    "operation",
    [
        lambda x: keras.ops.soft_shrink(x, threshold=0.1),
        lambda x: keras.ops.hard_shrink(x, threshold=0.1),
        lambda x: keras.ops.squareplus(x, b=0.1),
        lambda x: keras.ops.celu(x, alpha=2.0),
    ],
)
def test_an_operation_with_an_argument_is_not_taken_for_the_one_without(operation):
    pixels = keras.Input((4,))
    network = keras.Model(pixels, L.Dense(3)(operation(L.Dense(6)(pixels))))
    with pytest.raises(ValueError, match="has no rule"):
        bounds.interval_bounds(network, np.zeros([1, 4], np.float32), 0.1)


class Always(L.Layer):
    """A layer, made of another one, that it runs in training mode always."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def call(self, x):
        return self.inner(x, training=True)


class Shifted(UnitMask):
    def call(self, inputs, training=False):
        return super().call(inputs, training) - 0.5


def nested():
    return keras.Sequential([keras.Input((4, 4)), L.Dropout(0.5)])


CONSTANT = np.full((1, 4, 4), -0.5, np.float32)


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda x: L.Add()([x, CONSTANT]), id="add"),
        pytest.param(lambda x: L.Average()([x, CONSTANT]), id="average"),
        pytest.param(lambda x: L.Maximum()([x, CONSTANT]), id="maximum"),
        pytest.param(lambda x: L.Multiply()([x, x, CONSTANT]), id="multiply"),
        pytest.param(lambda x: L.Subtract()([x, CONSTANT]), id="subtract"),
        pytest.param(lambda x: L.Concatenate()([x, CONSTANT]), id="concatenate"),
        pytest.param(lambda x: L.GlobalAveragePooling1D()(x, mask=np.eye(4)[:1] > 0), id="mask"),
        pytest.param(lambda x: L.Dropout(0.5)(x, training=True), id="dropout"),
        pytest.param(Always(L.Dropout(0.5)), id="dropout inside"),
        pytest.param(Always(L.BatchNormalization()), id="normalization inside"),
        pytest.param(lambda x: nested()(x, training=True), id="nested"),
        pytest.param(Shifted(), id="mask's subclass"),
    ],
)
def test_what_rules_do_not_look_at_is_refused(call):
    pixels = keras.Input((4, 4))
    network = keras.Model(pixels, L.Dense(3)(L.Flatten()(call(pixels))))
    with pytest.raises(ValueError, match="has no rule for bounds, or not with these"):
        bounds.interval_bounds(network, np.zeros([1, 4, 4], np.float32), 0.1)


def test_rescaling_of_first_channels_is_refused(monkeypatch):
    monkeypatch.setattr(keras.config, "image_data_format", lambda: "channels_first")
    with pytest.raises(ValueError, match=r"`rescaling` .* has no rule"):
        bounds.interval_bounds(
            network_of((2, 2), L.Rescaling([1.0, 2.0], name="rescaling")), np.zeros([1, 2, 2]), 0.1
        )


def test_elu_of_large_alpha_is_within_its_bounds():
    """Of it float32 loses alpha times what it loses of exp(x) - 1."""
    x = np.linspace(0.3, 0.9, 4001, dtype=np.float32)[:, np.newaxis]
    for alpha in (20.0, 1e4):
        network = keras.Sequential([keras.Input((1,)), L.Dense(1, use_bias=False), L.ELU(alpha)])
        network.layers[0].set_weights([np.full((1, 1), -(2.0**-10))])
        lower, upper = map(np.asarray, bounds.interval_bounds(network, x, 0.0))
        value = np.asarray(network(x), np.float64)
        assert np.all((lower <= value) & (value <= upper))


def test_squares_beyond_float32_are_not_bounded():
    network = keras.Sequential([keras.Input((1,)), L.Dense(1), L.Activation("squareplus")])
    network.layers[0].set_weights([np.full((1, 1), -1e20), np.full(1, 4e19)])
    x = np.array([[0.52]], np.float32)
    assert not np.isfinite(np.asarray(network(x + 0.13))).all()
    assert np.all(np.isinf(bounds.interval_bounds(network, x, 0.15).upper))


@pytest.mark.parametrize("axis", [1, -1])
def test_places_counted_from_the_end(axis):
    pixels = keras.Input((4,))
    network = keras.Model(pixels, keras.ops.take(pixels, [-1, 0, -4], axis=axis))
    x = np.array([[0.1, 0.2, 0.3, 0.4]], np.float32)
    for bound in bounds.interval_bounds(network, x, 0.0):
        np.testing.assert_allclose(bound, network(x), atol=1e-5)


@pytest.mark.parametrize("axis", [0, -2])
def test_examples_that_change_places_are_refused(axis):
    pixels = keras.Input((4,))
    network = keras.Model(pixels, L.Dense(3)(keras.ops.take(pixels, [0, 0], axis=axis)))
    with pytest.raises(ValueError, match="has no rule"):
        bounds.interval_bounds(network, np.zeros([2, 4], np.float32), 0.1)


def test_numbers_in_float64():
    pixels = keras.Input((1,), dtype="float64")
    added = pixels + (2.0**24 + 0.7) - 2.0**24
    leaky = L.LeakyReLU(0.1, dtype="float64")(-(2.0**20) * pixels)
    network = keras.Model(pixels, L.Concatenate(dtype="float64")([added, leaky]))
    x = np.array([[0.5]])
    lower, upper = map(np.asarray, bounds.interval_bounds(network, x, 1e-12))
    value = np.asarray(network(x))
    assert np.all((lower <= value) & (value <= upper))


@pytest.mark.parametrize("size", [1.0, -3e4, 1e-20])
def test_logits_of_float64_that_are_equal_in_float32_are_not_proved(size):
    """Class 0 is ahead by 2^-20 to 2^-28 of the logits, of which float32 has 24 bits."""
    pixels = keras.Input((1,), dtype="float64")
    network = keras.Model(pixels, L.Dense(2, dtype="float64")(pixels))
    network.set_weights([np.array([[2.0**-20 * abs(size), 0.0]]), np.array([size, size])])
    x, y = 2.0 ** -np.arange(9.0)[:, np.newaxis], np.zeros(9, np.int64)
    own, other = np.asarray(network(x)).T
    assert np.all(own > other)
    right = own.astype(np.float32) > other.astype(np.float32)
    assert set(right) == {True, False}
    alpha = functools.partial(bounds.alpha_crown_margins, steps=2)
    for margins in (bounds.interval_margins, bounds.crown_margins, alpha):
        proved = np.asarray(bounds.proved(margins(network, x, y, 0.0), y))
        assert np.all(right[proved])
        assert np.all(proved[own - other > 4 * 2.0**-24 * abs(size)])
    lower, upper = map(np.asarray, bounds.interval_bounds(network, x, 0.0))
    rounded = np.stack([own, other], 1).astype(np.float32)
    assert np.all((lower <= rounded) & (rounded <= upper))


@pytest.mark.parametrize("merge", [L.Add(), L.Average(), L.Subtract()])
def test_tensors_of_different_ranks_are_not_merged_as_by_numpy(merge):
    """Keras puts axes in after the batch's, which shows where there are as many images as rows."""
    pixels = keras.Input((4, 4, 2))
    means = L.GlobalAveragePooling2D()(L.Conv2D(3, 1)(pixels))
    merged = L.Flatten()(merge([L.Conv2D(3, 1)(pixels), means]))
    network = keras.Model(pixels, L.Dense(3)(merged))
    with pytest.raises(ValueError, match="has no rule"):
        bounds.interval_bounds(network, np.zeros([4, 4, 4, 2], np.float32), 0.1)
