"""Robustness: what may be judged, accuracy under attack, the worst case, and checks of it."""

from anp_tf.robustness.accuracy import (
    Robustness,
    adversarial_batches,
    evaluate_robustness,
    measure_robustness,
)
from anp_tf.robustness.attack_names import named_attacks
from anp_tf.robustness.batch_files import EvaluationError, saved_images
from anp_tf.robustness.candidate import (
    Candidate,
    check_fits,
    digest,
    from_model,
    from_network,
    from_workdir,
    test_examples,
    test_examples_of,
)
from anp_tf.robustness.checks import run_checks
from anp_tf.robustness.interface import Interface, entered
from anp_tf.robustness.judge import LogitsError
from anp_tf.robustness.network_files import (
    LiteRtNetwork,
    SavedModelNetwork,
    network_file,
)
from anp_tf.robustness.proof import (
    certificate_bounds,
    certificate_counts,
    certificate_lines,
    certificate_norm,
    certificate_of,
    certificate_table,
    certificate_title,
    prove_candidate,
)
from anp_tf.robustness.suite import (
    VERDICT,
    attack_candidate,
    check_candidate,
    checks_of,
    robustness_of,
)
from anp_tf.robustness.tables import (
    attack_table,
    check_table,
    checks_lines,
    robustness_lines,
)
from anp_tf.robustness.threat import NORMS, Threat
from anp_tf.robustness.worst_case import worst_case

__all__ = [
    "Interface",
    "Threat",
    "attack_candidate",
    "attack_table",
    "check_candidate",
    "evaluate_robustness",
    "from_model",
    "from_network",
    "from_workdir",
    "prove_candidate",
]
