"""The tables of a report, as plain lists for the template."""

import numpy as np

from anp_tf.intervals import with_interval
from anp_tf.layers import mask_layers
from anp_tf.reproduction.paper import SETTINGS, paper_rows
from anp_tf.reproduction.table import COLUMNS, HEADS


def results_table(runs):
    """The results rows, with the paper's values beside them.

    Args:
        runs: List of `ReportedRun`.

    Returns:
        Dict: `heads`, texts; `rows`, dicts with `run`, `attack` and `cells`, dicts with `key`,
        `value` (the figure of `results.json`, or None), `text` and `paper` (text or None).
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
            digits, value = HEADS[column][1], run.results.get(column)
            text = "-" if value is None else f"{value:,.{digits}f}"
            if value is not None and column.endswith("accuracy"):
                text = with_interval(value, run.results["test_examples"], digits)
            cells.append(
                {
                    "key": column,
                    "value": value,
                    "text": text,
                    "paper": f"{paper[column]:,.{digits}f}" if column in paper else None,
                }
            )
        rows.append({"run": run, "attack": attack_text(run.results), "cells": cells})
    return {"heads": [HEADS[column][0] for column in columns], "rows": rows}


def attack_text(results):
    """The attack of a results row in words."""
    return (
        f"{results['attack']}, ε = {results['epsilon']:g}, steps of {results['step_size']:g}, "
        f"{results['test_examples']:,} images"
    )


def deployment_table(runs):
    """What the networks cost, dense and slimmed: rows of a label and cells as in `results_table`.

    Args:
        runs: List of `ReportedRun`.

    Returns:
        List of dicts with `run` and `cells`, a pair (dense, slim) of dicts per figure.
    """
    return [
        {
            "run": run,
            "pairs": [
                [_cost_cell(run, f"{kind}_{key}") for kind in ("dense", "slim")]
                for key in ("parameter_bytes", "flops")
            ]
            + [
                [
                    {
                        "key": f"latency_milliseconds.{size}.{kind}",
                        "value": times[kind],
                        "text": f"{times[kind]:.2f}",
                    }
                    for kind in ("dense", "slim")
                ]
                for size, times in run.results["latency_milliseconds"].items()
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
    """The flags of the runs: dicts with `flag`, `values` (a text a run) and whether they `differ`.

    Args:
        runs: List of `ReportedRun`.
    """
    flags = [_flags(run) for run in runs]
    rows = []
    for name in dict.fromkeys(name for each in flags for name in each):
        values = [each.get(name, "") for each in flags]
        rows.append({"flag": name, "values": values, "differ": len(set(values)) > 1})
    return rows


def _paper(run):
    """The paper's row for a run of the paper's network, or {}."""
    dataset = run.settings.dataset
    if SETTINGS.get(dataset, {}).get("network") != run.settings.network:
        return {}
    return paper_rows(dataset).get(run.settings.method, {})


def _cost_cell(run, key):
    value = run.results[key]
    return {"key": key, "value": value, "text": f"{value:,}"}


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
