"""The choice of the epoch whose network is kept."""

import keras

SCORE = "selection_score"  # in the logs, and so in `metrics.jsonl`, of the epochs that count


def score_of(epoch):
    """The score of an epoch: its robust validation accuracy, clean where nothing is attacked.

    Where bounds are trained, it is the middle between what is proved and what is attacked without
    success, as the robust accuracy lies between the two.

    Args:
        epoch: Dict, its logs or its record in `metrics.jsonl`.

    Returns:
        Float in [0, 1], or None where nothing was validated.
    """
    robust = epoch.get("val_adversarial_accuracy", epoch.get("val_accuracy"))
    return None if robust is None else float(robust + epoch.get("val_proved", robust)) / 2


def kept_epoch(epochs, select="best"):
    """The epoch whose network a run keeps, which `BestEpoch` chose unless it is the last.

    Args:
        epochs: List of the records in `metrics.jsonl`, at least one.
        select: `"best"` or `"last"`, as in `Settings`.

    Returns:
        Dict, its record.
    """
    counting = [epoch for epoch in epochs if SCORE in epoch] if select == "best" else []
    return max(counting, key=lambda epoch: (epoch[SCORE], epoch["epoch"]), default=epochs[-1])


class BestEpoch(keras.callbacks.Callback):
    """Remembers the weights of the best epoch.

    The best has the highest score, by `score_of`, among the epochs after the warm-ups that have at
    least the given sparsity; of equals, the latest. The logs of these have it as
    `selection_score`.

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
        score = score_of(logs)
        if score is None or epoch + 1 < self.first_epoch:
            return
        if logs.get("sparsity", 1.0) < self.min_sparsity:
            return
        logs[SCORE] = score
        if self.choice is None or score >= self.choice["score"]:
            self.choice = {"epoch": epoch + 1, "score": score}
            self.weights = [v.numpy() for v in self.model.network.variables]
