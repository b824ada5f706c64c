"""A trained network as a folder to give away: SavedModel, results row and model card."""

import dataclasses
import importlib.util
import json
import pathlib
import shlex

import keras
import tensorflow as tf

from anp_tf import data
from anp_tf.errors import WorkdirError
from anp_tf.evaluate.row import evaluation_attack
from anp_tf.files import atomic_file, write_json
from anp_tf.intervals import with_interval
from anp_tf.names import FORMATS, PRECISIONS
from anp_tf.options import one_of
from anp_tf.pruning import fold_batch_normalization, slim
from anp_tf.robustness import (
    LiteRtNetwork,
    Robustness,
    adversarial_batches,
    certificate_lines,
    certificate_of,
    checks_lines,
    checks_of,
    digest,
    entered,
    measure_robustness,
    robustness_lines,
    robustness_of,
    test_examples,
)
from anp_tf.serving import (
    Micro,
    checked_version,
    export_litert,
    export_micro,
    export_onnx,
    export_saved_model,
    latest_version,
    saved_model_bytes,
    write_server_config,
)
from anp_tf.settings import Settings

PACKAGES = {
    "litert": "ai_edge_litert",
    "onnx": "tf2onnx",
    "micro": "tflite_micro",
}  # of the extras of these names
REPRESENTATIVE = 200  # training images that give int8 its ranges
MICRO_EXAMPLES = 100  # test images that outputs on a microcontroller are compared on
BATCH_SIZE = 250
RELEASED = ("results.json", "README.md")
SIGNATURE = "serving_default"
SHOWN = 100  # classes or columns that the card names
OF_FILE = "Of the file in "
VERDICTS = ("Worst case over ", OF_FILE, "Checks of the evaluation ")  # how their lines begin
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
class Form:
    """The form in which a network is released.

    Args:
        format: Some of `"saved_model"`, `"litert"`, `"onnx"`, `"micro"`.
        precision: Of LiteRT files: some of `"float32"`, `"float16"`, `"int8"`.
        name: The model's name on a server; None: `<data set>_<method>`.
        warmup_images: Integer, at least 0: test images of the SavedModel's warm-up requests. With
            0 no data are read, and the classes have numbers for names.
        litert_examples: Integer, at least 1: test images on which LiteRT files are measured.
        data_dir: Directory of TFDS data sets; None: that of the run.

    Raises:
        ValueError: if a value is not among these, or if a format needs a package that is missing.
    """

    format: tuple[str, ...] = ("saved_model",)
    precision: tuple[str, ...] = ("float32",)
    name: str | None = None
    warmup_images: int = 8
    litert_examples: int = 1000
    data_dir: str | None = None

    def __post_init__(self):
        for name, known in (("format", FORMATS), ("precision", PRECISIONS)):
            given = getattr(self, name)
            if not given:
                raise ValueError(f"{name}: expected some of {', '.join(known)}, received none")
            for value in given:
                one_of(name, value, known)
        for name in self.format:
            if name in PACKAGES and importlib.util.find_spec(PACKAGES[name]) is None:
                raise ValueError(f"format: {name} needs more: pip install 'anp_tf[{name}]'")
        for name, least in (("warmup_images", 0), ("litert_examples", 1)):
            if getattr(self, name) < least:
                raise ValueError(
                    f"{name}: expected a value at least {least}, received {getattr(self, name)}"
                )


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


def release(workdir, directory, version=None, form=None):
    """Exports the slimmed network of a run, with its results row and a model card beside it.

    Args:
        workdir: `Workdir` of a finished run.
        directory: Folder of the versions; `README.md`, `results.json` and the server's
            configuration in it are of the newest.
        version: Integer, at least 1. None: one above the highest version that is there.
        form: `Form`; None: the default one.

    Returns:
        List of `pathlib.Path`s of what was written: the SavedModel `directory/<version>`, LiteRT
        files `<version>.<precision>.tflite`, the ONNX file `<version>.onnx`, the folder
        `<version>.micro` for microcontrollers.

    Raises:
        WorkdirError, FileExistsError, ValueError, OSError: as `load_network`,
            `export_saved_model`, `export_litert`, `export_onnx` and `anp_tf.data.load`.
    """
    form = form or Form()
    directory = pathlib.Path(directory)
    network = fold_batch_normalization(slim(workdir.load_network()))
    settings = workdir.settings()
    settings = dataclasses.replace(settings, data_dir=form.data_dir or settings.data_dir)
    version = checked_version(directory, version)
    files = []
    if "saved_model" in form.format:
        files.append(_saved_model(workdir, settings, network, directory, version, form))
    if "litert" in form.format:
        files += [
            _litert(settings, network, directory / f"{version}.{precision}.tflite", precision, form)
            for precision in form.precision
        ]
    if "onnx" in form.format:
        path = directory / f"{version}.onnx"
        export_onnx(network, path)
        files.append(File(path, path.stat().st_size))
    if "micro" in form.format:
        files.append(_micro(settings, network, directory / f"{version}.micro"))
    results = workdir.load_results() if workdir.results.exists() else None
    if results:
        workdir.save_results(results, directory / "results.json")
    stronger, network_digest = [], digest(workdir.network)
    if suites := robustness_of(workdir.robustness, network_digest):
        stronger += robustness_lines(suites)
        write_json(directory / workdir.robustness.name, suites)
    if checks := checks_of(workdir.checks, network_digest):
        stronger += checks_lines(checks)
        write_json(directory / workdir.checks.name, checks)
    if certificate := certificate_of(workdir.certificate, network_digest):
        stronger += certificate_lines(certificate)
        write_json(directory / workdir.certificate.name, certificate)
    described = (workdir.labels, workdir.class_names()), (workdir.columns, workdir.column_ranges())
    for path, content in described:
        if content:
            write_json(directory / path.name, content)
    described = [content for _, content in described]
    with atomic_file(directory / "README.md") as temporary:
        temporary.write_text(model_card(settings, results, files, stronger, *described))
    return [file.path for file in files]


