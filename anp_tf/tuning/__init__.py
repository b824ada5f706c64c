"""Search for the options of a run: the space, the trials, and what came out."""

from anp_tf.tuning.search import (
    Goal,
    completed_trials,
    failed_trials,
    search,
    trial_rows,
)
from anp_tf.tuning.space import read_space

__all__ = [
    "Goal",
    "completed_trials",
    "failed_trials",
    "read_space",
    "search",
    "trial_rows",
]
