"""Training methods: each is a `keras.Model` that `fit` trains, and a row of the paper's tables."""

from anp_tf.methods.admm import ADMM
from anp_tf.methods.anp import AdversarialNeuralPruning
from anp_tf.methods.anp_vs import AdversarialNeuralPruningVS
from anp_tf.methods.at import AdversarialTraining, PretrainedAdversarialTraining
from anp_tf.methods.at_bnn import AdversarialBayesByBackprop
from anp_tf.methods.at_vs import AdversarialTrainingVS
from anp_tf.methods.bound_loss import Bound
from anp_tf.methods.bp import BayesianPruning
from anp_tf.methods.distillation import Distillation
from anp_tf.methods.gradual_pruning import GradualPruning
from anp_tf.methods.magnitude import MagnitudePruning
from anp_tf.methods.schedule import Schedule
from anp_tf.methods.standard import Standard
from anp_tf.methods.terms import Terms
from anp_tf.methods.trades import Trades
from anp_tf.methods.training_model import TrainingModel

METHODS = {
    "standard": Standard,
    "bp": BayesianPruning,
    "at": AdversarialTraining,
    "at_vs": AdversarialTrainingVS,
    "at_bnn": AdversarialBayesByBackprop,
    "pretrained_at": PretrainedAdversarialTraining,
    "admm": ADMM,
    "trades": Trades,
    "anp": AdversarialNeuralPruning,
    "anp_vs": AdversarialNeuralPruningVS,
    "magnitude": MagnitudePruning,
}

__all__ = [
    "METHODS",
    "AdversarialNeuralPruning",
    "AdversarialNeuralPruningVS",
    "AdversarialTraining",
    "Bound",
    "Distillation",
    "Schedule",
    "Standard",
    "Terms",
    "TrainingModel",
]
