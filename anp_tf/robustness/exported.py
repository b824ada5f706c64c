"""The accuracy of a network in a form that gives no gradients, such as a LiteRT file."""

import dataclasses

import numpy as np

from anp_tf.robustness.accuracy import adversarial_batches


@dataclasses.dataclass(frozen=True)
class ExportedAccuracy:
    """Figures over all examples.

    Attributes:
        examples: Number of examples.
        clean_accuracy: Share of clean images classified correctly, in [0, 1].
        adversarial_accuracy: Share of adversarial images classified correctly, in [0, 1].
    """

    examples: int
    clean_accuracy: float
    adversarial_accuracy: float


def exported_accuracy(predict, network, batches, attack, seed=0):
    """Measures an exported network on clean images, and on those of an attack on its original.

    The attack knows the network as it was before its weights were rounded, which is what an
    attacker of a quantized network would take to get gradients.

    Args:
        predict: Function from pixels [batch, ...] to logits [batch, classes], NumPy arrays.
        network: The functional `keras.Model` it was exported from.
        batches, attack, seed: As in `evaluate_robustness`.

    Returns:
        `ExportedAccuracy`.
    """
    examples = clean = adversarial = 0
    attacked = adversarial_batches(network, batches, attack, seed)
    for (x, y), moved in zip(batches, attacked, strict=True):
        labels = y.numpy()
        examples += len(labels)
        clean += np.count_nonzero(predict(x.numpy()).argmax(-1) == labels)
        adversarial += np.count_nonzero(predict(moved.numpy()).argmax(-1) == labels)
    return ExportedAccuracy(examples, clean / examples, adversarial / examples)
