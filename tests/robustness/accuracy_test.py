"""Accuracy and vulnerability over a whole data set, against NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from anp_tf import data
from anp_tf.attacks import FGSM, PGD, Attack
from anp_tf.layers import BetaBernoulliDropout, mask_layers
from anp_tf.models import lenet5_caffe
from anp_tf.pruning import slim
from anp_tf.robustness import adversarial_batches, evaluate_robustness, measure_robustness

EPSILON = 0.125


class Dense:
    """A network of two ReLU layers, in Keras and in NumPy."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        self.w1, self.b1 = rng.normal(size=(4, 6)), rng.normal(size=6) / 4
        self.w2, self.b2 = rng.normal(size=(6, 5)), rng.normal(size=5) / 4
        self.w3, self.b3 = rng.normal(size=(5, 3)), rng.normal(size=3) / 4
        self.keras = keras.Sequential(
            [
                keras.Input((2, 2, 1)),
                keras.layers.Flatten(),
                keras.layers.Dense(6, activation="relu"),
                keras.layers.Dense(5),
                keras.layers.ReLU(),
                keras.layers.Dense(3),
            ]
        )
        self.keras.set_weights([self.w1, self.b1, self.w2, self.b2, self.w3, self.b3])

    def __call__(self, x):
        """Hidden layers and logits."""
        h1 = np.maximum(x.reshape(-1, 4) @ self.w1 + self.b1, 0)
        h2 = np.maximum(h1 @ self.w2 + self.b2, 0)
        return h1, h2, h2 @ self.w3 + self.b3

    def attack(self, x, y):
        """One step of length EPSILON along the sign of the gradient, within [0, 1]."""
        h1, h2, logits = self(x)
        p = np.exp(logits - logits.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        g2 = (p - np.eye(3)[y]) @ self.w3.T * (h2 > 0)
        g1 = g2 @ self.w2.T * (h1 > 0)
        gradient = (g1 @ self.w1.T).reshape(x.shape)
        return np.clip(x + EPSILON * np.sign(gradient), 0, 1)

    def measure(self, x, y, source=None):
        """Clean accuracy, adversarial accuracy and vulnerability."""
        adversarial = (source or self).attack(x, y)
        (*hidden, logits), (*other, other_logits) = self(x), self(adversarial)
        vulnerability = np.mean([np.abs(a - b).mean() for a, b in zip(hidden, other, strict=True)])
        return np.mean(logits.argmax(-1) == y), np.mean(other_logits.argmax(-1) == y), vulnerability


@pytest.fixture(scope="module")
def examples():
    """50 images, most of which the first network classifies correctly."""
    rng = np.random.default_rng(3)
    images = rng.integers(0, 256, (50, 2, 2, 1), np.uint8)
    labels = Dense(0)(images / 255)[-1].argmax(-1)
    labels[::7] = (labels[::7] + 1) % 3
    return data.Examples(images, labels.astype(np.int32), 3)


def figures(result):
    return result.clean_accuracy, result.adversarial_accuracy, result.vulnerability


@pytest.mark.parametrize("batch_size", [1, 7, 50, 256])
def test_equals_numpy_whatever_the_batches(examples, batch_size):
    expected = Dense(0).measure(examples.images / 255, examples.labels)
    assert 0 < expected[1] < expected[0] < 1  # else this test shows little
    result = evaluate_robustness(
        Dense(0).keras, data.batches(examples, batch_size), FGSM(epsilon=EPSILON)
    )
    assert result.examples == 50
    assert figures(result) == pytest.approx(expected, rel=1e-5)


def test_images_of_another_network(examples):
    expected = Dense(0).measure(examples.images / 255, examples.labels, source=Dense(1))
    assert expected != Dense(0).measure(examples.images / 255, examples.labels)
    result = evaluate_robustness(
        Dense(0).keras, data.batches(examples, 7), FGSM(epsilon=EPSILON), source=Dense(1).keras
    )
    assert figures(result) == pytest.approx(expected, rel=1e-5)


def test_a_network_without_hidden_features_has_no_vulnerability(examples):
    linear = keras.Sequential([keras.Input((2, 2, 1)), keras.layers.Flatten()])
    linear.add(keras.layers.Dense(3))
    result = evaluate_robustness(linear, data.batches(examples, 50), FGSM(epsilon=EPSILON))
    logits = linear(examples.pixels)
    assert result.clean_accuracy == np.mean(np.argmax(logits, -1) == examples.labels)
    assert result.adversarial_accuracy <= result.clean_accuracy
    assert result.vulnerability is None


@pytest.mark.parametrize("kind", [pytest.param("reshuffled", marks=pytest.mark.slow), "one pass"])
def test_data_are_read_once(examples, kind):
    """Each image is judged beside the one that was made of it, in whatever order they come."""
    expected = Dense(0).measure(examples.images / 255, examples.labels)
    batches = data.batches(examples, 50).unbatch().shuffle(50, seed=1).batch(7)
    batches = batches if kind == "reshuffled" else iter(batches)
    result = evaluate_robustness(Dense(0).keras, batches, FGSM(epsilon=EPSILON))
    assert result.examples == 50
    assert figures(result) == pytest.approx(expected, rel=1e-5)


class Further(Attack):
    """Moves the first image of each batch by more than the ball, the second out of [0, 1]."""

    def perturb(self, network, x, y, seed):
        far = tf.where(x > 0.5, x - 2 * self.epsilon, x + 2 * self.epsilon)
        return tf.concat([far[:1], x[1:2] - x[1:2] - 0.01, x[2:]], 0)


def test_images_outside_the_threat_model_are_told(examples, caplog):
    dark = data.Examples(np.minimum(examples.images, 20), examples.labels, 3)
    batches = data.batches(dark, 25)
    evaluate_robustness(Dense(0).keras, batches, FGSM(epsilon=EPSILON))
    assert not caplog.records
    evaluate_robustness(Dense(0).keras, batches, Further(epsilon=EPSILON))
    (record,) = caplog.records
    assert "4 of 50 adversarial images are outside the ball" in record.getMessage()


@pytest.mark.slow
def test_images_that_were_made_before(examples):
    batches, attack = data.batches(examples, 7), FGSM(epsilon=EPSILON)
    images = list(adversarial_batches(Dense(1).keras, batches, attack, 3))
    made = np.concatenate(images)
    assert made.shape == examples.images.shape
    assert 0 < np.abs(made - examples.images / 255).max() <= EPSILON + 1e-6
    expected = evaluate_robustness(Dense(0).keras, batches, attack, Dense(1).keras, seed=3)
    assert measure_robustness(Dense(0).keras, batches, images) == expected
    with pytest.raises(ValueError, match="shorter"):
        measure_robustness(Dense(0).keras, batches, images[:-1])


@pytest.mark.slow
def test_last_partial_batch_counts_by_its_size():
    # The network says class 0 always; so do the labels of all images but the last.
    labels = np.array([0] * 6 + [1], np.int32)
    images = np.zeros((7, 2, 2, 1), np.uint8)
    network = Dense(0)
    network.keras.set_weights([np.zeros_like(w) for w in network.keras.get_weights()])
    network.keras.layers[-1].bias.assign([2.0, 0.0, 0.0])
    batches = data.batches(data.Examples(images, labels, 3), 6)
    result = evaluate_robustness(network.keras, batches, FGSM(epsilon=EPSILON))
    assert figures(result) == (6 / 7, 6 / 7, 0.0)


@pytest.mark.slow
def test_random_starts_follow_the_seed(examples):
    attack = PGD(epsilon=0.5, step_size=1e-6, steps=1)

    def measure(seed):
        return evaluate_robustness(Dense(0).keras, data.batches(examples, 7), attack, seed=seed)

    assert measure(1) == measure(1)
    assert measure(1).vulnerability != measure(2).vulnerability


def test_no_examples(examples):
    with pytest.raises(ValueError, match="no examples to evaluate on"):
        evaluate_robustness(
            Dense(0).keras, data.batches(examples, 7).take(0), FGSM(epsilon=EPSILON)
        )


def test_progress_counts_examples(examples):
    counted = []
    attack = FGSM(epsilon=EPSILON)
    evaluate_robustness(Dense(0).keras, data.batches(examples, 20), attack, progress=counted.append)
    assert counted == [20, 40, 50]


@pytest.mark.parametrize("shape", [{"input_shape": (32, 32, 1)}, {"num_classes": 7}])
def test_source_of_another_shape(examples, shape):
    network, source = lenet5_caffe(width_multiplier=0.1), lenet5_caffe(**shape)
    with pytest.raises(
        ValueError, match="`source` must have the inputs and outputs of the network"
    ):
        evaluate_robustness(network, [], FGSM(epsilon=EPSILON), source=source)


@pytest.fixture(scope="module")
def masked():
    """A LeNet whose masks prune a third of the units."""
    keras.utils.set_random_seed(0)
    network = lenet5_caffe(lambda name: BetaBernoulliDropout(name=name), width_multiplier=0.3)
    rng = np.random.default_rng(0)
    for mask in mask_layers(network):
        mask.a_u.assign(rng.choice([-20.0, 1.0, 5.0], mask.units))
    return network


@pytest.mark.slow
def test_attack_on_the_slimmed_network_is_the_attack_on_the_network(masked):
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (100, 28, 28, 1), np.uint8)
    labels = np.argmax(masked(images / np.float32(255)), -1).astype(np.int32)
    batches = data.batches(data.Examples(images, labels, 10), 40)
    attack = PGD(epsilon=0.01, step_size=0.0025, steps=8)
    direct = evaluate_robustness(masked, batches, attack)
    slimmed = evaluate_robustness(masked, batches, attack, source=slim(masked))
    assert 0.1 < direct.adversarial_accuracy < 0.9  # else this test shows little
    assert slimmed.clean_accuracy == direct.clean_accuracy == 1
    assert slimmed.adversarial_accuracy == pytest.approx(direct.adversarial_accuracy, abs=0.01)
    assert slimmed.vulnerability == pytest.approx(direct.vulnerability, rel=0.01)


