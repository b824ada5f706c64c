"""Has training get cheaper as the masks prune."""

import logging

import keras

from anp_tf.methods.attacked_network import AttackedNetwork
from anp_tf.pruning.view import SlimView

log = logging.getLogger(__name__)


class Slimming:
    """The smaller networks that a training model runs in place of its own.

    While masks are learned, attacks run on the slimmed network; once they are fixed, so does
    training. All depends on the step alone and on what checkpoints hold, so a run that goes on
    computes what an undisturbed one does.

    Args:
        network: Functional `keras.Model` with or without masks.
        runners: List of what runs the network in training, with a method `use_view`.

    Attributes:
        attacked: `AttackedNetwork`, on which attacks run.
    """

    def __init__(self, network, runners):
        self.network, self.runners = network, runners
        self.attacked = AttackedNetwork(network)
        self.tried = False

    def train_slimmed(self):
        """From here on training runs through the slimmed network: the masks must stay as they are.

        Returns:
            Boolean, whether there is such a network.
        """
        self.tried = True
        try:
            view = SlimView(self.network)
            for runner in self.runners:
                runner.use_view(view)
        except ValueError as error:
            for runner in self.runners:
                runner.use_view(None)
            log.warning("the network is trained at its full size: %s", error)
            return False
        self.attacked.view = view
        return True


class FollowPruning(keras.callbacks.Callback):
    """Has the `Slimming` of a `TrainingModel` follow its masks.

    Every `every` steps the attack's network is looked after; once the masks are fixed, the network
    that is trained is slimmed.
    """

    every = 100

    def __init__(self):
        super().__init__()
        self.looked = 0

    def on_train_begin(self, logs=None):
        self._follow(self.model.slimming.attacked.open, self._step())

    def on_train_batch_end(self, batch, logs=None):
        if self.model.slimming.tried:
            return
        step = self._step()
        if step // self.every > self.looked or self.model.schedule.masks_are_fixed(step):
            self._follow(self.model.slimming.attacked.update, step)

    def _follow(self, look, step):
        """Slims the network if its masks are fixed; if not, looks after that of the attack."""
        self.looked = step // self.every
        if self.model.schedule.masks_are_fixed(step):
            if not self.model.slimming.tried:
                self.model.train_slimmed()
        elif self.model.attack is not None and look():
            self.model.retrace()

    def _step(self):
        return int(self.model.optimizer.iterations.numpy())
