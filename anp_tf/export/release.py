"""A trained network as a folder to give away: SavedModel, results row and model card."""

import contextlib
import dataclasses
import importlib.util
import itertools
import pathlib
import re
import shutil

import keras
import tensorflow as tf

from anp_tf import data
from anp_tf.errors import WorkdirError
from anp_tf.evaluate.row import evaluation_attack
from anp_tf.export.beside import RESULTS, check_own, check_same, verdicts_of, write_beside
from anp_tf.export.card import ReleasedFile, data_name, model_card, verdict_lines
from anp_tf.export.written_card import CARD, add_file, data_settings, lines_on_files
from anp_tf.files import atomic_file
from anp_tf.names import FORMATS, PRECISIONS
from anp_tf.options import one_of
from anp_tf.pruning import fold_batch_normalization, slim
from anp_tf.robustness import (
    LiteRtNetwork,
    adversarial_batches,
    digest,
    entered,
    measure_robustness,
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
    versions,
    write_server_config,
)

FORMAT_PACKAGES = {
    "litert": "ai_edge_litert",
    "onnx": "tf2onnx",
    "micro": "tflite_micro",
}  # of the extras of these names
REPRESENTATIVE_IMAGES = 200  # training images that give int8 its ranges
MICRO_EXAMPLES = 100  # test images that outputs on a microcontroller are compared on
BATCH_SIZE = 250
SERVING_SIGNATURE = "serving_default"


@dataclasses.dataclass(frozen=True)
class ReleaseForm:
    """The form in which a network is released.

    Args:
        format: Some of `"saved_model"`, `"keras"`, `"litert"`, `"onnx"`, `"micro"`.
        precision: Of LiteRT files: some of `"float32"`, `"float16"`, `"int8"`.
        name: The model's name on a server; None: `<data set>_<method>`.
        warmup_images: Integer, at least 0: test images of the SavedModel's warm-up requests. With
            0 no data are read, and the classes have numbers for names.
        litert_examples: Integer, at least 1: test images on which LiteRT files are measured.
        data_dir: Directory of TFDS data sets; None: that of the run.

    Raises:
        ValueError: if a value is not among these or there twice, or if a format needs a package
            that is missing.
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
            if len(set(given)) < len(given):
                raise ValueError(f"{name}: expected each once, received {','.join(given)}")
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
        directory: Folder of the versions; `README.md`, `results.json`, verdicts, labels and the
            server's configuration in it are of the newest, and those of earlier ones are replaced
            or removed.
        version: Integer, at least 1; that of the newest files, to add others of the same network.
            None: one above the highest version that is there.
        form: `ReleaseForm`; None: the default one.

    Returns:
        List of `pathlib.Path`s of what was written: the SavedModel `directory/<version>`, the file
        of Keras `<version>.keras`, LiteRT files `<version>.<precision>.tflite`, the ONNX file
        `<version>.onnx`, the folder `<version>.micro` for microcontrollers.

    Raises:
        WorkdirError, FileExistsError, ValueError, OSError: as `load_network`,
            `export_saved_model`, `export_litert`, `export_onnx` and `anp_tf.data.load`.
    """
    form = form or ReleaseForm()
    directory = pathlib.Path(directory)
    slimmed = slim(workdir.load_network())
    network = fold_batch_normalization(slimmed)
    settings = workdir.settings()
    settings = dataclasses.replace(settings, data_dir=form.data_dir or settings.data_dir)
    check_own(directory)
    version = checked_version(directory, version)
    targets = _targets(directory, version, form)
    network_digest = digest(workdir.network)
    check_same(directory, version, network_digest)
    earlier = lines_on_files(directory, version)
    is_newest = version >= max(versions(directory), default=0)
    results, verdicts = workdir.load_results(), verdicts_of(workdir, directory, version)
    described = {
        workdir.labels.name: workdir.class_names(),
        workdir.columns.name: workdir.column_ranges(),
    }
    stronger = verdict_lines(*verdicts.values())
    files = []
    with _all_or_none(itertools.chain.from_iterable(targets.values())):
        if "keras" in form.format:
            files.append(_keras(slimmed, *targets["keras"]))
        if "litert" in form.format:
            files += [
                _litert(settings, network, path, precision, form)
                for path, precision in zip(targets["litert"], form.precision, strict=True)
            ]
        if "onnx" in form.format:
            (path,) = targets["onnx"]
            export_onnx(network, path)
            files.append(ReleasedFile(path, path.stat().st_size))
        if "micro" in form.format:
            files.append(_micro(settings, network, *targets["micro"]))
        if "saved_model" in form.format:  # last, since a server loads it as soon as it is there
            files.insert(0, _saved_model(workdir, settings, network, directory, version, form))
    if is_newest:
        card = model_card(
            settings, results, files, stronger, *described.values(), network_digest, earlier
        )
        with atomic_file(directory / CARD) as temporary:  # first: `check_own` looks for it
            temporary.write_text(card)
        if "saved_model" in form.format:
            name = form.name or f"{data_name(settings)}_{settings.method}"
            write_server_config(directory, name)
        write_beside(directory, {RESULTS: results, **verdicts, **described})
    return [file.path for file in files]


