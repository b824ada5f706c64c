"""Pruned networks made small, and what a network costs."""

from anp_tf.pruning.cost import Cost, LayerCost, cost, unit_sparsity
from anp_tf.pruning.slim import slim

__all__ = ["Cost", "LayerCost", "cost", "slim", "unit_sparsity"]
