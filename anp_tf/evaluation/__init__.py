"""Evaluation: accuracy under attack, vulnerability, cost and latency."""

from anp_tf.evaluation.attack_files import EvaluationError, saved_images
from anp_tf.evaluation.attack_names import KNOWN_ATTACKS, NORMS, named_attacks
from anp_tf.evaluation.attack_tables import (
    attack_table,
    check_table,
    checks_lines,
    robustness_lines,
)
from anp_tf.evaluation.checks import Check, run_checks
from anp_tf.evaluation.exported import ExportedAccuracy, exported_accuracy
from anp_tf.evaluation.latency import median_latency, median_times
from anp_tf.evaluation.results import (
    black_box_images,
    check_fits,
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
from anp_tf.evaluation.subject import (
    SavedModelNetwork,
    Subject,
    digest,
    from_model,
    from_workdir,
)
from anp_tf.evaluation.under_attack import (
    Threat,
    attack_subject,
    check_subject,
    checks_of,
    robustness_of,
)
from anp_tf.evaluation.worst_case import worst_case

__all__ = [
    "KNOWN_ATTACKS",
    "NORMS",
    "Check",
    "EvaluationError",
    "ExportedAccuracy",
    "Robustness",
    "SampledAccuracy",
    "SampledNetwork",
    "SavedModelNetwork",
    "Subject",
    "Threat",
    "adversarial_batches",
    "attack_subject",
    "attack_table",
    "black_box_images",
    "check_fits",
    "check_subject",
    "check_table",
    "checks_lines",
    "checks_of",
    "comparison",
    "digest",
    "evaluate_robustness",
    "evaluate_sampled",
    "evaluation_attack",
    "exported_accuracy",
    "from_model",
    "from_workdir",
    "markdown_row",
    "measure_robustness",
    "median_latency",
    "median_times",
    "named_attacks",
    "results_row",
    "robustness_lines",
    "robustness_of",
    "run_checks",
    "saved_images",
    "test_examples",
    "worst_case",
]
