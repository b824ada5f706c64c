"""The model card of a network that is given away."""

import dataclasses
import importlib.resources
import pathlib
import shlex

import jinja2

from anp_tf import data
from anp_tf.evaluate.row import evaluation_attack
from anp_tf.intervals import with_interval
from anp_tf.options import length_text
from anp_tf.robustness import (
    Robustness,
    certificate_lines,
    checks_lines,
    robustness_lines,
)
from anp_tf.serving import Micro

SHOWN_NAMES = 100  # classes or columns that the card names

RESULT_LINES = {
    "clean_accuracy": "clean accuracy, %",
    "white_box_accuracy": "white-box accuracy, %",
    "sampled_white_box_accuracy": "white-box accuracy with drawn weights, %",
    "black_box_accuracy": "black-box accuracy, %",
    "white_box_vulnerability": "white-box vulnerability",
    "black_box_vulnerability": "black-box vulnerability",
    "memory_percent": "memory (the paper's count), % of the dense network",
    "flops_reduction": "FLOPs reduction, x",
    "sparsity_percent": "units pruned, %",
    "weight_sparsity_percent": "weights of kernels pruned, %",
    "slim_parameter_bytes": "parameter bytes",
    "dense_parameter_bytes": "parameter bytes of the dense network",
}


@dataclasses.dataclass(frozen=True)
class ReleasedFile:
    """A file or folder that was written, its bytes, and what was measured of it, if anything."""

    path: pathlib.Path
    size: int
    accuracy: Robustness | None = None
    micro: Micro | None = None

    def row(self):
        """Its line in the table of the model card."""
        cells = ["", ""]
        if self.accuracy:
            shares = self.accuracy.clean_accuracy, self.accuracy.adversarial_accuracy
            cells = [with_interval(100 * share, self.accuracy.examples) for share in shares]
        return f"| `{self.path.name}` | {self.size:,} | {' | '.join(cells)} |"


def data_name(settings):
    """The data set's name; of a path, the folder's or the file's without its ending."""
    path = data.as_path(settings.dataset)
    return settings.dataset if path is None else path.absolute().stem


def model_card(
    settings,
    results,
    files,
    stronger=(),
    class_names=None,
    columns=None,
    network=None,
    earlier=((), ()),
):
    """A model card in Markdown.

    Args:
        settings: `Settings` of the run.
        results: Its results row, or None if it was not evaluated.
        files: List of `ReleasedFile`.
        stronger: Lines on stronger attacks and checks.
        class_names: Sequence of the names of the classes, or None if they are not known.
        columns: List of dicts of a table's columns: `name`, `low`, `high`; None for images.
        network: Digest of the run's network; None: the card does not say it.
        earlier: Rows and lines on files that are there already, as `lines_on_files` returns them.
    """
    command = ["python -m anp_tf.train --workdir=WORKDIR"]
    command += [shlex.quote(flag) for flag in settings.flag_lines() if "data_dir" not in flag]
    rows, below = earlier
    micro = [line for file in files if file.micro for line in micro_lines(file.micro)]
    environment = jinja2.Environment(
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    source = importlib.resources.files(__package__).joinpath("card.md.jinja")
    return environment.from_string(source.read_text()).render(
        settings=settings,
        length_text=length_text,
        dataset=data_name(settings),
        most=SHOWN_NAMES,
        class_names=class_names,
        columns=columns,
        network=network,
        rows=[*rows, *(file.row() for file in files)],
        on_files=[*below, *_measured_lines(settings, files), *micro],
        results=results,
        figures=_figures(results) if results else (),
        stronger=stronger,
        command=command,
    )


def _figures(results):
    """Pairs of a label and a text, of the figures that there are."""
    found = []
    for name, label in RESULT_LINES.items():
        value = results.get(name)
        if value is None:
            continue
        text = f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
        if name.endswith("accuracy"):
            text = with_interval(value, results["test_examples"])
        found.append((label, text))
    return found


def _measured_lines(settings, files):
    """What is measured of LiteRT files, as lines of Markdown; none where there are no such."""
    measured = [file for file in files if file.accuracy]
    if not measured:
        return []
    attack = evaluation_attack(settings)
    return [
        f"The figures of {', '.join(f'`{file.path.name}`' for file in measured)} are of "
        f"{measured[0].accuracy.examples:,} test images; the attack, PGD-{attack.steps} with "
        f"ε = {length_text(attack.epsilon)} and steps of {length_text(attack.step_size)}, is made "
        "on the network before its weights were rounded. In brackets: 95 % intervals.",
        "",
    ]


def micro_lines(micro):
    return [
        f"`{micro.path.name}` is for microcontrollers, int8 in and out. In TensorFlow Lite "
        f"Micro it ran in an arena of {micro.arena:,} bytes; on {micro.examples} test images "
        f"its outputs differ from LiteRT's by at most {micro.difference} of 255 steps, and "
        f"{100 * micro.agreement:g} % have the same class. Operators: "
        f"{', '.join(micro.operators)}.",
        "",
    ]


def verdict_lines(suites, checks, certificate, of_files=()):
    """What strong attacks, checks and proofs say of a network, as lines of Markdown.

    Args:
        suites, checks, certificate: The contents of `robustness.json`, `checks.json` and
            `certificate.json`, dicts; None or empty where there is none.
        of_files: Lines on its other files.
    """
    return [
        *(robustness_lines(suites) if suites else ()),
        *of_files,
        *(checks_lines(checks) if checks else ()),
        *(certificate_lines(certificate) if certificate else ()),
    ]
