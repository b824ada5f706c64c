"""The undefended network that the checks of a run's robustness compare it with."""

import pathlib

from anp_tf.workdir import Workdir


def standard_beside(candidate):
    """The standard network that a run started from, or the one beside the run.

    Args:
        candidate: `Candidate`.

    Returns:
        The path of its workdir; None if there is none, or if the candidate is not that of a run.
    """
    if not candidate.settings:
        return None
    beside = candidate.path.absolute().parent
    places = [beside / "standard"]
    if candidate.settings.init_from:
        start = pathlib.Path(candidate.settings.init_from)
        places = [start, beside / start.name, *places]
    for workdir in map(Workdir, places):
        if workdir.network.exists() and _undefended_like(candidate.settings, workdir.settings()):
            return workdir.path
    return None


def _undefended_like(settings, others):
    """Whether `others` are of a standard network of the same shape, for the same data."""
    shape = ("dataset", "network", "width_multiplier")
    same = all(getattr(settings, name) == getattr(others, name) for name in shape)
    return others.method == "standard" and same
