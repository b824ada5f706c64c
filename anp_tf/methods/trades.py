"""TRADES, the row `trades`."""

from anp_tf.arguments import check_number
from anp_tf.attacks import TradesPGD
from anp_tf.losses import divergence, weighted_mean
from anp_tf.methods.training_model import TrainingModel


class Trades(TrainingModel):
    """CE(x) + beta_T KL(softmax f(x) || softmax f(x')) + decay, without masks.

    x' maximises the same divergence (Zhang et al. 2019, eq. 5 and algorithm 1).

    Args:
        trades_beta: Float, at least 0; beta_T, weight of the divergence (1 / lambda in the paper).
    """

    in_words = "adversarial training by TRADES"
    uses_attack = True
    attack_class = TradesPGD
    compares = True
    takes = ("trades_beta",)

    def __init__(self, *args, trades_beta=6.0, **kwargs):
        super().__init__(*args, **kwargs)
        check_number("trades_beta", trades_beta, lambda v: v >= 0, "a number of at least 0")
        self.trades_beta = trades_beta

    def objective(self, terms):
        distances = divergence(terms.adversarial_logits, terms.clean_logits)
        distance = weighted_mean(distances, terms.weights)
        return terms.clean_loss + self.trades_beta * distance + terms.decay, None
