"""Adversarial neural pruning with vulnerability suppression, the row `anp_vs`."""

from anp_tf.methods.anp import AdversarialNeuralPruning


class AdversarialNeuralPruningVS(AdversarialNeuralPruning):
    """As `AdversarialNeuralPruning`, with lambda V in the loss of the weights.

    The masks minimise CE(x') + beta KL/N; the weights minimise
    (CE(x) + w CE(x')) / (1 + w) + lambda V + decay (Madaan et al. 2020, sec. 3).
    """

    in_words = "adversarial neural pruning with vulnerability suppression"
    suppresses = True

    def objective(self, terms):
        weight_loss, mask_loss = super().objective(terms)
        return weight_loss + self.suppression(terms), mask_loss
