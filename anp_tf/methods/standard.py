"""Standard training, the row `standard`."""

from anp_tf.methods.training_model import TrainingModel


class Standard(TrainingModel):
    """CE(x) + decay, on clean images, without masks."""

    in_words = "trained on clean images"

    def objective(self, terms):
        return terms.clean_loss + terms.decay, None
