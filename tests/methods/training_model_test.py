"""A training step against NumPy, and what surrounds it."""

import functools
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from anp_tf.attacks import PGD, Attack
from anp_tf.layers import BayesDense, BayesianMask, BetaBernoulliDropout, UnitMask
from anp_tf.methods import (
    METHODS,
    AdversarialNeuralPruningVS,
    BayesianPruning,
    GradualPruning,
    Schedule,
    Standard,
)
from anp_tf.methods.replicas import moving_averages
from anp_tf.models import lenet5_caffe

FEATURES, HIDDEN, CLASSES = 6, 5, 3
NOISE = np.random.default_rng(7).normal(size=(10, HIDDEN)).astype(np.float32)


class KnownMask(BayesianMask):
    """A mask whose draws are known: sigmoid(s + NOISE); it expects sigmoid(s)."""

    def build(self, input_shape):
        super().build(input_shape)
        self.s = self.add_weight(name="s", shape=(self.units,), initializer="ones")

    def sample(self, batch_size, seed):
        return tf.sigmoid(self.s + tf.constant(NOISE)[:batch_size, : self.units])

    def expected(self):
        return tf.sigmoid(tf.convert_to_tensor(self.s))

    def kl(self):
        return tf.reduce_sum(tf.square(self.s))


class KnownAttack:
    """Moves every pixel by 0.1 * scale, upwards or downwards in turns, and notes the scales."""

    def __init__(self):
        self.scales = []

    def __call__(self, network, x, y, seed=None, scale=1.0):
        self.scales.append(scale)
        return x + 0.1 * tf.cast(scale, x.dtype) * SIGNS


SIGNS = np.where(np.arange(FEATURES) % 2, -1, 1).astype(np.float32)


def unchanged(network, x, y, seed=None, scale=1.0):
    return x


def grown_by_nothing(network, x, y, seed=None, scale=1.0):
    return PGD(epsilon=0.1, step_size=0.1, steps=2)(network, x, y, seed=seed, scale=0.0)


