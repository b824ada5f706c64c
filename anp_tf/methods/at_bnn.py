"""Adversarial training of a Bayesian network, the row `at_bnn`."""

from anp_tf.methods.training_model import TrainingModel


class AdversarialBayesByBackprop(TrainingModel):
    """(CE(x) + w CE(x')) / (1 + w) + beta KL/N over weights drawn anew at each step.

    The clean and the adversarial images share a draw; the attack acts on the posterior's mean. The
    prior takes the place of weight decay (Blundell et al. 2015; Liu et al. 2019); regularizers of
    the weights' own count.
    """

    in_words = "adversarial training of random weights"
    uses_attack = True
    uses_random_weights = True
    default_beta = 0.01

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.decay.decayed = []

    def objective(self, terms):
        return self.mixed_loss(terms) + terms.kl + terms.decay, None
