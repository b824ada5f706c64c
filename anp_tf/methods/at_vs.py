"""Adversarial training with vulnerability suppression, the row `at_vs`."""

from anp_tf.methods.training_model import TrainingModel


class AdversarialTrainingVS(TrainingModel):
    """(CE(x) + w CE(x')) / (1 + w) + lambda V + decay, without masks (Madaan et al. 2020)."""

    in_words = "adversarial training with vulnerability suppression"
    uses_attack = True
    suppresses = True

    def objective(self, terms):
        return self.mixed_loss(terms) + self.suppression(terms) + terms.decay, None