def test_network_is_run_in_inference_mode(examples):
    network = Dense(0).keras
    dropped = keras.Sequential(
        [keras.Input((2, 2, 1)), keras.layers.Dropout(0.9), *Dense(0).keras.layers], name="dropped"
    )
    dropped = keras.models.clone_model(dropped)
    dropped.set_weights(network.get_weights())
    batches = data.batches(examples, 7)
    attack = FGSM(epsilon=EPSILON)
    assert evaluate_robustness(dropped, batches, attack) == evaluate_robustness(
        network, batches, attack
    )


def test_nan_in_the_network_is_an_error(examples):
    network = Dense(0).keras
    network.layers[-1].bias.assign([np.nan, 0.0, 0.0])
    with pytest.raises(tf.errors.InvalidArgumentError, match="no finite gradient"):
        evaluate_robustness(network, data.batches(examples, 7), FGSM(epsilon=EPSILON))


def test_probabilities_are_refused_where_they_are_attacked(examples):
    """Their gradients vanish, so that the network would seem robust."""
    network = Dense(1).keras
    probabilities = keras.Sequential([network, keras.layers.Softmax()])
    batches, attack = data.batches(examples, 10), FGSM(epsilon=EPSILON)
    with pytest.raises(ValueError, match=r"must return logits, .* the network ends in softmax"):
        evaluate_robustness(probabilities, batches, attack)
    with pytest.raises(ValueError, match=r"must return logits, .* which sum to 1"):
        evaluate_robustness(lambda x, training: probabilities(x), batches, attack)
    by_transfer = evaluate_robustness(probabilities, batches, attack, source=network)
    expected = evaluate_robustness(network, batches, attack)
    assert by_transfer.adversarial_accuracy == expected.adversarial_accuracy
