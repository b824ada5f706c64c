"""Has validation see, and the run keep, the network with averaged weights."""

import keras


class Averaging(keras.callbacks.Callback):
    """Puts a `TrainingModel`'s averages in the weights' place for the validation of each epoch.

    Callbacks that come before it see, at an epoch's end, the network that was validated; those that
    come after it the one that is trained.

    Args:
        batches: Iterable of `(pixels, labels)` that can be repeated, for statistics of batch
            normalization.
    """

    def __init__(self, batches):
        super().__init__()
        self.batches = batches

    def on_test_begin(self, logs=None):
        self.model.use_averages(self.batches)

    def on_epoch_end(self, epoch, logs=None):
        self.model.use_weights()