def add_micro(directory, data_dir=None):
    """Exports what an earlier release serves for microcontrollers too, beside its newest version.

    The card of the release gets a line on it.

    Args:
        directory: Folder of a release: of versions, `results.json` and `README.md`.
        data_dir: Directory of TFDS data sets; None: TFDS's default.

    Returns:
        List of the `pathlib.Path` of what was written, the folder `<version>.micro`.

    Raises:
        WorkdirError: if there is no such release.
        FileExistsError, ImportError, ValueError, OSError: as `export_micro`, `anp_tf.data.load`.
    """
    directory = pathlib.Path(directory)
    served, (results, card) = latest_version(directory), map(directory.joinpath, RELEASED)
    if served is None or not results.is_file() or not card.is_file():
        raise WorkdirError(
            f"{directory} has no version of a network with {' and '.join(RELEASED)} beside it"
        )
    settings = Settings(dataset=json.loads(results.read_text())["dataset"], data_dir=data_dir)
    saved = tf.saved_model.load(str(served)).signatures[SIGNATURE]
    (pixels,) = saved.structured_input_signature[1].values()
    inputs = keras.Input(pixels.shape[1:])
    network = keras.layers.TFSMLayer(str(served), call_endpoint=SIGNATURE)
    network = keras.Model(inputs, network(inputs)["logits"], name="served")
    file = _micro(settings, network, directory / f"{served.name}.micro")
    lines = card.read_text().splitlines()
    end = next(i for i, line in enumerate(lines) if line.startswith("|---"))
    while lines[end].startswith("|"):
        end += 1
    command = f"python -m anp_tf.export --model={shlex.quote(str(directory))} --format=micro"
    made = [*_micro_lines(file.micro)[:-1], f"Made by `{command}`.", ""]
    lines[end : end + 1] = [file.row(), "", *made]
    with atomic_file(card) as temporary:
        temporary.write_text("\n".join([*lines, ""]))
    return [file.path]


def renew_card(directory):
    """The card of an earlier release says what the verdicts beside it say now.

    They are `robustness.json` and `checks.json`, as `evaluate` writes them with `--output`, of the
    network; and `robustness.json` in the folder of one of its other files, if it is of that file.

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
    lines[min([*starts, ends[0]]) : ends[0]] = _verdict_lines(directory)
    with atomic_file(card) as temporary:
        temporary.write_text("\n".join([*lines, ""]))
    return card


def _verdict_lines(directory):
    network, checks = directory / "robustness.json", directory / "checks.json"
    lines = []
    if network.is_file():
        lines += robustness_lines(json.loads(network.read_text()))
    for path in sorted(directory.glob("*/robustness.json")):
        digests = [digest(file) for file in path.parent.iterdir() if file.is_file()]
        for each in digests:
            if judged := robustness_of(path, each):
                lines += [f"{OF_FILE}`{path.parent.name}`:", "", *robustness_lines(judged)]
    if checks.is_file():
        lines += checks_lines(json.loads(checks.read_text()))
    return lines


def _saved_model(workdir, settings, network, directory, version, form):
    names, images = workdir.class_names(), None
    if form.warmup_images:
        examples = test_examples(settings).take(form.warmup_images)
        names, images = names or examples.class_names, examples.pixels
    path = export_saved_model(network, directory, version, names, images, workdir.column_ranges())
    write_server_config(directory, form.name or f"{_data_name(settings)}_{settings.method}")
    return File(path, saved_model_bytes(path))


def _data_name(settings):
    """The data set's name; of a path, the folder's or the file's without its ending."""
    path = data.as_path(settings.dataset)
    return settings.dataset if path is None else path.absolute().stem


def _representative(settings):
    training = data.load(
        settings.dataset, "train", settings.data_dir, **settings.data_options
    ).take(REPRESENTATIVE)
    return training.pixels


def _micro(settings, network, path):
    images = test_examples(settings).take(MICRO_EXAMPLES).pixels
    micro = export_micro(network, path, _representative(settings), images)
    return File(path, micro.size, micro=micro)


def _litert(settings, network, path, precision, form):
    representative = _representative(settings) if precision == "int8" else None
    export_litert(network, path, precision, representative)
    examples = test_examples(settings).take(form.litert_examples)
    batches = data.batches(examples, BATCH_SIZE)
    # Of a quantized network an attacker would attack the one before its weights were rounded.
    images = adversarial_batches(network, batches, evaluation_attack(settings), settings.seed)
    exported = entered(LiteRtNetwork(path), next(iter(batches))[0])
    accuracy = measure_robustness(exported, batches, images)
    return File(path, path.stat().st_size, accuracy)


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
        f"# {settings.network}, {_data_name(settings)}, `{settings.method}`",
        "",
        f"A network trained on {_data_name(settings)} by the method `{settings.method}` of anp_tf, "
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
        lines += _micro_lines(file.micro) if file.micro else []
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


def _micro_lines(micro):
    return [
        f"`{micro.path.name}` is for microcontrollers, int8 in and out. In TensorFlow Lite "
        f"Micro it ran in an arena of {micro.arena:,} bytes; on {micro.examples} test images "
        f"its outputs differ from LiteRT's by at most {micro.difference} of 255 steps, and "
        f"{100 * micro.agreement:g} % have the same class. Operators: "
        f"{', '.join(micro.operators)}.",
        "",
    ]
