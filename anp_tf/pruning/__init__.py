"""Pruned networks made small, and what a network costs."""

from anp_tf.pruning.cost import Cost, LayerCost, cost, unit_sparsity
from anp_tf.pruning.slim import slim
from anp_tf.pruning.unit_flops import flops_weights, unit_flops

__all__ = [
    "Cost",
    "LayerCost",
    "cost",
    "flops_weights",
    "slim",
    "unit_flops",
    "unit_sparsity",
]
