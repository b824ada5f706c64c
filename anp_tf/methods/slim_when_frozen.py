"""The moment from which a network with fixed masks is trained through its slimmed form."""

import keras


class SlimWhenFrozen(keras.callbacks.Callback):
    """Calls a `TrainingModel`'s `slim` once its masks are fixed; before a run that goes on, too."""

    def __init__(self):
        super().__init__()
        self.called = False

    def on_train_begin(self, logs=None):
        self._slim_if_frozen()

    def on_train_batch_end(self, batch, logs=None):
        self._slim_if_frozen()

    def _slim_if_frozen(self):
        if self.called:
            return
        if int(self.model.optimizer.iterations.numpy()) >= self.model.mask_freeze_step:
            self.called = True
            self.model.slim()
