"""Accuracy under attacks, and the checks, as text for the screen and for model cards."""

import rich.box
import rich.table

from anp_tf.tables import as_text

MARKS = {"pass": "pass", "warn": "WARN", "fail": "FAIL", "not run": "not run"}


def attack_table(result):
    """A table of the result of `worst_case`, each attack on the images that those before left."""
    title = (
        f"{result['dataset']}, {result['test_examples']:,} test images, {result['norm']}, "
        f"ε = {result['epsilon']:g}"
    )
    table = rich.table.Table("", box=rich.box.SIMPLE, title=title)
    for column in ("fooled", "robust accuracy, %", "seconds"):
        table.add_column(column, justify="right")
    table.add_row("no attack", "", f"{result['clean_accuracy']:.2f}", "")
    for row in result["attacks"]:
        accuracy, seconds = f"{row['robust_accuracy']:.2f}", f"{row['seconds']:.0f}"
        table.add_row(row["name"], str(row["fooled"]), accuracy, seconds)
    check = result["recheck"]
    lines = [
        as_text(table, width=90),
        f"robust accuracy {result['robust_accuracy']:.2f} %. Of {check['images']:,} images read "
        f"back, {check['outside_ball']} are outside the ball (farthest: "
        f"{check['largest_distance']:.6g}), {check['outside_pixels']} outside [0, 1], "
        f"{check['classified_correctly']} classified correctly; these do not count.",
    ]
    lines += _of_draws(result)
    return "\n".join(lines)


def _of_draws(result):
    """Says it where the network is stochastic."""
    if not result["draws"]:
        return []
    return [
        f"The network is not deterministic: it was attacked, and judged, by the mean of "
        f"{result['draws']} draws, and an image that fooled it once counts."
    ]


def check_table(checks):
    """The checks, one below the other."""
    table = rich.table.Table(box=rich.box.SIMPLE, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for check in checks:
        table.add_row(MARKS[check.status], f"{check.title}: {check.figure}")
    return as_text(table, width=110)


def robustness_lines(results):
    """The results in a `robustness.json`, a dict, as lines of Markdown."""
    lines = []
    for result in results.values():
        lines += [
            "Worst case over several attacks, each on the images that those before left "
            f"(`--attack={result['attack']}`): {result['test_examples']:,} test images, "
            f"{result['norm']}, ε = {result['epsilon']:g}. All counted images were read back and "
            "found in the ball, in [0, 1] and misclassified.",
            "",
            "| attack | fooled | robust accuracy, % |",
            "|---|---:|---:|",
            f"| none | | {result['clean_accuracy']:.2f} |",
        ]
        lines += [
            f"| {row['name']} | {row['fooled']} | {row['robust_accuracy']:.2f} |"
            for row in result["attacks"]
        ]
        lines += ["", *_of_draws(result), ""] if result["draws"] else [""]
    return lines


def checks_lines(record):
    """The content of a `checks.json`, a dict, as lines of Markdown."""
    lines = [
        f"Checks of the evaluation (`--checks`), on {record['test_examples']:,} test images:",
        "",
        "| | check | |",
        "|---|---|---|",
    ]
    lines += [
        f"| {MARKS[check['status']]} | {check['title']} | {check['figure']} |"
        for check in record["checks"]
    ]
    return [*lines, ""]
