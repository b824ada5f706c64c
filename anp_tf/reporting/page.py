"""The page of a report: one HTML file with everything in it."""

import base64
import datetime
import importlib.resources
import os
import platform
import shlex
import struct

import jinja2
import keras
import tensorflow as tf

from anp_tf import __version__
from anp_tf.intervals import with_interval
from anp_tf.reporting import tables


def report_page(runs, figures, figure_examples, command):
    """The page, a string of HTML that loads nothing: images and style are in it.

    Args:
        runs: List of `ReportedRun`.
        figures: List of `MadeFigure`.
        figure_examples: Integer, the test images that the figures are of.
        command: List of strings, the command that makes the report again.

    Raises:
        OSError: if a figure cannot be read.
    """
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    source = importlib.resources.files(__package__)
    template = environment.from_string(source.joinpath("report.html.jinja").read_text())
    results = [run.results for run in runs]
    dataset = runs[0].settings.dataset
    networks = ", ".join(sorted({run.settings.network for run in runs}))
    costs = tables.deployment_table(runs)
    return template.render(
        title=f"Adversarial robustness and size: {dataset}, {networks}",
        style=source.joinpath("report.css").read_text(),
        version=__version__,
        runs=runs,
        dataset=dataset,
        epsilons=[f"{epsilon:g}" for epsilon in sorted({row["epsilon"] for row in results})],
        summary=[{"label": run.label, "text": _summary(run.results)} for run in runs],
        results=tables.results_table(runs),
        attacks=_attacks(runs),
        sources=sorted({row["black_box_source"] for row in results if row.get("black_box_source")}),
        uncertainty=_uncertainty(row["test_examples"] for row in results),
        suites=[{"run": run, **suite} for run in runs for suite in run.suites],
        checklists=[{"run": run, **run.checklist} for run in runs if run.checklist],
        costs=[{**cost, "training": _duration(cost["run"])} for cost in costs],
        latency_sizes=list(results[0]["latency_milliseconds"]),
        machine=machine(),
        units=tables.kept_units(runs),
        figures=[_inlined(figure) for figure in figures],
        figure_examples=f"{figure_examples:,}",
        flags=tables.settings_table(runs),
        commands=[*_commands(runs), shlex.join(command)],
    )


def machine():
    """The machine and the versions this runs on, in words."""
    return (
        f"{os.cpu_count()} CPU cores, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}, TensorFlow {tf.__version__}, "
        f"Keras {keras.__version__}"
    )


def _summary(row):
    total = row["test_examples"]
    parts = [
        f"{with_interval(row['clean_accuracy'], total)} % of the test images are classified "
        f"correctly, {with_interval(row['white_box_accuracy'], total)} % under {row['attack']}"
    ]
    if row["sparsity_percent"]:
        parts.append(
            f"{row['sparsity_percent']:.1f} % of the units are pruned: "
            f"{row['flops_reduction']:.1f} times fewer FLOPs, "
            f"{row['slim_parameter_bytes']:,} bytes of parameters in place of "
            f"{row['dense_parameter_bytes']:,}"
        )
    return "; ".join(parts) + "."


def _attacks(runs):
    """The white-box attacks, each once, with the networks where they differ."""
    labels = {}
    for run in runs:
        labels.setdefault(tables.attack_text(run.results), []).append(run.label)
    if len(labels) == 1:
        return [f"White-box: {text}" for text in labels]
    return [f"White-box, {', '.join(names)}: {text}" for text, names in labels.items()]


def _uncertainty(counts):
    return ", ".join(
        f"±{98 / count**0.5:.1f} points of {count:,} images" for count in sorted(set(counts))
    )


def _duration(run):
    """How long the epochs of a run took, as text."""
    seconds = sum(record.get("seconds", 0) for record in run.workdir.epochs())
    return str(datetime.timedelta(seconds=round(seconds))) if seconds else "-"


def _inlined(figure):
    """A figure with its image as a data URI, and its size in pixels."""
    png = figure.path.read_bytes()
    width, height = struct.unpack(">II", png[16:24])  # of the header
    return {
        "name": figure.name,
        "title": figure.title,
        "caption": figure.caption,
        "alt": figure.alt,
        "source": f"data:image/png;base64,{base64.b64encode(png).decode()}",
        "width": width,
        "height": height,
    }


def _commands(runs):
    """What trains and evaluates the networks again, in new workdirs."""
    lines = []
    for run in runs:
        path = run.workdir.path
        new = f"--workdir={path}_again"
        train = ["python", "-m", "anp_tf.train", f"--flagfile={run.workdir.config}", new]
        evaluate = ["python", "-m", "anp_tf.evaluate", new]
        source = run.results.get("black_box_source")
        if source:
            evaluate.append(f"--source={source}")
        lines += [shlex.join(train), shlex.join(evaluate)]
        for suite in run.suites:
            count = f"--limit_test_examples={suite['images']}"
            command = ["python", "-m", "anp_tf.evaluate", new, f"--attack={suite['attack']}"]
            lines.append(shlex.join([*command, *suite["threat"], count]))
        if run.checklist:
            count = f"--limit_test_examples={run.checklist['images']}"
            command = ["python", "-m", "anp_tf.evaluate", new, "--checks"]
            lines.append(shlex.join([*command, *run.checklist["threat"], count]))
    return lines
