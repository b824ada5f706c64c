"""Accuracies under attack that the checks compare, each measured once and kept on disk."""

import contextlib
import dataclasses
import pathlib

import numpy as np
import tensorflow as tf

from anp_tf.robustness.batch_files import EvaluationError, saved_images
from anp_tf.robustness.worst_case import worst_case


@dataclasses.dataclass(frozen=True)
class Measured:
    """What one attack leaves of a network.

    Attributes:
        name: Of the attack.
        accuracy: Robust accuracy in percent; None if the attack could not run.
        fooled: Indices of the images that are misclassified after the attack, integers [n].
        recheck: As in the result of `worst_case`.
        error: Why it could not run, or None.
    """

    name: str
    accuracy: float | None
    fooled: np.ndarray
    recheck: dict
    error: str | None = None


class Measurements:
    """Measures a network under attacks, each in a folder of its own, so that it can go on.

    Args:
        network: Keras model, or function `(pixels, training) -> logits`.
        batches: `tf.data.Dataset` of (pixels, labels), always in the same order.
        total: Integer, the images in it.
        folder: `pathlib.Path` of all measurements.
        identity: As for `worst_case`.
        seed, norm, deterministic: As for `worst_case`.
        counter: Optional function `(title, total) -> context manager of a progress function`.
    """

    def __init__(
        self,
        network,
        batches,
        total,
        folder,
        *,
        identity,
        seed,
        norm,
        deterministic=True,
        counter=None,
    ):
        self.network = network
        self.batches = batches
        self.total = total
        self.folder = pathlib.Path(folder)
        self.identity = identity
        self.seed = seed
        self.norm = norm
        self.deterministic = deterministic
        self.counter = counter
        self.done = []

    def of(self, name, attack, epsilon, network=None, stochastic=False):
        """A `Measured` of the network, or of another one, which may be stochastic."""
        network = self.network if network is None else network
        folder = self.folder / f"{name}-{epsilon:g}"
        counting = self.counter(name, self.total) if self.counter else contextlib.nullcontext()
        try:
            with counting as progress:
                result = worst_case(
                    network,
                    self.batches,
                    {name: attack},
                    folder,
                    epsilon=epsilon,
                    norm=self.norm,
                    seed=self.seed,
                    identity=self.identity,
                    deterministic=self.deterministic and not stochastic,
                    progress=progress,
                )
        except EvaluationError:
            raise
        except (ValueError, tf.errors.InvalidArgumentError) as error:
            reason = " ".join(str(getattr(error, "message", error)).split())
            return Measured(name, None, np.zeros(0, int), {}, reason[:200])
        fooled = saved_images(folder, self.total)["index"]
        recheck = result["recheck"]
        if stochastic or not self.deterministic:  # whose answers change, whatever the image
            recheck = {**recheck, "classified_correctly": 0}
        measured = Measured(name, result["robust_accuracy"], fooled, recheck)
        self.done.append(measured)
        return measured
