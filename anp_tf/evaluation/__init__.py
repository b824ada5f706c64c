"""Evaluation: accuracy under attack, vulnerability, cost and latency."""

from anp_tf.evaluation.exported import ExportedAccuracy, exported_accuracy
from anp_tf.evaluation.latency import median_latency, median_times
from anp_tf.evaluation.results import (
    black_box_images,
    comparison,
    evaluation_attack,
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
    "ExportedAccuracy",
    "Robustness",
    "SampledAccuracy",
    "SampledNetwork",
    "adversarial_batches",
    "black_box_images",
    "comparison",
    "evaluate_robustness",
    "evaluate_sampled",
    "evaluation_attack",
    "exported_accuracy",
    "markdown_row",
    "measure_robustness",
    "median_latency",
    "median_times",
    "results_row",
    "test_examples",
]
