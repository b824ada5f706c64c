"""Pruned networks made small, and what a network costs."""

from anp_tf.models.fold import fold_batch_normalization
from anp_tf.pruning.cost import Cost, LayerCost, cost, unit_sparsity
from anp_tf.pruning.groups import UnmaskedLayer, unmasked_layers
from anp_tf.pruning.handlers import Handler, PerChannel, register_handler
from anp_tf.pruning.insert import insert_masks
from anp_tf.pruning.mask_summary import mask_summary
from anp_tf.pruning.slim import slim
from anp_tf.pruning.unit_flops import flops_weights, unit_flops

__all__ = [
    "Handler",
    "PerChannel",
    "cost",
    "fold_batch_normalization",
    "insert_masks",
    "mask_summary",
    "register_handler",
    "slim",
]
