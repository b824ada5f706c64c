"""A table of measured rows beside the paper's."""

import math
import statistics

from anp_tf.intervals import with_interval
from anp_tf.options import length_text
from anp_tf.reproduce.paper import paper_rows
from anp_tf.tables import markdown_table

COLUMN_HEADS = {
    "clean_accuracy": ("clean, %", 2),
    "white_box_accuracy": ("white-box, %", 2),
    "standard_attack_accuracy": ("standard attack, %", 2),
    "black_box_accuracy": ("black-box, %", 2),
    "white_box_vulnerability": ("white-box V", 3),
    "black_box_vulnerability": ("black-box V", 3),
    "memory_percent": ("memory, %", 2),
    "flops_reduction": ("FLOPs, x", 2),
    "sparsity_percent": ("units pruned, %", 2),
    "weight_sparsity_percent": ("weights pruned, %", 2),
    "sampled_white_box_accuracy": ("white-box, drawn, %", 2),
    "core_minutes": ("core-minutes", 1),
}


def table_record(table, methods, runs):
    """The figures of a table, for `table.json`.

    Args:
        table: Name of the paper's table.
        methods: Sequence of methods, the rows in their order.
        runs: List of `Run`, done or not.

    Returns:
        Dict with the settings and, per method, the paper's figures and the measured ones with mean,
        standard deviation (None for a single seed), and the values with their seeds; of accuracies
        the number of test images, a list where it is not the same for all seeds.
    """
    paper = paper_rows(table)
    rows = []
    for method in methods:
        done = [run for run in runs if run.settings.method == method and run.row and run.done]
        results = [_results(run) for run in done]
        rows.append(
            {
                "method": method,
                "paper": paper.get(method, {}),
                "seeds": [result["seed"] for result in results],
                "training_seconds": [run.seconds() for run in done],
                "measured": {
                    column: _statistics(column, measured)
                    for column in COLUMN_HEADS
                    if (measured := [each for each in results if each.get(column) is not None])
                },
            }
        )
    first = next(run for run in runs if run.row).settings
    return {
        "table": table,
        "attack": f"PGD-{first.eval_attack_steps}",
        "epsilon": first.epsilon,
        "step_size": first.eval_attack_step_size,
        "network": first.network,
        "width_multiplier": first.width_multiplier,
        "rows": rows,
    }


def _results(run):
    """The results of a row, with what the standard attack leaves where it was made."""
    results = run.workdir.load_results()
    judged = run.standard_attack()
    if judged:
        results["standard_attack_accuracy"] = judged["robust_accuracy"]
        results["standard_attack_images"] = judged["test_examples"]
    return results


def _statistics(column, results):
    values = [result[column] for result in results]
    figures = {
        "mean": statistics.fmean(values),
        "std": statistics.stdev(values) if len(values) > 1 else None,
        "values": values,
    }
    if column.endswith("accuracy"):
        name = column.replace("accuracy", "images")
        images = [result.get(name, result["test_examples"]) for result in results]
        figures["images"] = images if len(set(images)) > 1 else images[0]
    return figures


def markdown(record):
    """The table as Markdown: a row per method, `paper / measured` in each cell."""
    shown = [
        column
        for column in COLUMN_HEADS
        if any(column in row["measured"] or column in row["paper"] for row in record["rows"])
    ]
    lines = [
        f"{record['table']}, {record['network']} at width {record['width_multiplier']:g}; "
        f"{record['attack']} with steps of {length_text(record['step_size'])}, epsilon "
        f"{length_text(record['epsilon'])}. Each cell: the paper's value / the measured mean ± "
        "standard deviation over seeds; of a single seed accuracies have their 95 % intervals.",
        "",
    ]
    columns = ["method", *(COLUMN_HEADS[column][0] for column in shown), "seeds"]
    rows = [
        [
            f"`{row['method']}`",
            *(_cell(row, column) for column in shown),
            str(len(row["seeds"]) or "-"),
        ]
        for row in record["rows"]
    ]
    return "\n".join([*lines, *markdown_table(columns, rows)]) + "\n"


def _cell(row, column):
    digits = COLUMN_HEADS[column][1]
    paper, measured = row["paper"].get(column), row["measured"].get(column)
    left = "-" if paper is None else f"{paper:.{digits}f}"
    if measured is None:
        return f"{left} / -"
    right = f"{measured['mean']:.{digits}f}"
    images, seeds = measured.get("images"), len(measured["values"])
    if measured["std"] is not None and math.isfinite(measured["std"]):
        right += f" ± {measured['std']:.{digits}f}"
    elif images is not None:
        right = with_interval(measured["mean"], images, digits)
    if seeds < len(row["seeds"]):
        right += f", {seeds} of {len(row['seeds'])} seeds"
    if isinstance(images, list):
        right += f", on {min(images):,} to {max(images):,} images"
    return f"{left} / {right}"
