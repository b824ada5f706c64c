"""Training methods: each is a `keras.Model` that `fit` trains, and a row of the paper's tables."""

from anp_tf.methods.anp_vs import AdversarialNeuralPruning
from anp_tf.methods.bp import BayesianPruning
from anp_tf.methods.standard import Standard
from anp_tf.methods.training_model import Terms, TrainingModel

METHODS = {
    "standard": Standard,
    "bp": BayesianPruning,
    "anp_vs": AdversarialNeuralPruning,
}

__all__ = [
    "METHODS",
    "AdversarialNeuralPruning",
    "BayesianPruning",
    "Standard",
    "Terms",
    "TrainingModel",
]
