"""What is evaluated: a network from a run, a `.keras` file or a SavedModel, and test images."""

import dataclasses
import hashlib
import pathlib
from collections.abc import Callable

import tensorflow as tf

from anp_tf import data
from anp_tf.layers import mask_layers
from anp_tf.pruning import slim
from anp_tf.serving import latest_version
from anp_tf.settings import Settings
from anp_tf.workdir import Workdir, WorkdirError, load_network


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A network with the images it is tested on.

    Attributes:
        path: Where it comes from.
        network: Keras model, or function `(pixels, training) -> logits`; slimmed, if it had masks.
        masked: The Keras model with its masks, or None if it has none.
        digest: SHA-256 of its files.
        examples: `anp_tf.data.Examples`, the test images.
        dataset: TFDS name of the data set.
        settings: `Settings` of the run, or None.
    """

    path: pathlib.Path
    network: Callable
    masked: Callable | None
    digest: str
    examples: data.Examples
    dataset: str
    settings: Settings | None = None


def from_workdir(path, limit=None, data_dir=None):
    """The network of a finished run and the test set of its data.

    Args:
        path: The folder of the run.
        limit: Integer, only so many test images; None: as many as in the run.
        data_dir: TFDS data directory; None: that of the run.

    Raises:
        WorkdirError, DataError: if the run is not finished, or the data cannot be read.
    """
    workdir = Workdir(path)
    settings = workdir.settings()
    changes = {"limit_test_examples": limit} if limit else {}
    if data_dir:
        changes["data_dir"] = data_dir
    settings = dataclasses.replace(settings, **changes)
    network, masked = _slimmed(workdir.load_network())
    examples = test_examples(settings)
    _check_shapes(path, network, examples)
    return Candidate(
        workdir.path,
        network,
        masked,
        digest(workdir.network),
        examples,
        settings.dataset,
        settings,
    )


def from_model(path, dataset, limit=None, data_dir=None):
    """A network that need not have been trained here, and a TFDS test set.

    Args:
        path: A `.keras` file, the folder of a SavedModel, or a folder of versions of it.
        dataset: TFDS name of an image classification data set.
        limit: Integer, only the first so many test images.
        data_dir: TFDS data directory.

    Raises:
        WorkdirError, ValueError, DataError: if there is no such network, if it does not take these
            images, or if the data cannot be read.
    """
    path = pathlib.Path(path)
    if path.suffix == ".keras":
        network, masked = _slimmed(load_network(path))
    else:
        path = path if (path / "saved_model.pb").is_file() else latest_version(path) or path
        network, masked = SavedModelNetwork(path), None
    examples = data.load(dataset, "test", data_dir)
    if limit:
        examples = examples.take(limit)
    _check_shapes(path, network, examples)
    return Candidate(path, network, masked, digest(path), examples, dataset)


class SavedModelNetwork:
    """The `serving_default` signature of a SavedModel as a network.

    Args:
        path: The folder of the SavedModel. Its signature takes one tensor, the pixels, and returns
            one, or several of which one is called `logits`.

    Call arguments:
        pixels: Float32 tensor [batch, ...] in [0, 1].
        training: Not used.

    Raises:
        WorkdirError: if it cannot be loaded, or has no such signature.
    """

    def __init__(self, path):
        if not (pathlib.Path(path) / "saved_model.pb").is_file():
            raise WorkdirError(f"{path} is neither a .keras file nor a SavedModel")
        try:
            self._model = tf.saved_model.load(str(path))
        except (OSError, ValueError, tf.errors.OpError) as error:
            reason = str(error).strip().splitlines()[0]
            raise WorkdirError(f"cannot load a SavedModel from {path}: {reason}") from error
        self._signature = self._model.signatures.get("serving_default")
        if self._signature is None:
            raise WorkdirError(f"the SavedModel {path} has no signature serving_default")
        inputs = self._signature.structured_input_signature[1]
        outputs = self._signature.structured_outputs
        if len(inputs) != 1 or (len(outputs) != 1 and "logits" not in outputs):
            raise WorkdirError(
                f"the signature serving_default of {path} must take one tensor and return logits; "
                f"it takes {', '.join(sorted(inputs))} and returns {', '.join(sorted(outputs))}"
            )
        (self._input,) = inputs
        self._output = "logits" if "logits" in outputs else next(iter(outputs))
        self._dtype = inputs[self._input].dtype
        self.inputs, self.outputs = [inputs[self._input]], [outputs[self._output]]

    def __call__(self, pixels, training=False):
        return self._signature(**{self._input: tf.cast(pixels, self._dtype)})[self._output]


def digest(path):
    """SHA-256 of a file, or of all files of a folder with their names, as hexadecimal digits."""
    path = pathlib.Path(path)
    total = hashlib.sha256()
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    for file in files:
        if file.is_file():
            total.update(str(file.relative_to(path)).encode() if path.is_dir() else b"")
            total.update(file.read_bytes())
    return total.hexdigest()


def test_examples(settings):
    """The test set of the settings, `anp_tf.data.Examples`."""
    examples = data.load(settings.dataset, "test", settings.data_dir)
    if settings.limit_test_examples:
        examples = examples.take(settings.limit_test_examples)
    return examples


def check_fits(name, network, examples):
    """A ValueError that names the network unless it takes the images and knows their classes."""
    shapes = network.input_shape[1:], network.output_shape[1:]
    expected = examples.image_shape, (examples.num_classes,)
    if shapes != expected:
        raise ValueError(
            f"{name} must take the images and know the classes of the data set: it has inputs and "
            f"outputs {shapes}, the data set {expected}"
        )


def _slimmed(network):
    return (slim(network), network) if mask_layers(network) else (network, None)


def _check_shapes(path, network, examples):
    """Checks that a network takes the images as floats and returns a logit for each class."""
    ends = [getattr(network, name, None) or [] for name in ("inputs", "outputs")]
    if [len(tensors) for tensors in ends] != [1, 1]:
        raise ValueError(
            f"the network {path} must have one input and one output, as functional and Sequential "
            "models do"
        )
    (pixels,), (logits,) = ends
    if not tf.as_dtype(pixels.dtype).is_floating:
        raise ValueError(
            f"the network {path} must take pixels in [0, 1] as floats, it takes {pixels.dtype}"
        )
    expected = (*examples.image_shape,), (examples.num_classes,)
    shapes = [tuple(t.shape)[1:] if t.shape.rank else None for t in map(_spec, (pixels, logits))]
    fits = shapes[0] is not None and len(shapes[0]) == 3 and shapes[1] == expected[1]
    if not fits or any(a not in (None, b) for a, b in zip(shapes[0], expected[0], strict=True)):
        raise ValueError(
            f"the network {path} must take the images and know the classes of the data set: it has "
            f"inputs {shapes[0]} and outputs {shapes[1]}, the data set {expected[0]} and "
            f"{expected[1]}"
        )


def _spec(tensor):
    return tf.TensorSpec(tensor.shape, tensor.dtype)
