"""The network that an attack sees while its masks are learned: slimmed as far as they prune it."""

import logging

import keras
import numpy as np
import tensorflow as tf

from anp_tf.layers import given_masks, mask_layers
from anp_tf.pruning.view import SlimView

log = logging.getLogger(__name__)
SHARE_LEFT = 0.8  # the view is made anew when this share of its units, or less, is left


class AttackedNetwork:
    """Attacks a masked network in inference at the cost of the slimmed one, exactly.

    The attack runs on a `SlimView`, out of which units are cut that the masks prune. Should a mask
    bring one of them back, the whole network is attacked for as long. As masks go on pruning,
    `update` makes a smaller view.

    Args:
        network: Functional `keras.Model` with or without masks.

    Attributes:
        view: `SlimView`, or None: attacks run on the network itself.
        variables: List of Keras variables, 1 for the units that are cut out of the view. What an
            attack returns depends on them by rounding, so a checkpoint must hold them.
    """

    def __init__(self, network):
        self.network = network
        self.masks = mask_layers(network)
        self.view = None
        self.variables = [
            keras.Variable(
                np.zeros(mask.units, np.float32), trainable=False, name=f"{mask.name}_cut"
            )
            for mask in self.masks
        ]
        self._refused = False

    def __call__(self, attack, x, y, masks, **kwargs):
        """The attack's adversarial images.

        Args:
            attack: `anp_tf.attacks` object.
            x: Tensor [batch, ...], pixels.
            y: Integer tensor [batch], labels.
            masks: Dict from mask layer to its mask in inference, [units].
            **kwargs: Of the attack.
        """

        def whole():
            with given_masks(masks):
                return attack(self.network, x, y, **kwargs)

        def small():
            with self.view.weights(masks):
                return attack(self.view.network, x, y, **kwargs)

        if self.view is None:
            return whole()
        if not any(cut.any() for cut in self.view.cut.values()):
            return small()
        pruned = [tf.equal(masks[mask], 0.0) | ~cut for mask, cut in self.view.cut.items()]
        return tf.cond(tf.reduce_all(tf.concat(pruned, 0)), small, whole)

    def open(self):
        """Makes the view that the variables describe, at first one of all units, if need be.

        Returns:
            Boolean, whether a view was made.
        """
        cut = self._cut()
        if not self.masks or (self.view is not None and _same(cut, self.view.cut.values())):
            return False
        return self._look(cut)

    def update(self):
        """Makes a new view if the masks have changed enough; returns whether one was made."""
        if not self.masks or self._refused:
            return False
        cut = [~np.asarray(mask.active_units()) for mask in self.masks]
        before = self._cut()
        back = any(np.any(old & ~new) for old, new in zip(before, cut, strict=True))
        left, there = (sum(np.sum(~units) for units in sets) for sets in (cut, before))
        if not back and (left > SHARE_LEFT * there or left == there):
            return False
        if not self._look(cut):
            return False
        for variable, units in zip(self.variables, cut, strict=True):
            variable.assign(units.astype(np.float32))
        return True

    def _cut(self):
        return [np.asarray(variable) > 0 for variable in self.variables]

    def _look(self, cut):
        try:
            self.view = SlimView(self.network, dict(zip(self.masks, cut, strict=True)))
        except ValueError as error:
            self._refused = True
            log.warning("the network is attacked without the units' being cut: %s", error)
            return False
        return True


def _same(arrays, others):
    return all(np.array_equal(a, b) for a, b in zip(arrays, others, strict=True))
