"""A trained network as a folder to give away: SavedModel, results row and model card."""

import dataclasses
import importlib.util
import json
import pathlib
import re
import shlex

import keras
import tensorflow as tf

from anp_tf import data
from anp_tf.errors import WorkdirError
from anp_tf.evaluate.row import evaluation_attack
from anp_tf.export.card import ReleasedFile, data_name, micro_lines, model_card, verdict_lines
from anp_tf.files import atomic_file, write_json
from anp_tf.names import FORMATS, PRECISIONS
from anp_tf.options import one_of
from anp_tf.pruning import fold_batch_normalization, slim
from anp_tf.robustness import (
    LiteRtNetwork,
    adversarial_batches,
    certificate_of,
    checks_of,
    digest,
    entered,
    measure_robustness,
    robustness_of,
    test_examples,
)
from anp_tf.serving import (
    checked_version,
    export_litert,
    export_micro,
    export_onnx,
    export_saved_model,
    latest_version,
    saved_model_bytes,
    write_server_config,
)
from anp_tf.serving.saved_model import versions
from anp_tf.settings import Settings

FORMAT_PACKAGES = {
    "litert": "ai_edge_litert",
    "onnx": "tf2onnx",
    "micro": "tflite_micro",
}  # of the extras of these names
REPRESENTATIVE_IMAGES = 200  # training images that give int8 its ranges
MICRO_EXAMPLES = 100  # test images that outputs on a microcontroller are compared on
BATCH_SIZE = 250
RELEASE_FILES = ("results.json", "README.md")
SERVING_SIGNATURE = "serving_default"


@dataclasses.dataclass(frozen=True)
class ReleaseForm:
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
            if name in FORMAT_PACKAGES and importlib.util.find_spec(FORMAT_PACKAGES[name]) is None:
                raise ValueError(f"format: {name} needs more: pip install 'anp_tf[{name}]'")
        if self.precision != ("float32",) and "litert" not in self.format:
            raise ValueError(
                f"precision: expected together with format litert, received "
                f"{','.join(self.precision)} with format {','.join(self.format)}"
            )
        if self.name is not None and not re.fullmatch(r"[\w.-]+", self.name):
            raise ValueError(
                "name: expected letters, digits, points, '_' and '-', as addresses on a server "
                f"have them, received {self.name!r}"
            )
        for name, least in (("warmup_images", 0), ("litert_examples", 1)):
            if getattr(self, name) < least:
                raise ValueError(
                    f"{name}: expected a value at least {least}, received {getattr(self, name)}"
                )


def release(workdir, directory, version=None, form=None):
    """Exports the slimmed network of a run, with its results row and a model card beside it.

    Args:
        workdir: `Workdir` of a finished run.
        directory: Folder of the versions; `README.md`, `results.json` and the server's
            configuration in it are of the newest.
        version: Integer, at least 1. None: one above the highest version that is there.
        form: `ReleaseForm`; None: the default one.

    Returns:
        List of `pathlib.Path`s of what was written: the SavedModel `directory/<version>`, LiteRT
        files `<version>.<precision>.tflite`, the ONNX file `<version>.onnx`, the folder
        `<version>.micro` for microcontrollers.

    Raises:
        WorkdirError, FileExistsError, ValueError, OSError: as `load_network`,
            `export_saved_model`, `export_litert`, `export_onnx` and `anp_tf.data.load`.
    """
    form = form or ReleaseForm()
    directory = pathlib.Path(directory)
    network = fold_batch_normalization(slim(workdir.load_network()))
    settings = workdir.settings()
    settings = dataclasses.replace(settings, data_dir=form.data_dir or settings.data_dir)
    _check_own(directory)
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
        files.append(ReleasedFile(path, path.stat().st_size))
    if "micro" in form.format:
        files.append(_micro(settings, network, directory / f"{version}.micro"))
    results = workdir.load_results() if workdir.results.exists() else None
    if results:
        workdir.save_results(results, directory / "results.json")
    network_digest = digest(workdir.network)
    verdicts = {
        workdir.robustness: robustness_of(workdir.robustness, network_digest),
        workdir.checks: checks_of(workdir.checks, network_digest),
        workdir.certificate: certificate_of(workdir.certificate, network_digest),
    }
    described = {
        workdir.labels: workdir.class_names(),
        workdir.columns: workdir.column_ranges(),
    }
    for path, content in (verdicts | described).items():
        if content:
            write_json(directory / path.name, content)
    stronger = verdict_lines(*verdicts.values())
    with atomic_file(directory / "README.md") as temporary:
        temporary.write_text(model_card(settings, results, files, stronger, *described.values()))
    return [file.path for file in files]


