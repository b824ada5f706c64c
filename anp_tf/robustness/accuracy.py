"""Accuracy and vulnerability of a network under an attack, over a whole data set."""

import dataclasses

import tensorflow as tf

from anp_tf.losses import vulnerability
from anp_tf.models import with_latents


@dataclasses.dataclass(frozen=True)
class Robustness:
    """Figures over all examples.

    Attributes:
        examples: Number of examples.
        clean_accuracy: Share of clean images classified correctly, in [0, 1].
        adversarial_accuracy: Share of adversarial images classified correctly, in [0, 1].
        vulnerability: Mean over hidden layers, features and images of |z(x) - z(x')|.
    """

    examples: int
    clean_accuracy: float
    adversarial_accuracy: float
    vulnerability: float


def evaluate_robustness(network, batches, attack, source=None, seed=0, progress=None):
    """Attacks every example and measures the network.

    Args:
        network: Functional `keras.Model` from pixels to logits, run in inference mode.
        batches: `tf.data.Dataset` of (pixels [batch, ...], labels [batch]); a last partial batch
            counts by its size.
        attack: An `anp_tf.attacks` object.
        source: The network the adversarial images are made on. None: the network itself, the
            white-box attack. Its slimmed form gives the same attack faster; an independently
            trained network gives the black-box (transfer) attack.
        seed: Integer, of the attack's random starts.
        progress: Optional function, called with the number of examples done so far.

    Returns:
        `Robustness`.

    Raises:
        ValueError: if there are no examples, or if the source has other inputs or outputs.
    """
    if source is not None and _shapes(source) != _shapes(network):
        raise ValueError(
            "the source of the attack must take the same images and know the same classes as the "
            f"network; it has inputs and outputs {_shapes(source)}, the network {_shapes(network)}"
        )
    images = adversarial_batches(network if source is None else source, batches, attack, seed)
    return measure_robustness(network, batches, images, progress)


def adversarial_batches(network, batches, attack, seed=0):
    """Attacks a network on every example; yields tensors like the pixels of each batch.

    Args:
        network, batches, attack, seed: As in `evaluate_robustness`.
    """

    @tf.function(reduce_retracing=True)
    def perturb(x, y, index):
        return attack(network, x, y, seed=tf.stack([seed, index]))

    for index, (x, y) in enumerate(batches):
        yield perturb(x, y, tf.constant(index))


def measure_robustness(network, batches, images, progress=None):
    """Measures a network on images and on adversarial ones that were made before.

    Args:
        network, batches, progress: As in `evaluate_robustness`.
        images: Iterable of the adversarial images of each batch.

    Returns:
        `Robustness`.

    Raises:
        ValueError: if there are no examples, or not as many batches of adversarial images.
    """
    latent_network = with_latents(network)

    @tf.function(reduce_retracing=True)
    def measure(x, adversarial, y):
        latents, logits = latent_network(x, training=False)
        other_latents, other_logits = latent_network(adversarial, training=False)
        correct = [
            tf.math.count_nonzero(tf.equal(tf.argmax(output, -1, y.dtype), y), dtype=tf.int32)
            for output in (logits, other_logits)
        ]
        return *correct, vulnerability(latents, other_latents)

    examples = clean = adversarial = 0
    distortion = 0.0
    for (x, y), moved in zip(batches, images, strict=True):
        batch_clean, batch_adversarial, batch_distortion = measure(x, moved, y)
        examples += len(x)
        clean += int(batch_clean)
        adversarial += int(batch_adversarial)
        distortion += float(batch_distortion) * len(x)
        if progress:
            progress(examples)
    if not examples:
        raise ValueError("There are no examples to evaluate on.")
    return Robustness(examples, clean / examples, adversarial / examples, distortion / examples)


def _shapes(network):
    return network.input_shape[1:], network.output_shape[1:]
