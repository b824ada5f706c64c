"""Search for the options of a run: the space, the trials, and what came out."""

from anp_tf.tuning.search import TUNERS, Goal, best_trial, search, trial_rows
from anp_tf.tuning.space import read_space

__all__ = ["TUNERS", "Goal", "best_trial", "read_space", "search", "trial_rows"]
