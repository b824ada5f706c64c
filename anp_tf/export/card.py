"""The model card of a network that is given away."""

import dataclasses
import pathlib
import shlex

from anp_tf import data
from anp_tf.errors import WorkdirError
from anp_tf.files import atomic_file, read_json
from anp_tf.intervals import with_interval
from anp_tf.robustness import (
    Robustness,
    certificate_lines,
    checks_lines,
    digest,
    robustness_lines,
    robustness_of,
)
from anp_tf.serving import Micro

SHOWN = 100  # classes or columns that the card names
OF_FILE = "Of the file in "
# How the lines on verdicts begin, and those that come after them.
VERDICTS = ("Worst case over ", OF_FILE, "Checks of the evaluation ", "Proved (`--prove`)")
AFTER_VERDICTS = ("The network before slimming", "Trained by")

LINES = {
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
class File:
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


def _of_data(class_names, columns):
    """The paragraphs on the classes and the columns."""
    lines = []
    if class_names:
        shown = [*class_names[:SHOWN], *(["…"] if len(class_names) > SHOWN else [])]
        lines += [f"Classes, in the order of the logits: {', '.join(shown)}.", ""]
    if columns:
        lines += [
            "Its pixels are the numbers of a table's row, each scaled to [0, 1] by the range of "
            "its column in the training part and clipped to it, so that the attack's radius is a "
            "share of these ranges. The signature `rows` takes the numbers as they stand in the "
            "table.",
            "",
            "| column | from | to |",
            "|---|---:|---:|",
            *(f"| {c['name']} | {c['low']:g} | {c['high']:g} |" for c in columns[:SHOWN]),
            *(["| … | | |"] if len(columns) > SHOWN else []),
            "",
        ]
    return lines


def model_card(settings, results, files, stronger=(), class_names=None, columns=None):
    """A model card in Markdown.

    Args:
        settings: `Settings` of the run.
        results: Its results row, or None if it was not evaluated.
        files: List of `File`.
        stronger: Lines on stronger attacks and checks.
        class_names: Sequence of the names of the classes, or None if they are not known.
        columns: List of dicts of a table's columns: `name`, `low`, `high`; None for images.
    """
    lines = [
        f"# {settings.network}, {data_name(settings)}, `{settings.method}`",
        "",
        f"A network trained on {data_name(settings)} by the method `{settings.method}` of anp_tf, "
        "slimmed: pruned units are cut out. It takes pixels, float32 in [0, 1], and returns logits "
        "and probabilities.",
        "",
        *_of_data(class_names, columns),
        "| file | bytes | clean, % | under the attack, % |",
        "|---|---:|---:|---:|",
        *(file.row() for file in files),
        "",
    ]
    if measured := [file.accuracy.examples for file in files if file.accuracy]:
        lines += [
            f"These figures are of {measured[0]:,} test images; the attack, the one below, is made "
            "on the network before its weights were rounded. In brackets: 95 % intervals.",
            "",
        ]
    for file in files:
        lines += micro_lines(file.micro) if file.micro else []
    if results:
        lines += [
            f"Threat model: the attacker knows the network and moves each pixel by at most "
            f"{results['epsilon']:g}, within [0, 1]. Measured on {results['test_examples']:,} test "
            f"images with {results['attack']}, steps of {results['step_size']:g} from a random "
            "start; black-box: the same attack made on another network."
            + ("" if stronger else " A stronger attack finds more."),
            "",
            "| | |",
            "|---|---|",
        ]
        for name, label in LINES.items():
            value = results.get(name)
            if value is not None:
                shown = f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
                if name.endswith("accuracy"):
                    shown = with_interval(value, results["test_examples"])
                lines.append(f"| {label} | {shown} |")
        for batch, times in results["latency_milliseconds"].items():
            lines.append(f"| latency, batch {batch}, ms | {times['slim']:.3g} |")
        lines.append("")
        lines += [f"Beware: {hint}.\n" for hint in results.get("hints", ())]
    else:
        lines += ["It was not evaluated when it was exported.", ""]
    lines += stronger
    command = ["python -m anp_tf.train --workdir=WORKDIR"]
    command += [shlex.quote(flag) for flag in settings.flag_lines() if "data_dir" not in flag]
    lines += [
        "The network before slimming, with its masks, is `network.keras` in the run's workdir: "
        "`anp_tf.load(path)` loads it, as does `keras.models.load_model(path)` after "
        "`import anp_tf.layers`.",
        "",
    ]
    lines += ["Trained by", "", "```sh", " \\\n  ".join(command), "```", ""]
    return "\n".join(lines)


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


def renew_card(directory):
    """The card of an earlier release says what the verdicts beside it say now.

    They are `robustness.json`, `checks.json` and `certificate.json`, as `evaluate` writes them with
    `--output`, of the network; and `robustness.json` in the folder of one of its other files, if it
    is of that file.

    Args:
        directory: Folder of a release: of versions and `README.md`.

    Returns:
        The `pathlib.Path` of the card.

    Raises:
        WorkdirError: if there is no card of a release.
    """
    directory = pathlib.Path(directory)
    card = directory / "README.md"
    lines = card.read_text().splitlines() if card.is_file() else []
    ends = [i for i, line in enumerate(lines) if line.startswith(AFTER_VERDICTS)]
    if not ends:
        raise WorkdirError(f"{directory} has no README.md of a network that was exported")
    starts = [i for i, line in enumerate(lines[: ends[0]]) if line.startswith(VERDICTS)]
    verdicts = (
        read_json(directory / name)
        for name in ("robustness.json", "checks.json", "certificate.json")
    )
    lines[min([*starts, ends[0]]) : ends[0]] = verdict_lines(*verdicts, _of_files(directory))
    with atomic_file(card) as temporary:
        temporary.write_text("\n".join([*lines, ""]))
    return card


def _of_files(directory):
    """What the verdicts in the folders of a release say of the files there."""
    lines = []
    for path in sorted(directory.glob("*/robustness.json")):
        for file in filter(pathlib.Path.is_file, path.parent.iterdir()):
            if judged := robustness_of(path, digest(file)):
                lines += [f"{OF_FILE}`{path.parent.name}`:", "", *robustness_lines(judged)]
    return lines
