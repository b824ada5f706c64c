"""Adversarial neural pruning without vulnerability suppression, the row `anp`."""

from anp_tf.methods.training_model import TrainingModel


class AdversarialNeuralPruning(TrainingModel):
    """Masks learned on adversarial images, weights on both (Madaan et al. 2020, sec. 3).

    The masks minimise CE(x') + beta KL/N, the weights (CE(x) + w CE(x')) / (1 + w) + decay.
    """

    in_words = "adversarial neural pruning"
    uses_attack = True
    uses_masks = True
    learns_masks = True
    default_beta = 4.0
    starts_from = "standard"

    def objective(self, terms):
        return self.mixed_loss(terms) + terms.decay, terms.adversarial_loss + terms.kl
