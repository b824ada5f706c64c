"""A loss on what no attack can do: the cross-entropy of the margins' bounds."""

import dataclasses

import keras
import tensorflow as tf

from anp_tf.arguments import check_count, check_number
from anp_tf.bounds import BoundedNetwork, interval_margins, proved
from anp_tf.layers import given_masks
from anp_tf.losses import cross_entropy, weighted_mean
from anp_tf.methods.schedule import warmed


@dataclasses.dataclass(frozen=True)
class Bound:
    """How much bounds by intervals count in training (MTL-IBP, De Palma et al. 2024).

    The loss of a method becomes (1 - weight) times itself, plus weight times the cross-entropy of
    the margins' upper bounds over the ball.

    Attributes:
        weight: Float in [0, 1].
        epsilon: Float, above 0, radius of the L-infinity ball in pixel units.
        warmup_steps: Integer; the radius grows linearly from 0 over so many steps.
        masks: Boolean, whether it is added to the loss of the masks, too.

    Raises:
        ValueError: if a value is out of its range.
    """

    weight: float
    epsilon: float
    warmup_steps: int = 0
    masks: bool = False

    def __post_init__(self):
        check_number("weight", self.weight, lambda v: 0 <= v <= 1, "a number in [0, 1]")
        check_number("epsilon", self.epsilon, lambda v: 0 < v <= 1, "a number in (0, 1]")
        check_count("warmup_steps", self.warmup_steps, least=0)


class BoundLoss:
    """The loss of a `Bound`, and the means of what it showed.

    Args:
        network: Functional `keras.Model` whose layers have rules (`anp_tf.bounds`). Batch
            normalization is that of inference.
        bound: `Bound`.

    Attributes:
        means: Dict of `keras.metrics.Mean`: of the loss, and of the share of images that intervals
            prove at the whole radius, up to rounding.

    Raises:
        ValueError: if a layer has no rule.
    """

    def __init__(self, network, bound):
        self.bound = bound
        self._whole = self._network = BoundedNetwork(network, rounding=False)
        self._view = None
        self.means = {name: keras.metrics.Mean(name=name) for name in ("bound_loss", "proved")}

    def use_view(self, view):
        """From here on bounds are those of a `SlimView`, which has the network's outputs.

        Args:
            view: `SlimView` of the network; None: the network itself.

        Raises:
            ValueError: if a layer of the view has no rule.
        """
        whole = view is None
        self._network = self._whole if whole else BoundedNetwork(view.network, rounding=False)
        self._view = view

    def __call__(self, x, y, masks, step, weights=None):
        """The loss of some images, a scalar, at a training step, under given masks."""
        radius = self.bound.epsilon * warmed(step, self.bound.warmup_steps)
        loss = weighted_mean(cross_entropy(self._margins(x, y, masks, radius), y), weights)
        self.means["bound_loss"].update_state(loss, sample_weight=tf.shape(y)[0])
        return loss

    def validate(self, x, y, masks, weights=None):
        """Counts which images the network itself is proved on at the whole radius."""
        with given_masks(masks):
            margins = interval_margins(self._whole, x, y, self.bound.epsilon)
        self.means["proved"].update_state(proved(margins, y))
        loss = weighted_mean(cross_entropy(margins, y), weights)
        self.means["bound_loss"].update_state(loss, sample_weight=tf.shape(y)[0])

    def mixed(self, losses, loss):
        """The losses of the weights and of the masks with the bound's."""
        weight_loss, mask_loss = losses
        share = self.bound.weight
        if self.bound.masks and mask_loss is not None:
            mask_loss = (1 - share) * mask_loss + share * loss
        return (1 - share) * weight_loss + share * loss, mask_loss

    def _margins(self, x, y, masks, radius):
        with given_masks(masks) if self._view is None else self._view.weights():
            return interval_margins(self._network, x, y, radius)
