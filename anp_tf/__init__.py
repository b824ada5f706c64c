"""Adversarial neural pruning: networks that are robust to adversarial examples, and small.

The names below, and the packages that they come from, are imported when they are first used.
"""

import importlib

__version__ = "0.1.0"

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
    "figures",
    "layers",
    "losses",
    "methods",
    "models",
    "pruning",
    "robustness",
    "serving",
)
__all__ = [*NAMES, *PACKAGES, "load"]


def __getattr__(name):
    if name in NAMES:
        return getattr(importlib.import_module(f"anp_tf.{NAMES[name]}"), name)
    if name in PACKAGES:
        return importlib.import_module(f"anp_tf.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *__all__})


def load(path):
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
