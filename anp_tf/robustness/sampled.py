"""Stochastic networks, evaluated over several draws."""

import contextlib
import itertools
import math

import keras
import numpy as np
import tensorflow as tf

from anp_tf.arguments import check_count
from anp_tf.layers import bayes_layers, given_masks, mask_layers, sampled_weights
from anp_tf.robustness.accuracy import adversarial_batches, measure_robustness


class SampledNetwork:
    """An ensemble of draws of a stochastic network.

    Called as `sampled(pixels)`, it returns the log of the mean over `samples` draws of
    softmax(logits), which serve as logits. Bayes layers draw their weights anew at each call, and
    mask layers a mask for each image, in inference mode too. A gradient goes through all draws, so
    that an attack on it is one by expectation over transformation.

    Args:
        network: `keras.Model` from pixels to logits, with Bayes or mask layers, or any function
            `(pixels, training) -> logits` whose calls differ.
        samples: Integer, at least 1; draws per call.

    Call arguments:
        pixels: Tensor [batch, ...] in [0, 1].
        training: Boolean, as for `network`; weights and masks are drawn in either mode.

    Raises:
        ValueError: if `samples` is not an integer of at least 1.

    Reference:
        - Athalye et al. 2018, "Synthesizing Robust Adversarial Examples",
          https://arxiv.org/abs/1707.07397
    """

    def __init__(self, network, samples):
        self.network = network
        self.outputs = getattr(network, "outputs", None)  # which tell its classes without a draw
        self.samples = check_count("samples", samples)
        self._masks = mask_layers(network) if isinstance(network, keras.Model) else []

    def __call__(self, pixels, training=False):
        draws = [self._draw(pixels, training) for _ in range(self.samples)]
        dtype = tf.float64 if draws[0].dtype == tf.float64 else tf.float32
        log_probabilities = tf.nn.log_softmax(tf.cast(tf.stack(draws), dtype))
        return tf.reduce_logsumexp(log_probabilities, axis=0) - math.log(self.samples)

    def _draw(self, pixels, training):
        masks = {
            mask: mask.training_mask(
                tf.shape(pixels)[0], tf.cast(mask.seed_generator.next(), tf.int32)
            )
            for mask in self._masks
        }
        with sampled_weights(), given_masks(masks):
            return self.network(pixels, training=training)


def evaluate_sampled(network, batches, attack, samples, seed=0, progress=None):
    """Attacks the ensemble of sampled networks on every example and measures its accuracy.

    The attack draws at each of its steps; the predictions that count are made with other draws. The
    network is left as it was, its random state included.

    Args:
        network: Functional `keras.Model` from pixels to logits, with Bayes or mask layers.
        batches: `tf.data.Dataset` of (pixels [batch, ...], labels [batch]).
        attack: An `anp_tf.attacks` object.
        samples: Integer, at least 1; draws per prediction and per step of the attack.
        seed: Integer, at least 0, of the draws and of the attack's random starts.
        progress: Optional function, called with the number of examples done so far.

    Returns:
        `Robustness`, without a vulnerability.

    Raises:
        ValueError: if there are no examples, or `samples` is not an integer of at least 1.
    """
    sampled = SampledNetwork(network, samples)
    with _seeded([*bayes_layers(network), *mask_layers(network)], seed):
        attacked, judged = itertools.tee(batches)  # read once: they may be shuffled
        images = adversarial_batches(sampled, attacked, attack, seed)
        return measure_robustness(sampled, judged, images, progress)


@contextlib.contextmanager
def _seeded(layers, seed):
    """Within the block, the draws of the layers follow from the seed."""
    states = [layer.seed_generator.state for layer in layers]
    before = [state.numpy() for state in states]
    try:
        for state, start in zip(
            states, np.random.SeedSequence(seed).generate_state(len(states)), strict=True
        ):
            state.assign([start, 0])
        yield
    finally:
        for state, value in zip(states, before, strict=True):
            state.assign(value)
