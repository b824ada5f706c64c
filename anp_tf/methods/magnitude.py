"""Pruning by magnitude during adversarial training, the heuristic of Wang et al. (2018)."""

import numpy as np

from anp_tf.methods.gradual_pruning import GradualPruning
from anp_tf.pruning.magnitude import (
    filter_kernels,
    filter_magnitudes,
    filters_to_cut,
    largest,
    share_of_filters,
)
from anp_tf.pruning.units import cut_by_norms

GRANULARITIES = ("weight", "filter", "unit")


class MagnitudePruning(GradualPruning):
    """(CE(x) + w CE(x')) / (1 + w) + decay; small weights or whole filters are cut on the way.

    Of each layer the weights of the smallest magnitude are cut, or the filters (dense units) of the
    smallest mean magnitude, by their masks. The share that is cut grows as 1 - (1 - k/K)^3 over the
    K updates (Zhu & Gupta 2018), up to `target_sparsity` of all kernels' weights or, with filters,
    of the parameters. Units are cut by `anp_tf.pruning.units.cut_by_norms`.

    Args:
        granularity: `"weight"`, `"filter"` or `"unit"`, of any mask. For the latter two the network
            needs a mask, `anp_tf.layers.UnitMask`, after each layer whose filters or units may be
            cut.
        target_units: Sequence of integers, how many units each mask keeps; None: of each the share
            that `target_sparsity` leaves.
    """

    in_words = "adversarial training, pruned by magnitude"
    uses_masks = masks_are_optional = True
    takes = (*GradualPruning.takes, "granularity")

    def __init__(self, *args, granularity="weight", **kwargs):
        super().__init__(*args, **kwargs)
        if granularity not in GRANULARITIES:
            raise ValueError(
                f"Argument `granularity` must be one of {GRANULARITIES}. "
                f"Received: granularity={granularity!r}"
            )
        if granularity != "weight" and not self.masks:
            raise ValueError(
                f"Pruning with granularity={granularity!r} cuts by masks, but "
                f"`{self.network.name}` has no masks. Expected a network of "
                "insert_masks(network, mask=UnitMask)"
            )
        self.granularity = granularity
        if self.target_units is None:
            share = 1.0 - self.target_sparsity
            self.target_units = [max(1, round(share * mask.units)) for mask in self.masks]
        if granularity == "filter":
            self.filters = share_of_filters(self.network, self.target_sparsity)

    def objective(self, terms):
        return self.mixed_loss(terms) + terms.decay, None

    def cut_units(self):
        """Does nothing: `prune` has cut them."""

    def prune(self, update):
        progress = 1.0 - (1.0 - update / self.pruning_updates) ** 3
        if self.granularity == "weight":
            share = 1.0 - progress * self.target_sparsity
            for kernel, kept in zip(self.kernels, self.kept, strict=True):
                kept.assign(largest(kernel * kept, share))
            return
        if self.granularity == "unit":
            counts = [
                round(mask.units - progress * (mask.units - count))
                for mask, count in zip(self.masks, self.target_units, strict=True)
            ]
            cut_by_norms(self.network, counts)
            return
        for mask, kernels in filter_kernels(self.network).items():
            count = filters_to_cut(mask.units, progress * self.filters)
            order = np.argsort(filter_magnitudes(mask, kernels), kind="stable")
            mask.prune(order[:count])
