"""Evaluation: accuracy under attack, vulnerability, cost and latency."""

from anp_tf.evaluation.latency import median_latency
from anp_tf.evaluation.results import (
    black_box_images,
    comparison,
    markdown_row,
    results_row,
    test_examples,
)
from anp_tf.evaluation.robustness import (
    Robustness,
    adversarial_batches,
    evaluate_robustness,
    measure_robustness,
)
from anp_tf.evaluation.sampled import SampledAccuracy, SampledNetwork, evaluate_sampled

__all__ = [
    "Robustness",
    "SampledAccuracy",
    "SampledNetwork",
    "adversarial_batches",
    "black_box_images",
    "comparison",
    "evaluate_robustness",
    "evaluate_sampled",
    "markdown_row",
    "measure_robustness",
    "median_latency",
    "results_row",
    "test_examples",
]
