"""Adversarial neural pruning: networks that are robust to adversarial examples, and small.

The names below, and the packages that they come from, are imported when they are first used.
"""

import importlib
import os
import typing

if typing.TYPE_CHECKING:
    import keras

    from anp_tf import attacks as attacks
    from anp_tf import bounds as bounds
    from anp_tf import data as data
    from anp_tf import layers as layers
    from anp_tf import losses as losses
    from anp_tf import methods as methods
    from anp_tf import models as models
    from anp_tf import pruning as pruning
    from anp_tf import robustness as robustness
    from anp_tf import serving as serving
    from anp_tf.attacks import PGD as PGD
    from anp_tf.bounds.prove import prove as prove
    from anp_tf.layers import BetaBernoulliDropout as BetaBernoulliDropout
    from anp_tf.methods import METHODS as METHODS
    from anp_tf.methods import AdversarialNeuralPruningVS as AdversarialNeuralPruningVS
    from anp_tf.pruning import cost as cost
    from anp_tf.pruning import insert_masks as insert_masks
    from anp_tf.pruning import mask_summary as mask_summary
    from anp_tf.pruning import slim as slim
    from anp_tf.robustness import attack_candidate as attack_candidate
    from anp_tf.robustness import evaluate_robustness as evaluate_robustness
    from anp_tf.serving import export_saved_model as export_saved_model

__version__ = "0.2.0"

# What a first program needs, by the module that has it.
NAMES = {
    "AdversarialNeuralPruningVS": "methods",
    "BetaBernoulliDropout": "layers",
    "METHODS": "methods",
    "PGD": "attacks",
    "attack_candidate": "robustness",
    "cost": "pruning",
    "evaluate_robustness": "robustness",
    "export_saved_model": "serving",
    "insert_masks": "pruning",
    "mask_summary": "pruning",
    "prove": "bounds",
    "slim": "pruning",
}
PACKAGES = (
    "attacks",
    "bounds",
    "data",
    "layers",
    "losses",
    "methods",
    "models",
    "pruning",
    "robustness",
    "serving",
)
__all__ = [*NAMES, *PACKAGES, "load"]


def _imported(name: str) -> object:
    if name in NAMES:
        return getattr(importlib.import_module(f"anp_tf.{NAMES[name]}"), name)
    if name in PACKAGES:
        return importlib.import_module(f"anp_tf.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if not typing.TYPE_CHECKING:  # or every name would be one, for a type checker
    __getattr__ = _imported


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load(path: str | os.PathLike[str]) -> "keras.Model":
    """The network in a `.keras` file, or in the workdir of a run, whatever layers it has.

    `keras.models.load_model` knows the masks and the random weights of such a file once
    `anp_tf.layers` is imported.

    Args:
        path: String or path.

    Returns:
        Keras model, not compiled.

    Raises:
        anp_tf.errors.WorkdirError: if there is none, or the file is damaged.
    """
    from anp_tf.workdir import load_network  # TensorFlow takes seconds to be imported

    return load_network(path)