def add_micro(directory, data_dir=None):
    """Exports what an earlier release serves for microcontrollers too, beside its newest version.

    The card of the release gets a line on it.

    Args:
        directory: Folder of a release: of versions and `README.md`, whose command says what data
            the network was trained on.
        data_dir: Directory of TFDS data sets; None: TFDS's default.

    Returns:
        List of the `pathlib.Path` of what was written, the folder `<version>.micro`.

    Raises:
        WorkdirError: if there is no such release, if its newest version is no SavedModel, or if its
            data are not there.
        FileExistsError, ImportError, ValueError, OSError: as `export_micro`, `anp_tf.data.load`.
    """
    directory = pathlib.Path(directory)
    settings, served = data_settings(directory, data_dir), latest_version(directory)
    if served is None or int(served.name) < max(versions(directory)):
        raise WorkdirError(
            f"{directory} has no SavedModel of its newest version, whose data {CARD} names"
        )
    saved = tf.saved_model.load(str(served)).signatures[SERVING_SIGNATURE]
    (pixels,) = saved.structured_input_signature[1].values()
    inputs = keras.Input(pixels.shape[1:])
    network = keras.layers.TFSMLayer(str(served), call_endpoint=SERVING_SIGNATURE)
    network = keras.Model(inputs, network(inputs)["logits"], name="served")
    try:
        file = _micro(settings, network, directory / f"{served.name}.micro")
    except data.DataError as error:
        raise WorkdirError(
            f"{error}; {directory / CARD} names the data, by a path from where the training was "
            "started if they are no TFDS set: export from there"
        ) from error
    add_file(directory, file)
    return [file.path]


def _targets(directory, version, form):
    """The paths that a release writes: a dict from a format to a list, none of which is there."""
    names = {
        "saved_model": [f"{version}"],
        "keras": [f"{version}.keras"],
        "litert": [f"{version}.{precision}.tflite" for precision in form.precision],
        "onnx": [f"{version}.onnx"],
        "micro": [f"{version}.micro"],
    }
    targets = {each: [directory / name for name in names[each]] for each in form.format}
    for path in itertools.chain.from_iterable(targets.values()):
        if path.exists():
            raise FileExistsError(f"{path} exists already and is not overwritten")
    return targets


@contextlib.contextmanager
def _all_or_none(paths):
    """Removes what is there of the paths, of which none was before, where an export fails."""
    try:
        yield
    except FileExistsError:  # another export has made them meanwhile
        raise
    except BaseException:
        for path in paths:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        raise


def _saved_model(workdir, settings, network, directory, version, form):
    names, images = workdir.class_names(), None
    if form.warmup_images:
        examples = test_examples(settings).take(form.warmup_images)
        names, images = names or examples.class_names, examples.pixels
    path = export_saved_model(network, directory, version, names, images, workdir.column_ranges())
    return ReleasedFile(path, saved_model_bytes(path))


def _keras(network, path):
    """A file for `anp_tf.load`: with its batch normalization, and gradients that attacks follow."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as temporary:
        network.save(temporary)
    return ReleasedFile(path, path.stat().st_size)


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
