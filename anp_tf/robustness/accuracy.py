"""Accuracy and vulnerability of a network under an attack, over a whole data set."""

import dataclasses
import itertools
import logging
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from anp_tf.attacks import Attack
from anp_tf.attacks.attack_step import attack_step
from anp_tf.attacks.entrance import labels_of
from anp_tf.intervals import with_interval
from anp_tf.losses import vulnerability
from anp_tf.models import with_latents
from anp_tf.robustness.interface import PROBE_IMAGES, ending, why_probabilities
from anp_tf.robustness.judge import answers, check_judgeable
from anp_tf.robustness.threat import NORMS, Threat
from anp_tf.tables import TextTable, plain_table

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Robustness:
    """Figures over all examples; accuracies are shares, where `attack_candidate` gives percent.

    Attributes:
        examples: Number of examples.
        clean_accuracy: Share of clean images classified correctly, in [0, 1].
        adversarial_accuracy: Share of adversarial images that are classified correctly by more than
            rounding may change, in [0, 1].
        vulnerability: Mean over hidden layers, features and images of |z(x) - z(x')|; None of a
            network that is no Keras model.
    """

    examples: int
    clean_accuracy: float
    adversarial_accuracy: float
    vulnerability: float | None

    def __repr__(self):
        figures = {
            "clean": f"{100 * self.clean_accuracy:.2f} %",
            "adversarial": f"{100 * self.adversarial_accuracy:.2f} %",
            "vulnerability": "-" if self.vulnerability is None else f"{self.vulnerability:.4f}",
        }
        texts = ", ".join(f"{name} {text}" for name, text in figures.items())
        return f"Robustness({self.examples:,} examples: {texts})"

    def table(self) -> TextTable:
        """The figures as text, accuracies with their 95 % intervals; a notebook shows a table."""
        rows = [
            ("clean accuracy, %", with_interval(100 * self.clean_accuracy, self.examples)),
            ("under attack, %", with_interval(100 * self.adversarial_accuracy, self.examples)),
        ]
        if self.vulnerability is not None:
            rows.append(("vulnerability", f"{self.vulnerability:.4f}"))
        return plain_table(f"{self.examples:,} examples", ("", ""), rows, texts=2)

    def _repr_html_(self):
        return self.table()._repr_html_()


def evaluate_robustness(
    network: Callable[..., tf.Tensor],
    batches: tf.data.Dataset,
    attack: Callable[..., tf.Tensor],
    source: Callable[..., tf.Tensor] | None = None,
    seed: int = 0,
    progress: Callable[[int], object] | None = None,
) -> Robustness:
    """Attacks every example and measures the network.

    The examples are read once. Adversarial images outside the ball of an `Attack`, or outside
    [0, 1], count like others; a warning says how many there are.

    Args:
        network: Functional `keras.Model` from pixels to logits, run in inference mode, or any
            function `(pixels, training) -> logits`.
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
        ValueError: if there are no examples, if the source has other inputs or outputs, or if the
            network that is attacked returns probabilities.
        LogitsError: if logits are NaN or infinite.
    """
    both_are_models = all(isinstance(one, keras.Model) for one in (source, network))
    if both_are_models and _shapes(source) != _shapes(network):
        raise ValueError(
            "Argument `source` must have the inputs and outputs of the network, "
            f"{_shapes(network)}. Received: a network with {_shapes(source)}"
        )
    attacked, judged = itertools.tee(batches)  # read once: another pass may have another order
    images = adversarial_batches(network if source is None else source, attacked, attack, seed)
    return measure_robustness(network, judged, images, progress)


def adversarial_batches(network, batches, attack, seed=0, progress=None):
    """Attacks a network on every example; yields tensors like the pixels of each batch.

    What an image becomes does not depend on the batches. At the end a warning says how many images
    an `Attack` has moved out of its ball or out of [0, 1].

    Args:
        network, batches, attack, seed, progress: As in `evaluate_robustness`.
    """
    step, first, outside = attack_step(network, attack, seed), 0, 0
    for x, y in batches:
        if not first:
            _check_logits(network, x[:PROBE_IMAGES])
        images = step(x, labels_of(y, x), tf.range(first, first + len(x)))
        outside += _outside(attack, np.asarray(images), np.asarray(x))
        yield images
        first += len(x)
        if progress:
            progress(first)
    if outside:
        log.warning(
            "%d of %d adversarial images are outside the ball of the attack or outside [0, 1]; "
            "they count all the same",
            outside,
            first,
        )


def _check_logits(network, x):
    outputs = np.asarray(network(x, training=False), np.float64)
    if why := why_probabilities(outputs, ending(network)):
        raise ValueError(
            "The attacked network must return logits, for the gradients of probabilities vanish. "
            f"Received: outputs from {outputs.min():.3g} to {outputs.max():.3g}, {why}"
        )


def _outside(attack, images, x):
    """How many images an `Attack` has moved out of its ball or out of [0, 1]."""
    if not isinstance(attack, Attack):
        return 0
    (norm,) = (name for name, kind in NORMS.items() if isinstance(attack.norm, kind))
    too_far, no_pixels, _ = Threat(attack.epsilon, norm).outside(images, x)
    return int(np.sum(too_far | no_pixels))


def measure_robustness(network, batches, images, progress=None):
    """Measures a network on images and on adversarial ones that were made before.

    Args:
        network, batches, progress: As in `evaluate_robustness`.
        images: Iterable of the adversarial images of each batch.

    Returns:
        `Robustness`.

    Raises:
        ValueError: if there are no examples, or not as many batches of adversarial images.
        LogitsError: if logits are NaN or infinite.
    """
    latent_network, has_latents = _without_latents(network), False
    if isinstance(network, keras.Model):
        latent_network = with_latents(network, required=False)
        has_latents = bool(latent_network.output[0])

    @tf.function(reduce_retracing=True)
    def measure(x, adversarial, y):
        latents, logits = latent_network(x, training=False)
        other_latents, other_logits = latent_network(adversarial, training=False)
        (finite, is_class), right, _, _ = answers(logits, y)
        (other_finite, _), _, withstands, _ = answers(other_logits, y)
        moved = vulnerability(latents, other_latents) if has_latents else tf.constant(0.0)
        return (finite & other_finite, is_class), right, withstands, moved

    examples = clean = adversarial = 0
    distortion = 0.0
    for (x, y), moved in zip(batches, images, strict=True):
        judgeable, right, withstands, batch_distortion = measure(x, moved, labels_of(y, x))
        check_judgeable(judgeable)
        examples += len(x)
        clean += int(tf.math.count_nonzero(right))
        adversarial += int(tf.math.count_nonzero(withstands))
        distortion += float(batch_distortion) * len(x)
        if progress:
            progress(examples)
    if not examples:
        raise ValueError("There are no examples to evaluate on.")
    distortion = distortion / examples if has_latents else None
    return Robustness(examples, clean / examples, adversarial / examples, distortion)


def _without_latents(network):
    return lambda pixels, training: ([], network(pixels, training=training))


def _shapes(network):
    return network.input_shape[1:], network.output_shape[1:]
