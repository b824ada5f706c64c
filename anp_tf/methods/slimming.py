"""Has training get cheaper as the masks prune."""

import keras


class FollowPruning(keras.callbacks.Callback):
    """Keeps a `TrainingModel`'s slimmed networks those of its masks.

    Every `every` steps the attack's network is looked after; once the masks are fixed, the network
    that is trained is slimmed. All depends on the step alone and on what checkpoints hold, so a run
    that goes on computes what an undisturbed one does.
    """

    every = 100

    def __init__(self):
        super().__init__()
        self.frozen = False
        self.looked = 0

    def on_train_begin(self, logs=None):
        self.looked = self._step() // self.every
        if self._frozen():
            return
        if self.model.attack is not None and self.model.attacked.open():
            self.model.retrace()

    def on_train_batch_end(self, batch, logs=None):
        if self._frozen() or self.model.attack is None:
            return
        if self._step() // self.every > self.looked:
            self.looked = self._step() // self.every
            if self.model.attacked.update():
                self.model.retrace()

    def _frozen(self):
        """Whether the masks are fixed; sees to it that the network is slimmed then."""
        freeze_step = self.model.mask_freeze_step
        if not self.frozen and freeze_step is not None and self._step() >= freeze_step:
            self.frozen = True
            if self.model.forward.view is None:
                self.model.slim()
        return self.frozen

    def _step(self):
        return int(self.model.optimizer.iterations.numpy())
