"""Has training get cheaper as the masks prune."""

import keras

EVERY = 100  # steps


class FollowPruning(keras.callbacks.Callback):
    """Keeps a `TrainingModel`'s slimmed networks those of its masks.

    Every `EVERY` steps the attack's network is looked after; once the masks are fixed, the network
    that is trained is slimmed. All depends on the step alone and on what checkpoints hold, so a run
    that goes on computes what an undisturbed one does.
    """

    def __init__(self):
        super().__init__()
        self.frozen = False
        self.looked = 0

    def on_train_begin(self, logs=None):
        self.looked = self._step() // EVERY
        if self.model.attack is not None:
            self.model.attacked.open()
        if not self._slim_if_frozen():
            self.model.retrace()

    def on_train_batch_end(self, batch, logs=None):
        if self.frozen or self._slim_if_frozen():
            return
        if self._step() // EVERY > self.looked:
            self.looked = self._step() // EVERY
            if self.model.attacked.update():
                self.model.retrace()

    def _slim_if_frozen(self):
        freeze_step = self.model.mask_freeze_step
        if freeze_step is None or self._step() < freeze_step:
            return False
        self.frozen = True
        self.model.slim()
        return True

    def _step(self):
        return int(self.model.optimizer.iterations.numpy())