def _check_own(directory):
    """A FileExistsError if files in a folder would be lost that are not of an earlier export."""
    names = (*RELEASE_FILES, "models.config", "batching.config", "labels.json", "columns.json")
    there = [name for name in names if (directory / name).exists()]
    if there and not versions(directory):
        raise FileExistsError(
            f"{directory} has {', '.join(there)}, and no version of a network that they could be "
            "of: name another folder"
        )


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
    served, (results, card) = latest_version(directory), map(directory.joinpath, RELEASE_FILES)
    if served is None or not results.is_file() or not card.is_file():
        raise WorkdirError(
            f"{directory} has no version of a network with {' and '.join(RELEASE_FILES)} beside it"
        )
    settings = Settings(dataset=json.loads(results.read_text())["dataset"], data_dir=data_dir)
    saved = tf.saved_model.load(str(served)).signatures[SERVING_SIGNATURE]
    (pixels,) = saved.structured_input_signature[1].values()
    inputs = keras.Input(pixels.shape[1:])
    network = keras.layers.TFSMLayer(str(served), call_endpoint=SERVING_SIGNATURE)
    network = keras.Model(inputs, network(inputs)["logits"], name="served")
    file = _micro(settings, network, directory / f"{served.name}.micro")
    lines = card.read_text().splitlines()
    end = next(i for i, line in enumerate(lines) if line.startswith("|---"))
    while lines[end].startswith("|"):
        end += 1
    command = f"python -m anp_tf.export --model={shlex.quote(str(directory))} --format=micro"
    made = [*micro_lines(file.micro)[:-1], f"Made by `{command}`.", ""]
    lines[end : end + 1] = [file.row(), "", *made]
    with atomic_file(card) as temporary:
        temporary.write_text("\n".join([*lines, ""]))
    return [file.path]


def _saved_model(workdir, settings, network, directory, version, form):
    names, images = workdir.class_names(), None
    if form.warmup_images:
        examples = test_examples(settings).take(form.warmup_images)
        names, images = names or examples.class_names, examples.pixels
    path = export_saved_model(network, directory, version, names, images, workdir.column_ranges())
    write_server_config(directory, form.name or f"{data_name(settings)}_{settings.method}")
    return ReleasedFile(path, saved_model_bytes(path))


def _representative(settings):
    training = data.load(
        settings.dataset, "train", settings.data_dir, **settings.data_options
    ).take(REPRESENTATIVE_IMAGES)
    return training.pixels


def _micro(settings, network, path):
    images = test_examples(settings).take(MICRO_EXAMPLES).pixels
    micro = export_micro(network, path, _representative(settings), images)
    return ReleasedFile(path, micro.size, micro=micro)


def _litert(settings, network, path, precision, form):
    representative = _representative(settings) if precision == "int8" else None
    export_litert(network, path, precision, representative)
    examples = test_examples(settings).take(form.litert_examples)
    batches = data.batches(examples, BATCH_SIZE)
    # Of a quantized network an attacker would attack the one before its weights were rounded.
    images = adversarial_batches(network, batches, evaluation_attack(settings), settings.seed)
    exported = entered(LiteRtNetwork(path), next(iter(batches))[0])
    accuracy = measure_robustness(exported, batches, images)
    return ReleasedFile(path, path.stat().st_size, accuracy)


def say_exported(paths):
    """Says where an exported network is, and how to load a SavedModel."""
    for path in paths:
        served = (path / "saved_model.pb").is_file()
        how = f"; load it by tf.saved_model.load({str(path)!r})" if served else ""
        print(f"the slimmed network is in {path}{how}")
