"""What the command does once its flags are parsed."""

import dataclasses
import os
import pathlib

from absl import flags

from anp_tf import cli
from anp_tf.files import atomic_file, check_folder, check_written
from anp_tf.progress import counting
from anp_tf.report.figures import make_figures, sparsity_figure, sparsity_points
from anp_tf.report.page import holds_report, report_page
from anp_tf.report.runs import load_runs
from anp_tf.robustness import test_examples_of


def main():
    given = flags.FLAGS
    if given.examples < 1:
        raise ValueError(f"examples: expected a value at least 1, received {given.examples}")
    paths = _paths(cli.workdir())
    runs = load_runs(paths)
    points = sparsity_points(given.sparsity, runs) if given.sparsity else []
    page = pathlib.Path(given.output)
    if page.suffix != ".html":
        page = page / "report.html"
    folder = page.parent / "figures"
    check_folder("output", folder)
    page.parent.mkdir(parents=True, exist_ok=True)
    check_written("output", page, holds_report)
    folder.mkdir(exist_ok=True)
    settings = dataclasses.replace(
        runs[0].settings,
        data_dir=given.data_dir or runs[0].settings.data_dir,
        limit_test_examples=given.examples,
    )
    examples = test_examples_of(runs[0].workdir, settings)
    figures = make_figures(runs, examples, folder, counting)
    if points:
        figures.append(sparsity_figure(points, folder))
    with atomic_file(page) as temporary:
        temporary.write_text(report_page(runs, figures, len(examples), _command(paths)))
    print(page)


def _paths(text):
    """The folders of a comma separated list, of which some may have commas in their names."""
    parts, paths = text.split(","), []
    while parts:
        starts = [",".join(parts[:count]) for count in range(len(parts), 0, -1)]
        path = next(filter(os.path.isdir, starts), parts[0])
        paths.append(path)
        parts = parts[path.count(",") + 1 :]
    return list(filter(None, paths))


def _command(paths):
    """The command that makes the same report."""
    given = flags.FLAGS
    command = ["python", "-m", "anp_tf.report", f"--workdir={','.join(paths)}"]
    for name in ("output", "examples", "sparsity", "data_dir", "imports"):
        if given[name].present:
            command.append(given[name].serialize())
    return command
