"""What the command does once its flags are parsed."""

import dataclasses
import pathlib

from absl import flags

from anp_tf import cli
from anp_tf.files import atomic_file
from anp_tf.reporting import load_runs, make_figures, report_page, sparsity_figure
from anp_tf.robustness import test_examples
from anp_tf.training.progress import counting


def main():
    given = flags.FLAGS
    if given.examples < 1:
        raise ValueError(f"examples: expected a value at least 1, received {given.examples}")
    paths = [path for path in cli.workdir().split(",") if path]
    runs = load_runs(paths)
    page = pathlib.Path(given.output)
    if page.suffix != ".html":
        page = page / "report.html"
    folder = page.parent / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    sparsity = [sparsity_figure(given.sparsity, folder)] if given.sparsity else []
    settings = dataclasses.replace(
        runs[0].settings,
        data_dir=given.data_dir or runs[0].settings.data_dir,
        limit_test_examples=given.examples,
    )
    examples = test_examples(settings)
    figures = make_figures(runs, examples, folder, counting) + sparsity
    with atomic_file(page) as temporary:
        temporary.write_text(report_page(runs, figures, len(examples), _command(paths)))
    print(page)


def _command(paths):
    """The command that makes the same report."""
    given = flags.FLAGS
    command = ["python", "-m", "anp_tf.report", f"--workdir={','.join(paths)}"]
    for name in ("output", "examples", "sparsity"):
        if given[name].present:
            command.append(f"--{name}={given[name].value}")
    return command
