"""Networks with random weights, sampled, against NumPy with the same draws."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from anp_tf import data
from anp_tf.attacks import FGSM, PGD
from anp_tf.layers import BayesDense, BetaBernoulliDropout, bayes_layers
from anp_tf.losses import cross_entropy
from anp_tf.robustness import evaluate_robustness
from anp_tf.robustness.sampled import SampledNetwork, evaluate_sampled

SEED = 5


def linear(rho=-0.5, **kwargs):
    """A network of one Bayes layer, from 2 x 2 images to 3 classes."""
    layer = BayesDense(3, initial_rho=rho, seed=SEED)
    network = keras.Sequential([keras.Input((2, 2, 1)), keras.layers.Flatten(), layer])
    layer.kernel.assign(np.random.default_rng(0).normal(size=(4, 3)))
    layer.bias.assign([0.1, -0.2, 0.3])
    return network


def deep(rho):
    layers = [BayesDense(8, "relu", initial_rho=rho), BayesDense(3, initial_rho=rho)]
    return keras.Sequential([keras.Input((2, 2, 1)), keras.layers.Flatten(), *layers])


def draws(network, samples):
    """The kernels and biases of the first draws of `linear()`, in float64."""
    layer = network.layers[-1]
    generator = keras.random.SeedGenerator(SEED)
    scale = np.logaddexp(0, layer.initial_rho)
    for _ in range(samples):
        yield tuple(
            np.array(mean, np.float64)
            + scale * np.array(keras.random.normal(mean.shape, seed=generator))
            for mean in (layer.kernel, layer.bias)
        )


def softmax(logits):
    p = np.exp(logits - logits.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


def images(count=6):
    return np.random.default_rng(1).random((count, 2, 2, 1)).astype(np.float32)


def labelled(network, count=50):
    """Examples most of which the network classifies correctly."""
    pixels = np.random.default_rng(3).integers(0, 256, (count, 2, 2, 1), np.uint8)
    labels = np.argmax(network(pixels / np.float32(255)), -1).astype(np.int32)
    labels[::7] = (labels[::7] + 1) % 3
    return data.Examples(pixels, labels, 3)


@pytest.mark.parametrize("samples", [1, 4])
def test_log_of_the_mean_softmax(samples):
    network, x = linear(), images()
    expected = np.mean(
        [softmax(x.reshape(-1, 4) @ w + b) for w, b in draws(network, samples)], axis=0
    )
    np.testing.assert_allclose(SampledNetwork(network, samples)(x), np.log(expected), rtol=1e-4)


def test_gradient_goes_through_all_draws():
    network, x, y = linear(), images(), np.array([0, 1, 2, 0, 1, 2])
    with tf.GradientTape() as tape:
        pixels = tf.constant(x)
        tape.watch(pixels)
        loss = tf.reduce_sum(cross_entropy(SampledNetwork(network, 3)(pixels), y))
    numerator = denominator = 0.0
    for w, b in draws(network, 3):
        p = softmax(x.reshape(-1, 4) @ w + b)
        right = p[np.arange(6), y][:, None]
        numerator += right * (p - np.eye(3)[y]) @ w.T
        denominator += right
    expected = (numerator / denominator).reshape(x.shape)
    np.testing.assert_allclose(tape.gradient(loss, pixels), expected, rtol=1e-3, atol=1e-5)


def test_calls_differ():
    sampled, x = SampledNetwork(linear(), 2), images()
    traced = tf.function(sampled)
    for call in (sampled, traced):
        assert np.all(call(x) != call(x))


def test_without_spread_it_is_the_network():
    network, x = linear(rho=-30.0), images()
    expected = tf.nn.log_softmax(network(x))
    np.testing.assert_allclose(SampledNetwork(network, 3)(x), expected, rtol=1e-5)
    wide = linear(rho=1.0)
    assert np.all(np.abs(SampledNetwork(wide, 3)(x) - expected) > 1e-4)


def test_half_precision_is_averaged_in_float32():
    layer = BayesDense(3, dtype="mixed_float16")
    network = keras.Sequential([keras.Input((4,), dtype="float32"), layer])
    log_probabilities = SampledNetwork(network, 3)(np.ones((2, 4), np.float32))
    assert log_probabilities.dtype == tf.float32
    np.testing.assert_allclose(np.exp(log_probabilities).sum(-1), 1, rtol=1e-6)


def test_training_is_passed_on():
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dropout(0.999), BayesDense(3)])
    network.layers[-1].kernel_rho.assign(np.full((4, 3), -30.0))
    network.layers[-1].bias_rho.assign(np.full(3, -30.0))
    sampled, x = SampledNetwork(network, 1), np.ones((50, 4), np.float32)
    dropped = np.isclose(sampled(x, training=True), -np.log(3), atol=1e-5).all(-1)
    assert dropped.mean() > 0.9
    assert not np.isclose(sampled(x), -np.log(3), atol=1e-5).all(-1).any()


def test_pgd_raises_the_loss_within_the_ball():
    network, x = linear(rho=-2.0), images(40)
    y = np.argmax(network(x), -1)
    sampled, attack = SampledNetwork(network, 4), PGD(epsilon=0.2, step_size=0.05, steps=6)
    adversarial = tf.function(lambda: attack(sampled, x, y, seed=tf.constant([0, 0])))
    first, second = np.array(adversarial()), np.array(adversarial())
    for result in (first, second):
        assert np.abs(result - x).max() <= 0.2 + 1e-6
        assert result.min() >= 0
        assert result.max() <= 1
    judge = SampledNetwork(network, 50)
    clean, attacked = (cross_entropy(judge(pixels), y) for pixels in (x, first))
    assert np.mean(attacked > clean) > 0.95
    # The start is the same in both, so the rest is the draws.
    assert np.any(first != second)


def test_pgd_draws_at_each_step():
    network, x, y = linear(), images(), np.zeros(6, np.int32)
    attack = PGD(epsilon=0.2, step_size=0.05, steps=5)
    tf.function(lambda: attack(SampledNetwork(network, 3), x, y))()
    state = network.layers[-1].seed_generator.state
    # Steps; draws, kernel and bias. The number of classes is known without a call.
    np.testing.assert_array_equal(state, [SEED, 5 * 3 * 2])


@pytest.mark.parametrize("samples", [0, -1, 1.5])
def test_invalid_samples(samples):
    with pytest.raises(ValueError, match=rf"argument `samples`.*Received: samples={samples}"):
        SampledNetwork(linear(), samples)
    with pytest.raises(ValueError, match="argument `samples`"):
        evaluate_sampled(linear(), [], FGSM(epsilon=0.1), samples)


def test_a_deterministic_network_gives_itself():
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    x = np.random.default_rng(0).random((5, 4)).astype(np.float32)
    expected = tf.nn.log_softmax(network(x))
    np.testing.assert_allclose(SampledNetwork(network, 2)(x), expected, atol=1e-6)


def test_masks_are_drawn_for_each_image():
    """Against the mean over the masks that the layer itself draws in training."""
    mask = BetaBernoulliDropout(seed=SEED)
    dense = keras.layers.Dense(3)
    network = keras.Sequential([keras.Input((4,)), mask, dense])
    x = np.ones((6, 4), np.float32)
    sampled = SampledNetwork(network, 2)(x)
    mask.seed_generator.state.assign([SEED, 0])
    draws = [tf.nn.softmax(dense(mask(x, training=True))) for _ in range(2)]
    np.testing.assert_allclose(np.exp(sampled), np.mean(draws, 0), rtol=1e-4)
    assert len(np.unique(np.round(sampled, 5), axis=0)) > 1  # the images are the same


def test_any_function_is_averaged():
    calls = iter([[[0.0, 3.0]], [[3.0, 0.0]]])
    sampled = SampledNetwork(lambda x, training: tf.constant(next(calls)), 2)
    np.testing.assert_allclose(sampled(np.zeros((1, 4))), np.log([[0.5, 0.5]]), atol=1e-6)


@pytest.mark.slow
def test_accuracy_without_spread_is_that_of_the_network():
    network = deep(rho=-30.0)
    batches = data.batches(labelled(network), 20)
    attack, counted = FGSM(epsilon=0.125), []
    expected = evaluate_robustness(network, batches, attack)
    assert 0 < expected.adversarial_accuracy < expected.clean_accuracy < 1
    result = evaluate_sampled(network, batches, attack, 2, progress=counted.append)
    assert (result.examples, result.vulnerability, counted) == (50, None, [20, 40, 50])
    assert result.clean_accuracy == expected.clean_accuracy
    assert result.adversarial_accuracy == expected.adversarial_accuracy
    shuffled = batches.unbatch().shuffle(50, seed=1).batch(20)
    result = evaluate_sampled(network, shuffled, attack, 2)
    assert result.adversarial_accuracy == expected.adversarial_accuracy


def test_accuracy_follows_the_seed_and_leaves_the_network_as_it_was():
    network = linear(rho=1.0)
    batches = data.batches(labelled(linear(), 100), 50)
    before = [np.array(variable) for variable in network.variables]

    def measure(seed):
        return evaluate_sampled(network, batches, PGD(epsilon=0.1, step_size=0.1, steps=1), 1, seed)

    first = measure(1)
    assert measure(1) == first
    assert measure(2) != first
    for variable, value in zip(network.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_random_state_is_put_back_after_an_error():
    network = deep(rho=0.0)
    states = [np.array(layer.seed_generator.state) for layer in bayes_layers(network)]

    def stop(examples):
        drawn = [np.array(layer.seed_generator.state) for layer in bayes_layers(network)]
        assert np.all(np.not_equal(drawn, states))
        raise RuntimeError("boom")

    batches = data.batches(labelled(network), 20)
    with pytest.raises(RuntimeError, match="boom"):
        evaluate_sampled(network, batches, FGSM(epsilon=0.1), 1, progress=stop)
    for layer, state in zip(bayes_layers(network), states, strict=True):
        np.testing.assert_array_equal(layer.seed_generator.state, state)


def test_no_examples():
    network = deep(rho=0.0)
    with pytest.raises(ValueError, match="no examples to evaluate on"):
        evaluate_sampled(network, data.batches(labelled(network), 7).take(0), FGSM(epsilon=0.1), 2)
