"""The page of a report: one HTML file with everything in it."""

import base64
import importlib.resources
import os
import platform
import re
import shlex

import jinja2
import keras
import tensorflow as tf

from anp_tf import __version__
from anp_tf.methods import METHODS
from anp_tf.report import facts, tables, theme

MARK = "<p>Made by anp_tf "  # by which a page is known


def holds_report(path):
    """Whether a file is a page of `report_page`."""
    try:
        return MARK in path.read_text()
    except (OSError, ValueError):
        return False


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
    differing, shared = tables.settings_table(runs)
    networks = ", ".join(sorted({facts.architecture(run) for run in runs}))
    return template.render(
        title=f"Adversarial robustness and size: {dataset}, {networks}",
        style=source.joinpath("report.css").read_text(),
        version=__version__,
        runs=runs,
        facts=facts.facts(runs),
        small=facts.small_run(runs),
        summary=[
            {
                "label": run.label,
                "words": METHODS[run.settings.method].in_words,
                "text": facts.summary(run),
            }
            for run in runs
        ],
        results=tables.results_table(runs),
        uncertainty=_uncertainty(figure_examples),
        suites=[{"run": run, **suite} for run in runs for suite in run.suites],
        checklists=[{"run": run, **run.checklist} for run in runs if run.checklist],
        certificates=[{"run": run, **run.certificate} for run in runs if run.certificate],
        costs=tables.deployment_table(runs),
        latency_sizes=list(results[0]["latency_milliseconds"]),
        machine=machine(),
        units=tables.kept_units(runs),
        figures=[_inlined(figure) for figure in figures],
        figure_examples=f"{figure_examples:,}",
        differing=differing,
        shared=shared,
        commands=[*_commands(runs), shlex.join(command)],
    )


def machine():
    """The machine and the versions this runs on, in words."""
    return (
        f"{os.cpu_count()} CPU cores, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}, TensorFlow {tf.__version__}, "
        f"Keras {keras.__version__}"
    )


def _uncertainty(count):
    return f"±{98 / count**0.5:.1f} points"


def _inlined(figure):
    """A figure with its image, light and dark, as data URIs, and its size in pixels."""
    svg = figure.path.read_text()
    width, height = (
        round(float(re.search(rf'<svg [^>]*?{name}="([\d.]+)pt"', svg)[1]) * 4 / 3)
        for name in ("width", "height")
    )
    return {
        "name": figure.name,
        "title": figure.title,
        "caption": figure.caption,
        "alt": figure.alt,
        "source": _data_uri(svg),
        "dark_source": _data_uri(theme.dark(svg)),
        "width": width,
        "height": height,
    }


def _data_uri(svg):
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


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
        again = [(suite, *shlex.split(f"--attack={suite['attack']}")) for suite in run.suites]
        if run.checklist:
            again.append((run.checklist, "--checks"))
        if run.certificate:
            again.append((run.certificate, "--prove", f"--proofs={run.certificate['proofs']}"))
        for texts, *options in again:
            count = f"--limit_test_examples={texts['images']}"
            command = ["python", "-m", "anp_tf.evaluate", new, *options, *texts["threat"], count]
            lines.append(shlex.join(command))
    return lines