def data(n=10, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.uniform(0.1, 0.9, (n, FEATURES)).astype(np.float32)  # in [0, 1] with `KnownAttack`
    return x, rng.integers(0, CLASSES, n)


def network(mask=None, norm=False, dense=keras.layers.Dense):
    keras.utils.set_random_seed(3)
    parts = [dense(HIDDEN, name="hidden", bias_initializer="normal")]
    parts += [keras.layers.BatchNormalization()] if norm else []
    parts += [] if mask is None else [mask]
    parts += [keras.layers.ReLU(), dense(CLASSES, name="logits")]
    x = pixels = keras.Input((FEATURES,))
    for part in parts:
        x = part(x)
    return keras.Model(pixels, x, name="toy")


def network_of(kind, mask=KnownMask, norm=False):
    """The network that a method trains; random weights are drawn with a deviation of 1e-13."""
    if kind.uses_random_weights:
        return network(dense=lambda *args, **kw: BayesDense(*args, initial_rho=-30.0, **kw))
    if not kind.uses_masks:
        return network(norm=norm)
    return network(mask() if kind.learns_masks else UnitMask(), norm)


def compiled(model, rate=1.0, run_eagerly=True):
    optimizers = [keras.optimizers.SGD(rate) for _ in range(2)]
    model.compile(
        *(optimizers if model.mask_variables else optimizers[:1]), run_eagerly=run_eagerly
    )
    return model


def anp(mask=None, attack=None, **kwargs):
    masked = network(KnownMask() if mask is None else mask, kwargs.pop("norm", False))
    return anp_of(masked, attack, **kwargs)


def anp_of(masked, attack=None, **kwargs):
    attack = KnownAttack() if attack is None else attack
    keywords = {"num_examples": 20, "beta": 3.0, "vulnerability_weight": 0.7, "weight_decay": 0.01}
    return AdversarialNeuralPruningVS(masked, attack=attack, **{**keywords, **kwargs})


def values(variables):
    return [np.array(variable, np.float64) for variable in variables]


# The independent computation, in float64.


def forward(x, factor, w1, b1, w2, b2):
    hidden = np.maximum((x @ w1 + b1) * factor, 0)
    return hidden, hidden @ w2 + b2


def cross_entropy(logits, y):
    return -scipy.special.log_softmax(logits, axis=-1)[np.arange(len(y)), y].mean()


def losses_by_hand(method, x, y, weights, s, w=2.0, beta=3.0, lam=0.7, decay=0.01, n=20):
    """The losses of the weights and of the masks, from the formulas of the paper."""
    factor = 1.0 if s is None else scipy.special.expit(s + NOISE[: len(x)])
    penalty = decay * sum(np.sum(v**2) / 2 for v in weights)
    clean, logits = forward(x, factor, *weights)
    if method == "standard":
        return cross_entropy(logits, y) + penalty, None
    kl = 0.0 if s is None else beta / n * np.sum(s**2)
    if method == "bp":
        loss = cross_entropy(logits, y) + kl + penalty
        return loss, loss
    moved, moved_logits = forward(x + 0.1 * SIGNS, factor, *weights)
    if method == "trades":
        p, q = (scipy.special.softmax(values, axis=-1) for values in (logits, moved_logits))
        distance = scipy.special.rel_entr(p, q).sum(-1).mean()
        return cross_entropy(logits, y) + 6.0 * distance + penalty, None
    mixed = (cross_entropy(logits, y) + w * cross_entropy(moved_logits, y)) / (1 + w)
    if method == "at_bnn":  # the part of the divergence that depends on the means
        return mixed + beta / n * sum(np.sum(v**2) / 2 for v in weights), None
    suppressed = lam * np.mean(np.abs(clean - moved)) if method.endswith("_vs") else 0.0
    mask_loss = cross_entropy(moved_logits, y) + kl if s is not None else None
    return mixed + suppressed + penalty, mask_loss


def numerical_gradient(function, value, h=1e-6):
    """Central differences, entry by entry."""
    gradient = np.empty_like(value)
    for index in np.ndindex(value.shape):
        step = np.zeros_like(value)
        step[index] = h
        gradient[index] = (function(value + step) - function(value - step)) / (2 * h)
    return gradient


def step_by_hand(method, x, y, weights, s):
    """The variables after a step of gradient descent at rate 1; both gradients at the start."""
    new_weights = []
    for k, value in enumerate(weights):

        def weight_loss(v, k=k):
            return losses_by_hand(method, x, y, [*weights[:k], v, *weights[k + 1 :]], s)[0]

        new_weights.append(value - numerical_gradient(weight_loss, value))
    if s is None:
        return new_weights, None

    def mask_loss(v, at=weights):
        return losses_by_hand(method, x, y, at, v)[1]

    gradient = numerical_gradient(mask_loss, s)
    late = numerical_gradient(lambda v: mask_loss(v, new_weights), s)
    assert np.abs(late - gradient).max() > 1e-3  # one step after the other would be seen
    return new_weights, s - gradient


def by_default(method, *others):
    """Cases that are slow but for `anp_vs`, in which all parts of a step come together."""
    marks = [] if method == "anp_vs" else [pytest.mark.slow]
    return [pytest.param(method, other, marks=marks) for other in others]


@pytest.mark.parametrize(
    ("method", "run_eagerly"),
    [case for method in METHODS for case in ((method, False), *by_default(method, True))],
)
def test_a_step_is_that_of_numpy(method, run_eagerly):
    x, y = data()
    kind = METHODS[method]
    model = kind(
        network_of(kind),
        num_examples=20,
        attack=KnownAttack() if kind.uses_attack else None,
        beta=3.0,
        vulnerability_weight=0.7,
        weight_decay=0.01,
        **({"pruning_steps": 100} if issubclass(kind, GradualPruning) else {}),
    )
    compiled(model, run_eagerly=run_eagerly)
    variables = [v for v in model.weight_variables if not v.name.endswith("_rho")]
    weights = values(variables)
    assert [w.shape for w in weights] == [(6, 5), (5,), (5, 3), (3,)]
    s = values([model.masks[0].s])[0] if kind.learns_masks else None
    new_weights, new_s = step_by_hand(method, x.astype(np.float64), y, weights, s)
    model.fit(x, y, batch_size=10, shuffle=False, verbose=0)
    for actual, expected in zip(variables, new_weights, strict=True):
        np.testing.assert_allclose(actual, expected, atol=2e-5)
    if kind.learns_masks:
        np.testing.assert_allclose(model.masks[0].s, new_s, atol=2e-5)
        assert model.mask_optimizer.iterations == 1
    assert model.optimizer.iterations == 1


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("one_pass", [True, False])
def test_the_vulnerability_of_a_share_of_the_batch(one_pass, weighted):
    x, y = data()
    model = anp(adversarial_weight=np.inf, vulnerability_share=0.25)
    model.forward.paired.one_pass = one_pass
    compiled(model)
    weights, s = values(model.weight_variables), values([model.masks[0].s])[0]
    of_examples = np.linspace(0.5, 2, 10) if weighted else np.ones(10)

    def loss(w):
        factor = scipy.special.expit(s + NOISE)
        hidden, logits = forward(x + 0.1 * SIGNS, factor, *w)
        clean = forward(x[:3], factor[:3], *w)[0]
        log_p = scipy.special.log_softmax(logits, axis=-1)[np.arange(10), y]
        distances = np.abs(clean - hidden[:3]).mean(-1)
        decay = 0.01 * sum(np.sum(v**2) / 2 for v in w)
        return 0.7 * np.mean(of_examples[:3] * distances) - np.mean(of_examples * log_p) + decay

    expected = [
        value - numerical_gradient(lambda v, k=k: loss([*weights[:k], v, *weights[k + 1 :]]), value)
        for k, value in enumerate(weights)
    ]
    logs = model.train_on_batch(
        x, y, sample_weight=of_examples if weighted else None, return_dict=True
    )
    for actual, value in zip(model.weight_variables, expected, strict=True):
        np.testing.assert_allclose(actual, value, atol=2e-5)
    assert {"accuracy", "adversarial_accuracy", "vulnerability"} <= set(logs)


@pytest.mark.parametrize("frozen", ["weights", "masks"])
def test_each_optimizer_moves_only_its_own_variables(frozen):
    model = compiled(anp())
    optimizer = model.optimizer if frozen == "weights" else model.mask_optimizer
    optimizer.learning_rate = 0.0
    still, moving = model.weight_variables, model.mask_variables
    if frozen == "masks":
        still, moving = moving, still
    before, moving_before = values(still), values(moving)
    model.fit(*data(), batch_size=10, verbose=0)
    for variable, value in zip(still, before, strict=True):
        np.testing.assert_array_equal(variable, value)
    for variable, value in zip(moving, moving_before, strict=True):
        assert np.any(np.array(variable) != value)


def test_masks_are_learned_alone():
    model = anp()
    for layer in model.network.layers:
        layer.trainable = layer in model.masks
    model = compiled(anp_of(model.network), rate=0.1)
    before, weights = values(model.mask_variables), values(model.network.weights)
    model.fit(*data(), batch_size=5, verbose=0)
    assert not model.weight_variables
    assert (model.optimizer.iterations, model.mask_optimizer.iterations) == (2, 2)
    assert np.all(values(model.mask_variables)[0] != before[0])
    changed = [np.any(a != b) for a, b in zip(values(model.network.weights), weights, strict=True)]
    assert sum(changed) == 1


@pytest.mark.parametrize("run_eagerly", [True, False], ids=["eager", "traced"])
def test_a_variable_that_its_loss_does_not_read_stays(run_eagerly):
    class Method(BayesianPruning):
        def objective(self, terms):
            return terms.clean_loss, terms.decay

    model = compiled(Method(network(KnownMask()), 20), run_eagerly=run_eagerly)
    before, weights = values(model.mask_variables), values(model.weight_variables)
    model.fit(*data(), batch_size=10, verbose=0)
    np.testing.assert_array_equal(values(model.mask_variables), before)
    for value, old in zip(values(model.weight_variables), weights, strict=True):
        assert np.any(value != old)


def test_each_variable_is_in_one_group():
    model = anp(mask=BetaBernoulliDropout(name="mask"))
    assert [v.name for v in model.mask_variables] == ["a_u", "b_u"]
    assert len(model.weight_variables) == 4
    grouped = {id(v) for v in model.mask_variables + model.weight_variables}
    assert grouped == {id(v) for v in model.network.trainable_variables}


# The draws.


@pytest.mark.slow
@pytest.mark.parametrize(
    ("norm", "one_pass"),
    [
        pytest.param(False, True, id="one pass"),
        pytest.param(False, False, id="two passes"),
        pytest.param(True, False, id="batch normalisation"),
    ],
)
@pytest.mark.parametrize(
    "attack",
    [
        pytest.param(unchanged, id="unchanged"),
        pytest.param(grown_by_nothing, id="PGD"),
    ],
)
def test_both_halves_share_the_draw(attack, norm, one_pass):
    """Without a perturbation the two halves are the same, in training too."""
    model = compiled(anp(BetaBernoulliDropout(initial_a=1.0), attack, norm=norm), rate=0.1)
    model.forward.paired.one_pass = one_pass
    history = model.fit(*data(), batch_size=5, verbose=0).history
    assert history["vulnerability"] == [0.0]
    np.testing.assert_allclose(history["adversarial_loss"], history["loss"], rtol=1e-6)


@pytest.mark.slow
def test_one_pass_and_two_passes_are_the_same():
    results = []
    for one_pass in (True, False):
        model = compiled(anp(BetaBernoulliDropout(initial_a=1.0)), rate=0.1)
        assert model.forward.paired.one_pass
        model.forward.paired.one_pass = one_pass
        history = model.fit(*data(), batch_size=5, epochs=2, verbose=0, shuffle=False).history
        results.append((history, values(model.network.trainable_variables)))
    (history, variables), (other_history, other_variables) = results
    assert history.keys() == other_history.keys()
    for name, value in history.items():
        np.testing.assert_allclose(other_history[name], value, rtol=1e-4, err_msg=name)
    for value, expected in zip(other_variables, variables, strict=True):
        np.testing.assert_allclose(value, expected, atol=1e-5)


def test_batch_normalisation_trains_in_two_passes():
    model = compiled(anp(BetaBernoulliDropout(initial_a=1.0), norm=True), rate=0.1)
    assert not model.forward.paired.one_pass
    norm = model.network.layers[2]
    x, y = data()
    first = x @ np.array(model.network.layers[1].kernel) + np.array(model.network.layers[1].bias)
    moved = first + 0.1 * SIGNS @ np.array(model.network.layers[1].kernel)
    mean = 0.01 * first.mean(0) * 0.99 + 0.01 * moved.mean(0)  # from 0, momentum 0.99, twice
    before = values(model.network.trainable_variables)
    history = model.fit(x, y, batch_size=10, verbose=0).history
    assert np.all(np.isfinite([value[0] for value in history.values()]))
    np.testing.assert_allclose(norm.moving_mean, mean, rtol=1e-4, atol=1e-6)
    for variable, value in zip(model.network.trainable_variables, before, strict=True):
        assert np.any(np.array(variable) != value), variable.path


@pytest.mark.slow
def test_the_seed_repeats_a_run():
    def run(seed):
        model = compiled(anp(BetaBernoulliDropout(initial_a=1.0), seed=seed), rate=0.1)
        model.fit(*data(), batch_size=5, epochs=2, verbose=0, shuffle=False)
        return np.concatenate([v.ravel() for v in values(model.network.trainable_variables)])

    first = run(1)
    np.testing.assert_array_equal(run(1), first)
    assert np.abs(first - run(2)).max() > 1e-4


def test_draws_change_from_step_to_step():
    model = compiled(anp(BetaBernoulliDropout(initial_a=1.0), unchanged), rate=0.0)
    history = model.fit(*data(), batch_size=10, epochs=3, shuffle=False, verbose=0).history
    assert np.unique(history["loss"]).size == 3


@pytest.mark.parametrize("run_eagerly", [True, False], ids=["eager", "traced"])
def test_dropout_drops_the_same_features_of_both_halves(run_eagerly):
    x = pixels = keras.Input((FEATURES,))
    for width in (20, 20):
        x = keras.layers.ReLU()(keras.layers.Dense(width)(x))
        x = keras.layers.Dropout(0.5)(x)
    dropped = keras.Model(pixels, keras.layers.Dense(CLASSES)(x))
    model = METHODS["at"](dropped, 20, attack=unchanged)
    compiled(model, rate=0.0, run_eagerly=run_eagerly)
    history = model.fit(*data(), batch_size=5, epochs=2, shuffle=False, verbose=0).history
    assert history["vulnerability"] == [0.0, 0.0]
    assert history["adversarial_loss"] == pytest.approx(history["loss"])
    assert history["loss"][0] != history["loss"][1]  # the draws go on


def test_fixed_masks_are_those_of_inference():
    model = compiled(anp(schedule=Schedule(mask_freeze_step=2), attack=unchanged), rate=0.0)
    losses = []
    for _ in range(4):
        losses += model.fit(*data(), batch_size=10, shuffle=False, verbose=0).history["loss"]
    x, y = data()
    expected = scipy.special.expit(values([model.masks[0].s])[0])
    _, logits = forward(x, expected, *values(model.weight_variables))
    assert losses[2:] == pytest.approx([cross_entropy(logits, y)] * 2, rel=1e-5)
    assert losses[0] != pytest.approx(losses[2], rel=1e-3)


def test_the_divergence_of_each_mask_has_its_factor():
    x = pixels = keras.Input((FEATURES,))
    for width in (4, 3):
        x = keras.layers.ReLU()(KnownMask()(keras.layers.Dense(width)(x)))
    two = keras.Model(pixels, keras.layers.Dense(CLASSES)(x))
    model = compiled(BayesianPruning(two, 20, kl_weights=[2.0, 5.0]), rate=0.0)
    history = model.fit(*data(), batch_size=10, verbose=0).history
    assert history["kl"] == pytest.approx([2.0 * 4 + 5.0 * 3])
    with pytest.raises(ValueError, match=r"`kl_weights`.*\[1.0\] for 2 masks"):
        BayesianPruning(two, 20, kl_weights=[1.0])


# Warm-ups.


@pytest.mark.parametrize(
    ("steps", "scales"),
    [(0, [1, 1, 1, 1, 1]), (1, [1, 1, 1, 1, 1]), (4, [0.25, 0.5, 0.75, 1, 1])],
)
def test_warm_up_of_the_attack(steps, scales):
    attack = KnownAttack()
    model = compiled(anp(attack=attack, schedule=Schedule(epsilon_warmup_steps=steps)), rate=0.0)
    model.fit(*data(), batch_size=2, verbose=0)
    np.testing.assert_allclose([float(scale) for scale in attack.scales], scales)


def test_the_attack_grows():
    """From 1 step to 4, over 3 training steps; the way they cover stays the same."""
    seen = []

    class Counting(PGD):
        def __call__(self, *args, steps, **kwargs):
            seen.append(int(steps))
            return super().__call__(*args, steps=steps, **kwargs)

    attack = Counting(epsilon=0.2, step_size=0.1, steps=4)
    model = compiled(anp(attack=attack, schedule=Schedule(attack_growth=(1, 3))), rate=0.0)
    model.fit(*data(), batch_size=2, verbose=0)
    assert seen == [1, 2, 3, 4, 4]


def test_an_attack_of_ones_own_may_have_noise():
    attack = KnownAttack()
    attack.noise = 0.5  # is no argument of its call
    model = compiled(anp(attack=attack), rate=0.0)
    model.fit(*data(), batch_size=10, verbose=0)
    assert model.training_attack.noise is None


@pytest.mark.parametrize(("steps", "weights"), [(0, [1, 1, 1, 1, 1]), (2, [0.5, 1, 1, 1, 1])])
def test_warm_up_of_the_divergence(steps, weights):
    seen = []

    class Method(BayesianPruning):
        def objective(self, terms):
            seen.append(float(terms.kl))
            return super().objective(terms)

    model = Method(
        network(KnownMask()), num_examples=20, beta=3.0, schedule=Schedule(kl_warmup_steps=steps)
    )
    compiled(model, rate=0.0)
    model.fit(*data(), batch_size=2, verbose=0)
    kl = HIDDEN * 1.0  # s starts at 1
    np.testing.assert_allclose(seen, 3.0 / 20 * kl * np.array(weights), rtol=1e-6)


# Metrics.

CLEAN = {"loss", "accuracy"}
ATTACKED = CLEAN | {"adversarial_loss", "adversarial_accuracy", "vulnerability"}
RATES = {"learning_rate"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "validate"),
    [case for method in METHODS for case in ((method, True), *by_default(method, False))],
)
def test_names_of_the_metrics(method, validate):
    """What a training step does not measure is not among its metrics."""
    kind = METHODS[method]
    model = kind(
        network_of(kind),
        20,
        attack=KnownAttack() if kind.uses_attack else None,
        validation_attack=KnownAttack() if validate else None,
    )
    history = compiled(model, rate=0.1).fit(*data(), verbose=0, validation_data=data()).history
    expected = (ATTACKED if kind.uses_attack else CLEAN) | RATES
    expected |= {"sparsity"} if kind.uses_masks else set()
    expected |= {"kl", "mask_learning_rate"} if kind.learns_masks else set()
    expected |= {"kl"} if kind.uses_random_weights else set()
    expected |= {"weight_sparsity"} if issubclass(kind, GradualPruning) else set()
    expected |= {f"val_{name}" for name in (ATTACKED if validate else CLEAN)}
    assert set(history) == expected


