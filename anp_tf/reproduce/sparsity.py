"""Accuracy under attack against sparsity, from runs that prune more and more."""

import dataclasses
import logging
import pathlib

from anp_tf.figures import canvas
from anp_tf.methods import METHODS
from anp_tf.reproduce.plan import Run, settings_of_run, with_starts
from anp_tf.workdir import Workdir

METHOD_LABELS = {"anp_vs": "ANP-VS", "anp": "ANP", "admm": "ADMM", "bp": "BP"}
BETA_FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
UNIT_FACTORS = (1.0, 0.75, 0.5, 0.3, 0.2)
ADMM_SPARSITIES = (0.5, 0.7, 0.8, 0.9)  # shares of the weights
log = logging.getLogger(__name__)


def sparsity_runs(folder, settings, methods, rows=None):
    """The runs of the figure: each method with several strengths of its pruning.

    Methods with masks run with multiples of `settings.beta` (of 1 for `bp`) or, if
    `settings.target_units` says how many units are kept, with shares of these; `admm` runs with
    several target sparsities. All start from the same networks.

    Args:
        folder: The folder of all runs, `METHOD_STRENGTH` in it for each.
        settings: `Settings` of all, but for the method and the strength.
        methods: Sequence of methods, of the keys of `METHOD_LABELS`.
        rows: Dict from a method to its own options, as of `read_rows`.

    Returns:
        List of `Run`.
    """
    folder = pathlib.Path(folder)
    runs, rows = [], rows or {}
    for method in with_starts(methods, rows):
        base = settings_of_run(settings, method, settings.seed, folder, rows.get(method))
        if method not in methods:
            runs.append(Run(method, base, Workdir(folder / method), None, row=False))
            continue
        for name, chosen in _by_strength(base).items():
            runs.append(Run(name, chosen, Workdir(folder / name), None))
    return runs


def _strength(settings):
    """The name of the setting that says how much a method prunes."""
    if not METHODS[settings.method].learns_masks:
        return "target_sparsity"
    return "target_units" if settings.target_units else "beta"


def _by_strength(settings):
    """Dict from the name of each run of a method to its settings; of equal ones there is one."""
    strength = _strength(settings)
    if strength == "target_sparsity":
        strengths = [(f"{100 * target:g}", target) for target in ADMM_SPARSITIES]
    elif strength == "beta":
        strengths = [(f"beta{f * settings.beta:g}", f * settings.beta) for f in BETA_FACTORS]
    else:
        kept = [[max(1, round(f * n)) for n in settings.target_units] for f in UNIT_FACTORS]
        strengths = [(f"units{sum(counts)}", tuple(counts)) for counts in kept]
    values = dict(strengths)  # shares of the same counts that have the same sum are the same
    if len(values) < len(strengths):
        log.warning(
            "%s: %d points in place of %d: several multiples of %s are the same",
            settings.method,
            len(values),
            len(strengths),
            strength,
        )
    return {
        f"{settings.method}_{name}": dataclasses.replace(settings, **{strength: value})
        for name, value in values.items()
    }


def sparsity_record(runs):
    """The points of the figure, a list of dicts, from the runs that are done."""
    points = []
    for run in runs:
        if not (run.row and run.done):
            continue
        results = run.workdir.load_results()
        strength, units = _strength(run.settings), METHODS[run.settings.method].uses_masks
        points.append(
            {
                "dataset": run.settings.dataset,
                "attack": f"PGD-{run.settings.eval_attack_steps}",
                "epsilon": run.settings.epsilon,
                "method": run.settings.method,
                strength: getattr(run.settings, strength),
                "sparsity_percent": results[
                    "sparsity_percent" if units else "weight_sparsity_percent"
                ],
                "sparsity_of": "units" if units else "weights",
                "clean_accuracy": results["clean_accuracy"],
                "white_box_accuracy": results["white_box_accuracy"],
                "flops_reduction": results["flops_reduction"],
                "seed": results["seed"],
            }
        )
    return points


def draw(points, path):
    """Draws accuracy under attack against sparsity, a line a method, as PNG or SVG."""
    figure = canvas.new_figure(3.2)
    sparsity = "sparsity, % of the units; ADMM: of the weights"
    axes = canvas.plot(figure, sparsity, "accuracy under attack, %")
    for index, (method, label) in enumerate(METHOD_LABELS.items()):
        line = sorted(
            (point["sparsity_percent"], point["white_box_accuracy"])
            for point in points
            if point["method"] == method
        )
        if line:
            axes.plot(*zip(*line, strict=True), label=label, **canvas.style(index))
    if points:
        canvas.legend(figure, axes)
    canvas.save(figure, path)
