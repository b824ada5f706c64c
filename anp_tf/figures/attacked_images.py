"""A network with its attacked test images, which its figures are computed from."""

import dataclasses
import functools

import keras
import numpy as np
import tensorflow as tf

from anp_tf import data
from anp_tf.attacks import PGD
from anp_tf.layers import mask_layers
from anp_tf.pruning import slim
from anp_tf.robustness import adversarial_batches, check_fits
from anp_tf.robustness.accuracy import attack_step

BATCH_SIZE = 250  # as in the evaluation, so that the adversarial images are the same


@dataclasses.dataclass(frozen=True, eq=False)
class AttackedImages:
    """A network under a white-box attack.

    Attributes:
        network: Functional `keras.Model` from pixels to logits, masks included.
        slimmed: The network that attacks run on: slimmed, which computes the same.
        examples: `anp_tf.data.Examples`, the test images.
        attack: `PGD`.
        seed: Integer, of the attack's random starts and of random directions.
        adversarial: float32 array like the images, pixels in [0, 1], after the attack.
    """

    network: keras.Model
    slimmed: keras.Model
    examples: data.Examples
    attack: PGD
    seed: int
    adversarial: np.ndarray

    @property
    def pixels(self):
        """The clean images, float32 [n, height, width, channels] in [0, 1]."""
        return self.examples.pixels

    def again(self, which=slice(None), *, seed=None, scale=1.0, steps=None):
        """Adversarial images of some of the examples under the attack, changed.

        Args:
            which: Indices or slice of the examples.
            seed: Integer, of the random starts; None: that of the attack.
            scale: Float above 0 that multiplies the radius and the step size.
            steps: Integer, the number of steps of the same size; None: that of the attack.

        Returns:
            float32 array [n, height, width, channels].
        """
        seed = self.seed if seed is None else seed
        steps = self.attack.steps if steps is None else steps
        change = {"seed": seed, "scale": scale, "steps": steps, "step_size": self.attack.step_size}
        change = {name: tf.constant(value) for name, value in change.items()}
        pixels, labels = self.pixels[which], self.examples.labels[which]
        positions = np.arange(len(pixels), dtype=np.int32)
        starts = range(0, len(pixels), BATCH_SIZE)
        parts = [[each[i : i + BATCH_SIZE] for each in (pixels, labels, positions)] for i in starts]
        return np.concatenate([self._step(*map(tf.constant, part), **change) for part in parts])

    @functools.cached_property
    def _step(self):
        return attack_step(self.slimmed, self.attack, self.seed)


def attack_all(network, examples, attack, seed=0, progress=None):
    """Attacks all examples.

    Args:
        network: Functional `keras.Model` from pixels to logits, with masks or without.
        examples: `anp_tf.data.Examples`, at least one.
        attack: `PGD`.
        seed: Integer; with the seed of an evaluation the images are those of the evaluation.
        progress: Optional function, called with the number of examples done so far.

    Returns:
        `AttackedImages`.

    Raises:
        ValueError: if the network takes other images or knows other classes than the examples.
    """
    check_fits("the network", network, examples)
    slimmed = slim(network) if mask_layers(network) else network
    batches = data.batches(examples, BATCH_SIZE)
    images = adversarial_batches(slimmed, batches, attack, seed, progress)
    images = np.concatenate([batch.numpy() for batch in images])
    return AttackedImages(network, slimmed, examples, attack, seed, images)


def logits(network, pixels):
    """The logits of images, float array [n, classes], in inference mode and in batches."""
    starts = range(0, len(pixels), BATCH_SIZE)
    return np.concatenate(
        [np.asarray(network(pixels[i : i + BATCH_SIZE], training=False)) for i in starts]
    )


def representatives(examples, count=5):
    """Indices of images to show: the first of each class among the first batch, at most `count`."""
    _, first = np.unique(examples.labels[:BATCH_SIZE], return_index=True)
    return np.sort(first)[:count]


def rounded(values, digits=5):
    """An array as nested lists of floats of some significant digits, to be saved as JSON."""
    values = np.asarray(values)
    flat = [float(f"{value:.{digits}g}") for value in values.ravel().tolist()]
    return np.reshape(flat, values.shape).tolist()