@pytest.mark.parametrize("run_eagerly", [True, False], ids=["eager", "traced"])
def test_evaluate_is_over_all_examples(run_eagerly):
    """Ten examples in batches of four: the last one is half as large, and counts half as much."""
    x, y = data()
    mask = KnownMask()
    model = compiled(anp(mask, validation_attack=KnownAttack()), run_eagerly=run_eagerly)
    weights, factor = values(model.weight_variables), scipy.special.expit(values([mask.s])[0])
    clean, logits = forward(x, factor, *weights)
    moved, moved_logits = forward(x + 0.1 * SIGNS, factor, *weights)
    expected = {
        "loss": cross_entropy(logits, y),
        "accuracy": np.mean(logits.argmax(-1) == y),
        "adversarial_loss": cross_entropy(moved_logits, y),
        "adversarial_accuracy": np.mean(moved_logits.argmax(-1) == y),
        "vulnerability": np.mean(np.abs(clean - moved)),
    }
    for _ in range(2):  # nothing is left over from the first time
        actual = model.evaluate(x, y, batch_size=4, verbose=0, return_dict=True)
        assert {name: float(actual[name]) for name in expected} == pytest.approx(expected, rel=1e-5)
        assert set(actual) == set(expected)
    by_batch = [np.mean(np.abs(clean - moved)[rows]) for rows in np.split(np.arange(10), [4, 8])]
    assert np.mean(by_batch) != pytest.approx(expected["vulnerability"], rel=1e-3)


