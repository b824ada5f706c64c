"""Adversarial training, the rows `at` and `pretrained_at`."""

from anp_tf.methods.training_model import TrainingModel


class AdversarialTraining(TrainingModel):
    """(CE(x) + w CE(x')) / (1 + w) + decay, without masks (Madry et al. 2018, with both losses)."""

    in_words = "adversarial training"
    uses_attack = True

    def objective(self, terms):
        return self.mixed_loss(terms) + terms.decay, None


class PretrainedAdversarialTraining(AdversarialTraining):
    """Adversarial training that starts from a standard network (Hendrycks et al. 2019)."""

    in_words = "adversarial training from a standard network"
    starts_from = "standard"
