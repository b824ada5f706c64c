"""The choice of the epoch whose network is kept."""

import keras


class BestEpoch(keras.callbacks.Callback):
    """Remembers the weights of the best epoch.

    The best has the highest score among the epochs after the warm-ups that have at least the given
    sparsity; of equals, the latest. The score is the robust validation accuracy (clean, where
    nothing is attacked); where bounds are trained, the middle between what is proved and what is
    attacked without success, as the robust accuracy lies between the two.

    Args:
        first_epoch: Integer; epochs before it, counted from 1, are not chosen.
        min_sparsity: Float in [0, 1), share of the units that must be pruned.

    Attributes:
        choice: None, or a dict of the `epoch` (from 1) and its `score`.
        weights: List of arrays, the network's variables after that epoch.
    """

    def __init__(self, first_epoch=1, min_sparsity=0.0):
        super().__init__()
        self.first_epoch = first_epoch
        self.min_sparsity = min_sparsity
        self.choice = None
        self.weights = []

    def on_epoch_end(self, epoch, logs=None):
        score = logs.get("val_adversarial_accuracy", logs.get("val_accuracy"))
        if score is None or epoch + 1 < self.first_epoch:
            return
        score = (score + logs.get("val_proved", score)) / 2
        if logs.get("sparsity", 1.0) < self.min_sparsity:
            return
        if self.choice is None or score >= self.choice["score"]:
            self.choice = {"epoch": epoch + 1, "score": float(score)}
            self.weights = [v.numpy() for v in self.model.network.variables]