def test_training_metrics_by_hand():
    x, y = data()
    mask = KnownMask()
    model = compiled(anp(mask), rate=0.0)
    mask.prune([0, 3])
    weights, kept = values(model.weight_variables), np.array([0, 1, 1, 0, 1])
    factor = scipy.special.expit(1.0 + NOISE) * kept
    clean, logits = forward(x, factor, *weights)
    moved, moved_logits = forward(x + 0.1 * SIGNS, factor, *weights)
    model.optimizer.learning_rate, model.mask_optimizer.learning_rate = 1e-9, 1e-8
    history = model.fit(x, y, batch_size=10, shuffle=False, verbose=0).history
    expected = {
        "loss": cross_entropy(logits, y),
        "accuracy": np.mean(logits.argmax(-1) == y),
        "adversarial_loss": cross_entropy(moved_logits, y),
        "adversarial_accuracy": np.mean(moved_logits.argmax(-1) == y),
        "vulnerability": np.mean(np.abs(clean - moved)),
        "kl": 5.0,
        "sparsity": 0.4,
        "learning_rate": 1e-9,
        "mask_learning_rate": 1e-8,
    }
    assert {name: value for name, (value,) in history.items()} == pytest.approx(expected, rel=1e-5)


def test_metrics_are_of_one_epoch():
    model = compiled(Standard(network(), 10), rate=0.5)
    history = model.fit(*data(), batch_size=10, epochs=3, verbose=0, shuffle=False).history
    again = compiled(Standard(network(), 10), rate=0.5)
    for epoch in range(3):
        one = again.fit(*data(), batch_size=10, verbose=0, shuffle=False).history
        assert one["loss"][0] == pytest.approx(history["loss"][epoch], rel=1e-6)


