"""Accuracies under attack that the checks compare, each measured once and kept on disk."""

import dataclasses
import pathlib
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from anp_tf.errors import sentence
from anp_tf.intervals import with_interval
from anp_tf.progress import silent
from anp_tf.robustness.batch_files import EvaluationError, fooled_images
from anp_tf.robustness.threat import Threat
from anp_tf.robustness.worst_case import worst_case

CANNOT_RUN = ValueError, LookupError, tf.errors.InvalidArgumentError, tf.errors.UnimplementedError


@dataclasses.dataclass(frozen=True)
class Measured:
    """What one attack leaves of a network.

    Attributes:
        name: Of the attack.
        total: Integer, the images there are.
        accuracy: Robust accuracy in percent; None if the attack could not run.
        fooled: Indices of the images that are misclassified after the attack, integers [n].
        recheck: As in the result of `worst_case`.
        error: Why it could not run, or None.
    """

    name: str
    total: int
    accuracy: float | None
    fooled: np.ndarray
    recheck: dict
    error: str | None = None

    @property
    def percent(self):
        """The accuracy with its interval, as text."""
        return with_interval(self.accuracy, self.total, 1, unit=True)

    @property
    def text(self):
        """The attack and its accuracy."""
        return f"{self.name} {self.percent}"


@dataclasses.dataclass
class Measurements:
    """Measures a network under attacks, each in a folder of its own, so that it can go on.

    Attributes:
        network: Keras model, or function `(pixels, training) -> logits`.
        batches: `tf.data.Dataset` of (pixels, labels), always in the same order.
        total: Integer, the images in it.
        folder: `pathlib.Path` of all measurements.
        threat: `Threat`.
        identity, deterministic: As for `worst_case`.
        counter: Function `(title, total) -> context manager of a progress function`.
        done: List of `Measured` so far.
    """

    network: Callable
    batches: tf.data.Dataset
    total: int
    folder: pathlib.Path
    threat: Threat
    identity: dict
    deterministic: bool = True
    counter: Callable = silent
    done: list = dataclasses.field(default_factory=list)

    def of(self, name, attack, network=None, *, epsilon=None, stochastic=False):
        """A `Measured` of the network, or of another one, which may be stochastic.

        Args:
            name: Text.
            attack: An `anp_tf.attacks` object.
            network: Another network; None: that of the measurements.
            epsilon: Float, another radius.
            stochastic: Boolean, whether the other network's calls differ.
        """
        network = self.network if network is None else network
        threat = self.threat if epsilon is None else self.threat.at(epsilon)
        folder = pathlib.Path(self.folder) / f"{name}-{threat.epsilon:g}"
        steady = self.deterministic and not stochastic
        try:
            with self.counter(name, self.total) as progress:
                result = worst_case(
                    network,
                    self.batches,
                    {name: attack},
                    folder,
                    threat,
                    identity=self.identity,
                    deterministic=steady,
                    progress=progress,
                )
        except EvaluationError:
            raise
        except CANNOT_RUN as error:
            return Measured(name, self.total, None, np.zeros(0, int), {}, sentence(error))
        recheck = result["recheck"]
        if not steady:  # its answers change, whatever the image
            recheck = {**recheck, "classified_correctly": 0}
        fooled = fooled_images(folder, self.total)
        measured = Measured(name, self.total, result["robust_accuracy"], fooled, recheck)
        self.done.append(measured)
        return measured
