"""Has training get cheaper as the masks prune."""

import logging

import keras
import numpy as np

from anp_tf.methods.attacked_network import AttackedNetwork
from anp_tf.pruning.view import SlimView

log = logging.getLogger(__name__)


class Slimming:
    """The smaller networks that a training model runs in place of its own.

    While masks are learned, attacks run on the slimmed network; once they are fixed, so does
    training. All depends on the step alone and on what checkpoints hold, so a run that goes on
    computes what an undisturbed one does. The smaller networks have the weights of the network
    itself at each step; only which units are cut out of them is of the time when they were made.

    Args:
        network: Functional `keras.Model` with or without masks.
        runners: List of what runs the network in training, with a method `use_view`.

    Attributes:
        attacked: `AttackedNetwork`, on which attacks run.
        cut: List of a Boolean array [units] for each mask, the units that were pruned when training
            was last slimmed, as far as it can be; None: training runs the whole network.
    """

    def __init__(self, network, runners):
        self.network, self.runners = network, runners
        self.attacked = AttackedNetwork(network)
        self.cut = None

    def train_slimmed(self):
        """From here on training runs through the slimmed network: the masks must stay as they are.

        Where there is no such network, it runs through the whole one.
        """
        self.cut = [~np.asarray(mask.active_units()) for mask in self.attacked.masks]
        try:
            view = SlimView(self.network)
            for runner in self.runners:
                runner.use_view(view)
        except ValueError as error:
            for runner in self.runners:
                runner.use_view(None)
            log.warning("the network is trained at its full size: %s", error)
            return
        self.attacked.view = view

    def train_whole(self):
        """From here on training runs through the whole network; does nothing where it does.

        Returns:
            Boolean, whether training was slimmed.
        """
        if self.cut is None:
            return False
        for runner in self.runners:
            runner.use_view(None)
        self.attacked.view = self.cut = None
        return True

    def is_outdated(self):
        """Whether masks have units that were cut out when training was slimmed."""
        masks = self.attacked.masks
        return self.cut is not None and any(
            np.any(cut & np.asarray(mask.active_units()))
            for mask, cut in zip(masks, self.cut, strict=True)
        )


class FollowPruning(keras.callbacks.Callback):
    """Has the `Slimming` of a `TrainingModel` follow its masks.

    Every `every` steps the attack's network is looked after; once the masks are fixed, the network
    that is trained is slimmed. At the start of an epoch other weights may have been restored, or
    steps count from 0 again: then it is the whole network, or another slimmed one.
    """

    every = 100

    def __init__(self):
        super().__init__()
        self.looked = 0

    def on_epoch_begin(self, epoch, logs=None):
        slimming, step = self.model.slimming, self._step()
        stays = self.model.schedule.masks_are_fixed(step) and not slimming.is_outdated()
        if not stays and slimming.train_whole():
            self.model.masks_stay = False
            self.model.retrace()
        self._follow(slimming.attacked.open, step)

    def on_train_batch_end(self, batch, logs=None):
        if self.model.slimming.cut is not None:
            return
        step = self._step()
        if step // self.every > self.looked or self.model.schedule.masks_are_fixed(step):
            self._follow(self.model.slimming.attacked.update, step)

    def _follow(self, look, step):
        """Slims the network if its masks are fixed; if not, looks after that of the attack."""
        self.looked = step // self.every
        if self.model.schedule.masks_are_fixed(step):
            if self.model.slimming.cut is None:
                self.model.train_slimmed()
        elif self.model.attack is not None and look():
            self.model.retrace()

    def _step(self):
        return int(self.model.optimizer.iterations.numpy())