# Precision.


@functools.cache
def after_a_step(method, policy):
    """The trained variables of a network that computes by the policy."""
    keras.config.set_dtype_policy(policy)
    try:
        kind = METHODS[method]
        attack = KnownAttack() if kind.uses_attack else None
        start = network_of(kind, lambda: BetaBernoulliDropout(initial_a=2.0))
        model = kind(start, 20, attack=attack, vulnerability_weight=0.7)
        compiled(model).fit(*data(), verbose=0, shuffle=False)
        return values(model.network.trainable_variables)
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize(
    ("method", "policy"),
    [case for method in METHODS for case in by_default(method, "mixed_bfloat16", "mixed_float16")],
)
def test_mixed_precision_takes_the_same_step(method, policy):
    start = values(network(BetaBernoulliDropout(initial_a=2.0)).trainable_variables)
    pairs = zip(after_a_step(method, policy), after_a_step(method, "float32"), strict=True)
    for actual, expected in pairs:
        np.testing.assert_allclose(actual, expected, atol=0.03)
        assert not any(np.array_equal(actual, value) for value in start)


@pytest.mark.slow
@pytest.mark.parametrize("dtypes", [("bfloat16", "float32"), ("float16",) * 2, ("float64",) * 2])
@pytest.mark.parametrize("kind", [METHODS["at_vs"], METHODS["admm"]])
def test_weights_of_other_types(kind, dtypes):
    pixels = keras.Input((FEATURES,))
    hidden = keras.layers.Dense(5, activation="relu", dtype=dtypes[0])(pixels)
    start = keras.Model(pixels, keras.layers.Dense(CLASSES, dtype=dtypes[1])(hidden))
    model = kind(start, 20, attack=KnownAttack())
    before = values(start.trainable_variables)
    compiled(model).fit(*data(), verbose=0)
    for variable, value in zip(start.trainable_variables, before, strict=True):
        assert not np.array_equal(variable, value)


# Errors.


