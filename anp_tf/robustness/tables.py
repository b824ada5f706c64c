"""Accuracy under attacks, and the checks, as text for the screen and for model cards."""

import rich.box
import rich.table

from anp_tf.intervals import with_interval
from anp_tf.options import length_text
from anp_tf.tables import as_text, plain_table

MARKS = {"pass": "pass", "warn": "WARN", "fail": "FAIL", "not run": "not run"}


def attack_table(result):
    """A table of the result of `worst_case`, each attack on the images that those before left."""
    title = (
        f"{result['dataset']}, {result['test_examples']:,} test images, {result['norm']}, "
        f"ε = {length_text(result['epsilon'])}"
    )
    total, check = result["test_examples"], result["recheck"]
    rows = [("no attack", "", with_interval(result["clean_accuracy"], total), "")]
    for row in result["attacks"]:
        accuracy, seconds = with_interval(row["robust_accuracy"], total), f"{row['seconds']:.0f}"
        rows.append((row["name"], str(row["fooled"]), accuracy, seconds))
    uncounted = "the images outside" if result["draws"] else "these"
    notes = [
        f"robust accuracy {result['robust_accuracy']:.2f} % (in brackets: 95 % intervals). Of "
        f"{check['images']:,} images read back, {check['outside_ball']} are outside the ball "
        f"(farthest: {check['largest_distance']:.6g}), {check['outside_pixels']} outside [0, 1], "
        f"{check['classified_correctly']} classified correctly; {uncounted} do not count.",
        *_reservations(result),
    ]
    columns = ("", "fooled", "robust accuracy, %", "seconds")
    return plain_table(title, columns, rows, 90, notes)


def _reservations(result):
    """Sentences where the network is stochastic, or where attacks could not be made."""
    if result["draws"]:
        yield (
            "The network is not deterministic: it was attacked, and judged, by the mean of "
            f"{result['draws']} draws, and an image that fooled it once counts."
        )
    if result.get("not_made"):
        yield (
            f"Not made: {', '.join(result['not_made'])}, for {result['not_made_because']}. The "
            "accuracy may be too high."
        )


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
        once = ", when they were made" if result.get("draws") else ""
        lines += [
            "Worst case over several attacks, each on the images that those before left "
            f"(`--attack={result['attack']}`): {result['test_examples']:,} test images, "
            f"{result['norm']}, ε = {length_text(result['epsilon'])}. All counted images were read "
            f"back and found in the ball, in [0, 1] and misclassified{once}. In brackets: 95 % "
            "intervals.",
            "",
            "| attack | fooled | robust accuracy, % |",
            "|---|---:|---:|",
            f"| none | | {with_interval(result['clean_accuracy'], result['test_examples'])} |",
        ]
        lines += [
            f"| {row['name']} | {row['fooled']} | "
            f"{with_interval(row['robust_accuracy'], result['test_examples'])} |"
            for row in result["attacks"]
        ]
        notes = [*_reservations(result)]
        lines += ["", *notes, ""] if notes else [""]
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
