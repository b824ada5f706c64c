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

GRANULARITIES = ("weight", "filter")


class MagnitudePruning(GradualPruning):
    """(CE(x) + w CE(x')) / (1 + w) + decay; small weights or whole filters are cut on the way.

    Of each layer the weights of the smallest magnitude are cut, or the filters (dense units) of the
    smallest mean magnitude, by their masks. The share that is cut grows as 1 - (1 - k/K)^3 over the
    K updates (Zhu & Gupta 2018), up to `target_sparsity` of all kernels' weights or, with filters,
    of the parameters.

    Args:
        granularity: `"weight"` or `"filter"`; the network needs a mask after each layer whose
            filters may be cut, `anp_tf.layers.UnitMask`.
    """

    uses_masks = True

    def __init__(self, *args, granularity="weight", **kwargs):
        super().__init__(*args, **kwargs)
        if granularity not in GRANULARITIES:
            raise ValueError(
                f"Argument `granularity` must be one of {GRANULARITIES}. "
                f"Received: granularity={granularity!r}"
            )
        self.granularity = granularity
        if granularity == "filter":
            self.filters = share_of_filters(self.network, self.target_sparsity)

    def objective(self, terms):
        return self.mixed_loss(terms) + terms.decay, None

    def prune(self, update):
        progress = 1.0 - (1.0 - update / self.pruning_updates) ** 3
        if self.granularity == "weight":
            share = 1.0 - progress * self.target_sparsity
            for kernel, kept in zip(self.kernels, self.kept, strict=True):
                kept.assign(largest(kernel * kept, share))
            return
        for mask, kernels in filter_kernels(self.network).items():
            count = filters_to_cut(mask.units, progress * self.filters)
            order = np.argsort(filter_magnitudes(mask, kernels), kind="stable")
            mask.prune(order[:count])
