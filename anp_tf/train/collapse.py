"""A guard against the collapse that training on single-step attacks may suffer."""

import logging

import keras

DROP = 0.2
log = logging.getLogger(__name__)


class CollapseGuard(keras.callbacks.Callback):
    """Goes back, and trains on with twice the noise, where robust validation accuracy collapses.

    A network collapses when it has learned to withstand the one step of its training attack and
    nothing else: its accuracy under the validation's attack, of more steps, falls from one epoch to
    the next. Where it is `DROP` below the highest so far, the weights, their averages and the state
    of their optimizer become those of the last epoch before; the epoch itself is lost. An epoch
    that ends with more units or weights pruned than those before starts anew: what pruning takes is
    no collapse. Masks are left as they are.

    Args:
        model: `TrainingModel` whose attack is an `NFGSM`.

    Attributes:
        choice: None, or a dict of the last good `epoch` (from 1), the highest `score` and the
            `sparsity`, the shares of units and of weights pruned, added, at which it is the
            highest.
        weights: List of arrays, the state after that epoch.
    """

    def __init__(self, model):
        super().__init__()
        of_masks = {id(v) for mask in model.masks for v in mask.variables}
        optimizer = model.optimizer
        averages = model.averages.variables if model.averages else []
        self.variables = [
            *(v for v in model.network.variables if id(v) not in of_masks),
            *(v for v in optimizer.variables if v is not optimizer.iterations),
            *averages,
        ]
        self.choice = None
        self.weights = []

    def on_epoch_end(self, epoch, logs=None):
        score = logs.get("val_adversarial_accuracy")
        if score is None:
            return
        sparsity = sum(float(logs.get(name, 0.0)) for name in ("sparsity", "weight_sparsity"))
        comparable = self.choice and sparsity <= self.choice["sparsity"]
        best = self.choice["score"] if comparable else 0.0
        if score >= best - DROP:
            best = max(best, float(score))
            self.choice = {"epoch": epoch + 1, "score": best, "sparsity": sparsity}
            self.weights = [v.numpy() for v in self.variables]
            return
        for variable, value in zip(self.variables, self.weights, strict=True):
            variable.assign(value)
        noise = self.model.training_attack.noise
        noise.assign(2.0 * noise)
        log.warning(
            "epoch %d: robust validation accuracy fell from %.1f %% to %.1f %%; training goes on "
            "from epoch %d with noise of %g epsilon",
            epoch + 1,
            100 * best,
            100 * score,
            self.choice["epoch"],
            float(noise.numpy()),
        )
