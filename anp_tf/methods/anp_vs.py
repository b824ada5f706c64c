"""Adversarial neural pruning with vulnerability suppression, the row `anp_vs`."""

from anp_tf.methods.training_model import TrainingModel


class AdversarialNeuralPruning(TrainingModel):
    """Masks learned on adversarial images, weights on both and on the vulnerability.

    The masks minimise CE(x') + beta KL/N; the weights minimise
    (CE(x) + w CE(x')) / (1 + w) + lambda V + decay (Madaan et al. 2020, sec. 3).
    """

    uses_attack = True
    uses_masks = True
    default_beta = 4.0

    def objective(self, terms):
        weight = self.adversarial_weight
        mixed = (terms.clean_loss + weight * terms.adversarial_loss) / (1.0 + weight)
        suppressed = self.vulnerability_weight * terms.vulnerability
        return mixed + suppressed + terms.decay, terms.adversarial_loss + terms.kl