@pytest.mark.parametrize(
    "run_eagerly",
    [pytest.param(True, marks=pytest.mark.slow, id="eager"), pytest.param(False, id="traced")],
)
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: Standard(network(), 10, weight_decay=3e38), id="standard"),
        pytest.param(lambda: anp(beta=3e38), id="only the masks' loss"),
        pytest.param(
            lambda: anp(vulnerability_weight=3e38), id="only the weights'", marks=pytest.mark.slow
        ),
    ],
)
def test_a_loss_that_is_not_finite_changes_nothing(make, run_eagerly):
    x, y = data()
    model = compiled(make(), run_eagerly=run_eagerly)
    before = values(model.network.variables)
    with pytest.raises(FloatingPointError, match=r"^The loss .* is not finite\. .*$"):
        model.fit(x, y, batch_size=10, verbose=0)
    for variable, value in zip(model.network.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)
    assert model.optimizer.iterations == 0


def test_what_is_not_finite_under_xla_ends_the_epoch():
    x, y = data()
    model = Standard(network(), 10, weight_decay=3e38)
    model.compile(keras.optimizers.SGD(1.0), jit_compile=True)
    before = values(model.network.variables)
    with pytest.raises(
        FloatingPointError, match=r"^The loss .* not finite in epoch 1, at 1 of its steps\. .*$"
    ):
        model.fit(x, y, batch_size=10, epochs=3, verbose=0)
    for variable, value in zip(model.network.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


@pytest.mark.parametrize("method", [BayesianPruning, AdversarialNeuralPruningVS])
def test_method_needs_masks(method):
    with pytest.raises(ValueError, match=rf"{method.__name__}.*`toy` has no masks"):
        method(network(), 10, attack=KnownAttack())


class Subclassed(keras.Model):
    """A network of a kind whose layers' calls are not known."""

    def __init__(self):
        super().__init__()
        self.logits = keras.layers.Dense(CLASSES)

    def call(self, x):
        return self.logits(x)


def test_networks_whose_layers_are_not_known():
    subclassed = Subclassed()
    subclassed(data()[0])
    for other in (subclassed, keras.Sequential([keras.layers.Dense(CLASSES)])):
        with pytest.raises(ValueError, match="`network` must be a functional model, or a Sequent"):
            Standard(other, 10)


def test_method_without_masks():
    with pytest.raises(ValueError, match=r"Standard.*`toy` has masks"):
        Standard(network(KnownMask()), 10)


def test_method_with_random_weights():
    kind = METHODS["at_bnn"]
    with pytest.raises(ValueError, match=r"`toy` has no random weights"):
        kind(network(), 10, attack=KnownAttack())
    with pytest.raises(ValueError, match=r"trains no random weights, but `toy` has"):
        Standard(network_of(kind), 10)


def test_method_needs_an_attack():
    with pytest.raises(ValueError, match=r"AdversarialNeuralPruningVS.*attack=None"):
        AdversarialNeuralPruningVS(network(KnownMask()), 10)


def test_masks_need_an_optimizer_of_their_own():
    model = anp()
    with pytest.raises(ValueError, match="mask_optimizer=None"):
        model.compile(keras.optimizers.SGD())
    optimizer = keras.optimizers.SGD()
    with pytest.raises(ValueError, match="mask_optimizer="):
        model.compile(optimizer, optimizer)


@pytest.mark.parametrize(
    "argument",
    [
        {"num_examples": 0},
        {"attack": "pgd"},
        {"validation_attack": "pgd"},
        {"adversarial_weight": -1.0},
        {"label_smoothing": 1.0},
        {"beta": -0.1},
        {"vulnerability_weight": float("nan")},
        {"vulnerability_share": 0.0},
        {"weight_decay": -1e-4},
        {"decayed": "kernel"},
        {"average_decay": 1.0},
        {"beta": None},
        {"beta": float("inf")},
        {"weight_decay": "1"},
        {"kl_weights": 3},
        {"kl_weights": [-1.0]},
        {"kl_weights": [float("nan")]},
        {"target_units": 4},
        {"target_units": [2.5]},
        {"target_units": [0]},
        {"target_units": [HIDDEN + 1]},
        {"target_units": [1]},  # of masks that are never fixed
        {"schedule": 5},
        {"bound": 0.1},
        {"distillation": "teacher"},
        {"seed": "a"},
        {"seed": 1.5},
        {"seed": 2**40},
    ],
    ids=str,
)
def test_arguments_out_of_range(argument):
    ((name, value),) = argument.items()
    shown = value[0] if isinstance(value, list) else value
    with pytest.raises(ValueError, match=rf"`{name}`.*Received: {name}=\[?{shown!r}"):
        anp(**argument)


@pytest.mark.parametrize(
    "argument",
    [
        {"epsilon_warmup_steps": -1},
        {"kl_warmup_steps": 1.5},
        {"attack_growth": 3},
        {"attack_growth": (0, 10)},
        {"attack_growth": (1, 0)},
        {"last_attack": (-1, unchanged)},
        {"last_attack": (1, "pgd")},
        {"mask_freeze_step": -1},
        {"fix_sparsity": 1.0},
        {"fix_sparsity": None},
        {"fix_sparsity": 0.5},  # of masks that are never fixed
    ],
)
def test_schedules_out_of_range(argument):
    (name,) = argument
    with pytest.raises(ValueError, match=f"argument `{name}`"):
        Schedule(**argument)


def test_an_attack_without_steps_does_not_grow():
    with pytest.raises(ValueError, match=r"argument `attack`.*`steps`"):
        anp(schedule=Schedule(attack_growth=(1, 3)))


class Still(Attack):
    """An attack without call arguments of its own."""

    steps = 3

    def perturb(self, network, x, y, seed):
        return x


@pytest.mark.parametrize(
    ("attack", "schedule", "message"),
    [
        (Still(epsilon=0.1), {"epsilon_warmup_steps": 3}, "`attack`.*`scale`, which `epsilon_w"),
        (lambda n, x, y, seed: x, {"epsilon_warmup_steps": 3}, "`attack`.*`scale`"),
        (
            unchanged,
            {"epsilon_warmup_steps": 3, "last_attack": (2, Still(epsilon=0.1))},
            "`last_attack`.*`scale`",
        ),
        (Still(epsilon=0.1), {"attack_growth": (1, 3)}, "`attack`.*`steps`, which `attack_g"),
        (PGD(epsilon=0.1, step_size=0.1, steps=2), {"attack_growth": (3, 5)}, "`attack_growth`"),
    ],
)
def test_an_attack_that_does_not_know_of_what_changes(attack, schedule, message):
    with pytest.raises(ValueError, match=f"argument {message}"):
        anp(attack=attack, schedule=Schedule(**schedule))


@pytest.mark.parametrize(
    "run_eagerly",
    [pytest.param(True, id="eager"), pytest.param(False, marks=pytest.mark.slow, id="traced")],
)
def test_the_images_of_an_attack_must_be_images(run_eagerly):
    model = compiled(anp(attack=lambda network, x, y, seed: x + 1.0), run_eagerly=run_eagerly)
    before = values(model.network.variables)
    for call in (model.fit, model.evaluate):
        with pytest.raises(ValueError, match=r"^The images of an attack .*: a batch of 1\.\d* to"):
            call(*data(), verbose=0)
    for variable, value in zip(model.network.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


@pytest.mark.slow
@pytest.mark.parametrize("run_eagerly", [True, False], ids=["eager", "traced"])
@pytest.mark.parametrize(
    "returned",
    [
        pytest.param(lambda terms: terms.clean_loss, id="one"),
        pytest.param(lambda terms: (terms.clean_loss, None), id="none of the masks"),
        pytest.param(lambda terms: (terms.clean_logits, terms.kl), id="no scalar"),
    ],
)
def test_what_an_objective_must_return(returned, run_eagerly):
    class Method(BayesianPruning):
        def objective(self, terms):
            return returned(terms)

    model = compiled(Method(network(KnownMask()), 20), run_eagerly=run_eagerly)
    with pytest.raises(ValueError, match="`objective` of Method must return a pair of scalars"):
        model.fit(*data(), verbose=0)


def test_masks_that_a_method_does_not_learn():
    with pytest.raises(ValueError, match=r"does not learn masks.*insert_masks\(network, mask=Uni"):
        METHODS["magnitude"](network(KnownMask()), 10, attack=KnownAttack())


def test_variables_that_each_replica_changes_by_itself():
    x = pixels = keras.Input((FEATURES,))
    for part in (
        keras.layers.BatchNormalization(trainable=False, name="frozen"),
        keras.layers.Dense(4, trainable=False),
        keras.layers.BatchNormalization(name="trained"),
        UnitMask(),
        keras.layers.Dropout(0.1),
    ):
        x = part(x)
    paths = [v.path for v in moving_averages(keras.Model(pixels, x))]
    assert paths == ["trained/moving_mean", "trained/moving_variance"]


# Layers and uses of Keras.


@pytest.mark.slow
def test_lenet_with_names_of_optimizers():
    lenet = lenet5_caffe(lambda name: BetaBernoulliDropout(name=name), width_multiplier=0.05)
    attack = PGD(epsilon=0.1, step_size=0.05, steps=2)
    model = AdversarialNeuralPruningVS(lenet, 8, attack=attack, validation_attack=attack)
    model.compile("adam", "adam")
    x = np.random.default_rng(0).random((8, 28, 28, 1), np.float32)
    y = np.arange(8, dtype=np.int32)
    history = model.fit(x, y, batch_size=4, epochs=2, verbose=0, validation_data=(x, y)).history
    assert np.all(np.isfinite([history[name] for name in history]))
    np.testing.assert_allclose(model.predict(x, verbose=0), lenet(x), atol=1e-5)


TWO_DEVICES = """
import numpy as np
import keras
import tensorflow as tf
(cpu,) = tf.config.list_physical_devices("CPU")
halves = 2 * [tf.config.LogicalDeviceConfiguration()]
tf.config.set_logical_device_configuration(cpu, halves)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
from anp_tf.attacks import PGD

x = np.random.default_rng(0).random((8, 6), np.float32)
y = np.arange(8) % 3
attack = PGD(epsilon=0.1, step_size=0.1, steps=2)
"""


def run_on_two_devices(script):
    """Runs Python code in a process with a strategy of two logical CPU devices."""
    code = TWO_DEVICES + textwrap.dedent(script)
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
def test_two_replicas():
    """Two replicas with half the batch each take the step of one with all of it."""
    script = """
        from anp_tf.layers import BetaBernoulliDropout
        from anp_tf.methods import AdversarialNeuralPruningVS, Standard

        def network(*mask):
            keras.utils.set_random_seed(3)
            parts = [keras.layers.Dense(5), *mask, keras.layers.ReLU(), keras.layers.Dense(3)]
            return keras.Sequential([keras.Input((6,)), *parts])

        def standard(clip):
            model = Standard(network(), 8, weight_decay=0.1)
            model.compile(keras.optimizers.SGD(1.0, **clip))
            history = model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0).history
            return model, history

        for clip in ({}, {"global_clipnorm": 0.01}, {"clipnorm": 0.01}, {"clipvalue": 0.001}):
            one, history = standard(clip)
            with strategy.scope():
                two, other_history = standard(clip)
            for name, value in history.items():
                np.testing.assert_allclose(other_history[name], value, rtol=1e-5, err_msg=name)
            for variable, other in zip(one.network.variables, two.network.variables, strict=True):
                np.testing.assert_allclose(other.numpy(), variable.numpy(), atol=1e-6)

        with strategy.scope():
            masked = network(BetaBernoulliDropout())
            model = AdversarialNeuralPruningVS(masked, 8, attack=attack, validation_attack=attack)
            model.compile(keras.optimizers.Adam(), keras.optimizers.Adam())
        before = [variable.numpy() for variable in masked.trainable_variables]
        history = model.fit(x, y, batch_size=4, epochs=2, validation_data=(x, y), verbose=0).history
        assert all(np.all(np.isfinite(value)) for value in history.values()), history
        assert history["sparsity"] == [0.0, 0.0]
        for variable, value in zip(masked.trainable_variables, before, strict=True):
            assert np.any(variable.numpy() != value), variable.path
            first, second = strategy.experimental_local_results(variable.value)
            np.testing.assert_array_equal(first, second)
    """
    run_on_two_devices(script)


@pytest.mark.slow
def test_a_replica_without_examples_counts_for_nothing():
    """The last batch of an epoch has one example for two replicas."""
    script = """
        from anp_tf.methods import METHODS

        def model_of(name):
            keras.utils.set_random_seed(3)
            parts = [keras.layers.Dense(5), keras.layers.BatchNormalization(), keras.layers.ReLU()]
            network = keras.Sequential([keras.Input((6,)), *parts, keras.layers.Dense(3)])
            network = keras.Model(network.inputs, network.outputs)
            model = METHODS[name](network, 5, attack=attack, validation_attack=attack)
            model.compile(keras.optimizers.SGD(0.1), metrics=["sparse_top_k_categorical_accuracy"])
            return model

        x, y = x[:5], y[:5]
        for name in ("standard", "at", "trades"):
            expected = model_of(name).evaluate(x, y, batch_size=4, verbose=0, return_dict=True)
            with strategy.scope():
                model = model_of(name)
            found = model.evaluate(x, y, batch_size=4, verbose=0, return_dict=True)
            for key in ("loss", "accuracy", "sparse_top_k_categorical_accuracy"):
                np.testing.assert_allclose(found[key], expected[key], rtol=1e-5, err_msg=key)
            history = model.fit(x, y, batch_size=4, epochs=2, validation_data=(x, y), verbose=0)
            for key, values in [*history.history.items(), *found.items()]:
                assert np.all(np.isfinite(values)), (name, key, values)
            for variable in model.network.variables:
                assert np.all(np.isfinite(variable)), (name, variable.path)
    """
    run_on_two_devices(script)


@pytest.mark.slow
def test_every_method_trains_on_two_replicas():
    """With dropout, random weights, cut weights, and masks that are fixed on the way."""
    script = """
        from anp_tf.layers import BayesDense, BetaBernoulliDropout, UnitMask
        from anp_tf.methods import METHODS, Schedule

        for name, method in METHODS.items():
            dense = BayesDense if method.uses_random_weights else keras.layers.Dense
            mask = BetaBernoulliDropout if method.learns_masks else UnitMask
            keras.utils.set_random_seed(3)
            with strategy.scope():
                parts = [dense(5), *([mask()] if method.uses_masks else [])]
                parts += [keras.layers.ReLU(), keras.layers.Dropout(0.2), dense(3)]
                network = keras.Sequential([keras.Input((6,)), *parts])
                network = keras.Model(network.inputs, network.outputs)
                options = {"schedule": Schedule(mask_freeze_step=2)} if method.learns_masks else {}
                model = method(network, 8, attack=attack, **options)
                model.compile("adam", "adam" if method.learns_masks else None)
            before = [v.numpy() for v in network.trainable_variables]
            model.fit(x, y, batch_size=4, epochs=2, verbose=0)
            assert (model.forward.view is not None) == method.learns_masks, name
            for variable, value in zip(network.trainable_variables, before, strict=True):
                assert np.any(variable.numpy() != value), (name, variable.path)
                first, second = strategy.experimental_local_results(variable.value)
                np.testing.assert_array_equal(first, second)
    """
    run_on_two_devices(script)


# What is given to it.


def test_weights_own_regularizers_count():
    """With rate 1, no decay and no data gradient, the step is the regularizer's gradient."""
    x = keras.Input((2,))
    hidden = keras.layers.Dense(3, activation="relu", kernel_regularizer=keras.regularizers.L2(0.5))
    model = METHODS["standard"](keras.Model(x, keras.layers.Dense(2)(hidden(x))), 1, weight_decay=0)
    model.compile(keras.optimizers.SGD(1.0))
    before = np.array(hidden.kernel)
    model.train_on_batch(np.zeros((4, 2), np.float32), np.zeros(4, np.int32))
    np.testing.assert_allclose(hidden.kernel, before - 2 * 0.5 * before, atol=1e-7)


def test_masks_that_add_their_own_divergence_are_refused():
    mask = KnownMask()
    mask.kl_weight = 0.1
    with pytest.raises(ValueError, match="kl_weight"):
        anp(mask)


@pytest.mark.parametrize("name", ["loss", "auto_scale_loss"])
def test_arguments_of_compile_that_do_nothing_are_refused(name):
    with pytest.raises(ValueError, match=f"`{name}` is not supported"):
        anp(KnownMask()).compile("adam", "adam", **{name: ["accuracy"]})
