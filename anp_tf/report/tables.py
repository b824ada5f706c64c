"""The tables of a report, as plain lists for the template."""

import numpy as np

from anp_tf.intervals import with_interval
from anp_tf.layers import mask_layers
from anp_tf.report.facts import once
from anp_tf.reproduce.paper import SETTINGS, paper_rows
from anp_tf.reproduce.table import COLUMN_HEADS
from anp_tf.settings import Settings
from anp_tf.timing import latency_names, latency_text

# In the order of what matters, for narrow pages; `COLUMN_HEADS` has their digits.
COLUMNS = {
    "clean_accuracy": "accuracy, clean, %",
    "white_box_accuracy": "accuracy under attack, %",
    "sparsity_percent": "units pruned, %",
    "flops_reduction": "times fewer FLOPs",
    "black_box_accuracy": "accuracy, black-box, %",
    "sampled_white_box_accuracy": "accuracy under attack, weights drawn, %",
    "white_box_vulnerability": "vulnerability",
    "black_box_vulnerability": "vulnerability, black-box",
    "memory_percent": "memory left, %",
    "weight_sparsity_percent": "weights pruned, %",
}

LATENCY_KEY = "latency_milliseconds"


def results_table(runs):
    """The results rows, with the paper's values beside them.

    Args:
        runs: List of `ReportedRun`.

    Returns:
        Dict: `heads`, texts; `rows`, dicts with `run` and `cells`, dicts with `key`, `value` (the
        figure of `results.json`, or None), `text`, `interval` and `paper` (texts or None);
        `paper`, what the paper's values are of, or None if there are none.
    """
    papers = [_paper(run) for run in runs]
    columns = [
        column
        for column in COLUMNS
        if any(
            run.results.get(column) is not None or column in paper
            for run, paper in zip(runs, papers, strict=True)
        )
    ]
    rows = []
    for run, paper in zip(runs, papers, strict=True):
        cells = []
        for column in columns:
            digits, value = COLUMN_HEADS[column][1], run.results.get(column)
            text, interval = "-" if value is None else f"{value:,.{digits}f}", None
            if value is not None and column.endswith("accuracy"):
                text, interval = with_interval(value, run.results["test_examples"], digits).split()
            cells.append(
                {
                    "key": column,
                    "value": value,
                    "text": text,
                    "interval": interval,
                    "paper": f"{paper[column]:,.{digits}f}" if column in paper else None,
                }
            )
        rows.append({"run": run, "cells": cells})
    compared = [run for run, paper in zip(runs, papers, strict=True) if paper]
    heads = [COLUMNS[column] for column in columns]
    return {"heads": heads, "rows": rows, "paper": _of_paper(compared)}


def deployment_table(runs):
    """What the networks cost, dense and slimmed: one figure alone where both are the same.

    Args:
        runs: List of `ReportedRun`.

    Returns:
        List of dicts with `run` and `figures`, lists of cells as in `results_table`.
    """
    return [
        {
            "run": run,
            "figures": [
                *(_cost_cells(run.results, key) for key in ("parameter_bytes", "flops")),
                *(_latency_cells(run.results, size) for size in run.results[LATENCY_KEY]),
            ],
        }
        for run in runs
    ]


def kept_units(runs):
    """Per masked network the units of each mask: dicts with `run` and `masks`."""
    tables = []
    for run in runs:
        masks = []
        for mask in mask_layers(run.network):
            kept = int(np.count_nonzero(mask.active_units()))
            masks.append({"name": mask.name, "units": int(mask.units), "kept": kept})
        if masks:
            tables.append({"run": run, "masks": masks})
    return tables


def settings_table(runs):
    """The flags of the runs.

    Args:
        runs: List of `ReportedRun`.

    Returns:
        A list of pairs of a flag and its values, a text a run, where these differ, and one of pairs
        of a flag and its value, where all runs have the same.
    """
    flags = [_flags(run) for run in runs]
    differing, shared = [], []
    for name in dict.fromkeys(name for each in flags for name in each):
        values = [each.get(name, "") for each in flags]
        if len(set(values)) > 1:
            differing.append((name, values))
        else:
            shared.append((name, values[0]))
    return differing, shared


def _paper(run):
    """The paper's row for a run of the paper's network under the paper's attack, or {}."""
    dataset = run.settings.dataset
    if dataset not in SETTINGS:
        return {}
    paper = Settings(**SETTINGS[dataset])
    asked = (paper.network, f"PGD-{paper.eval_attack_steps}")
    asked += (paper.epsilon, paper.eval_attack_step_size)
    attack = [run.results[name] for name in ("attack", "epsilon", "step_size")]
    if (run.settings.network, *attack) != asked:
        return {}
    return paper_rows(dataset).get(run.settings.method, {})


def _of_paper(runs):
    """What the paper's values are of, beside those of some runs, in words; None without runs."""
    if not runs:
        return None
    text = "of their full training budget"
    widths = [f"{run.settings.width_multiplier:g}" for run in runs]
    if set(widths) == {"1"}:
        return text
    here = once([run.label for run in runs], widths)
    return f"{text} and of networks at width 1; those here are at width {here}"


def _cost_cells(results, key):
    kinds = ["dense", "slim"] if results[f"dense_{key}"] != results[f"slim_{key}"] else ["slim"]
    names = [f"{kind}_{key}" for kind in kinds]
    return [{"key": name, "value": results[name], "text": f"{results[name]:,}"} for name in names]


def _latency_cells(results, size):
    times = results[LATENCY_KEY][size]
    return [
        {
            "key": f"{LATENCY_KEY}.{size}.{name}",
            "value": times[name],
            "text": latency_text(times, name),
        }
        for name in latency_names(results, size)
    ]


def _flags(run):
    """The lines of the configuration as a dict from flag to value."""
    flags = {}
    for line in run.settings.flag_lines():
        name, equals, value = line.partition("=")
        if not equals:
            off = name.startswith("--no")
            name, value = ("--" + name[4:], "false") if off else (name, "true")
        flags[name] = value
    return flags
