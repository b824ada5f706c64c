"""Evaluation: accuracy under attack, vulnerability, cost and latency."""

from anp_tf.evaluation.latency import median_latency
from anp_tf.evaluation.results import comparison, markdown_row, results_row, test_examples
from anp_tf.evaluation.robustness import Robustness, evaluate_robustness

__all__ = [
    "Robustness",
    "comparison",
    "evaluate_robustness",
    "markdown_row",
    "median_latency",
    "results_row",
    "test_examples",
]
