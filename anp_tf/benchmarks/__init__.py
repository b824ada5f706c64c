"""Measurements of speed, each a list of ratios that were taken in one process, interleaved."""

from anp_tf.benchmarks.slim import benchmark_slim, slim_record, slim_table

__all__ = ["benchmark_slim", "slim_record", "slim_table"]
