"""Measurements: of speed, as ratios taken in one process, interleaved; of networks of others."""

from anp_tf.benchmarks.agreement import agreement_record, agreement_table, benchmark_agreement
from anp_tf.benchmarks.attack import BATCH_SIZES, attack_record, attack_table, benchmark_attack
from anp_tf.benchmarks.commands import benchmark_commands, commands_record, commands_table
from anp_tf.benchmarks.networks import benchmark_networks, networks_record, networks_table
from anp_tf.benchmarks.scaling import benchmark_scaling, scaling_record, scaling_table
from anp_tf.benchmarks.slim import benchmark_slim, slim_record, slim_table
from anp_tf.benchmarks.training import benchmark_training, training_record, training_table
from anp_tf.benchmarks.verdict import benchmark_verdict, verdict_record, verdict_table

__all__ = [
    "BATCH_SIZES",
    "agreement_record",
    "agreement_table",
    "attack_record",
    "attack_table",
    "benchmark_agreement",
    "benchmark_attack",
    "benchmark_commands",
    "benchmark_networks",
    "benchmark_scaling",
    "benchmark_slim",
    "benchmark_training",
    "benchmark_verdict",
    "commands_record",
    "commands_table",
    "networks_record",
    "networks_table",
    "scaling_record",
    "scaling_table",
    "slim_record",
    "slim_table",
    "training_record",
    "training_table",
    "verdict_record",
    "verdict_table",
]
