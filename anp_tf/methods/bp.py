"""Bayesian pruning, the row `bp`."""

from anp_tf.methods.training_model import TrainingModel


class BayesianPruning(TrainingModel):
    """CE(x) + beta KL/N + decay for weights and masks, on clean images (Lee et al. 2018)."""

    in_words = "pruned by Bayesian masks on clean images"
    uses_masks = True
    learns_masks = True
    default_beta = 1.0
    starts_from = "standard"

    def objective(self, terms):
        loss = terms.clean_loss + terms.kl + terms.decay
        return loss, loss
