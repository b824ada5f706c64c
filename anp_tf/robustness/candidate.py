"""What is judged: a network, from wherever it comes, and the images it is tested on."""

import dataclasses
import functools
import hashlib
import pathlib
from collections.abc import Callable

import tensorflow as tf

from anp_tf import data
from anp_tf.attacks.entrance import labels_of
from anp_tf.errors import WorkdirError
from anp_tf.layers import mask_layers
from anp_tf.pruning import slim
from anp_tf.robustness.interface import PROBE_IMAGES, Interface, ending, entered
from anp_tf.robustness.network_files import network_file
from anp_tf.run_config import is_gone
from anp_tf.run_data import check_test_data, moved_to
from anp_tf.serving import latest_version
from anp_tf.settings import READING, Settings
from anp_tf.workdir import Workdir, load_network


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A network with the images it is tested on.

    Attributes:
        path: Where it comes from.
        network: Keras model, or function `(pixels, training) -> logits`, as `entered` gives it;
            slimmed, if it had masks.
        masked: The Keras model with its masks, or None if it has none.
        digest: Text that identifies the network, the SHA-256 of its files.
        examples: `anp_tf.data.Examples`, the test images, or a `tf.data.Dataset` of batches of
            pixels in [0, 1] and labels, always in the same order.
        dataset: TFDS name of the data set, or another name.
        settings: `Settings` of the run, or None.
        data_options: Dict, how the data set is read: keyword arguments of `anp_tf.data.load`.
        interface: `Interface` by which the network was entered.
        ending: `"softmax"` or `"sigmoid"` if it is known to end so, or None.
    """

    path: pathlib.Path
    network: Callable
    masked: Callable | None
    digest: str
    examples: data.Examples | tf.data.Dataset
    dataset: str
    settings: Settings | None = None
    data_options: dict = dataclasses.field(default_factory=dict)
    interface: Interface = dataclasses.field(default_factory=Interface)
    ending: str | None = None

    def batches(self, batch_size):
        """`tf.data.Dataset` of (pixels [batch, ...], labels [batch])."""
        return batches_of(self.examples, batch_size)

    @functools.cached_property
    def count(self):
        """Integer, how many images there are; a data set of unknown length is read through."""
        if isinstance(self.examples, data.Examples):
            return len(self.examples)
        return int(self.examples.unbatch().reduce(0, lambda total, _: total + 1))

    def identity(self, **others):
        """What is judged, and the other candidates that have a part in it, by their digests."""
        digests = {name: other.digest for name, other in others.items() if other}
        interface = self.interface.record()
        shown = {"interface": interface} if interface else {}
        options = {name: self.data_options.get(name) for name in READING}
        options = {n: v for n, v in options.items() if v and v != getattr(Settings, n)}
        known = {"network": self.digest, "dataset": self.dataset}
        return {**known, **options, **digests, **shown}


def batches_of(examples, batch_size):
    """`anp_tf.data.Examples`, or a data set of batches of another size, in batches of this size."""
    if isinstance(examples, data.Examples):
        return data.batches(examples, batch_size)
    spec = getattr(examples, "element_spec", type(examples).__name__)
    pair = isinstance(spec, tuple) and len(spec) == 2
    if not pair or not all(isinstance(each, tf.TensorSpec) and each.shape.rank for each in spec):
        raise ValueError(
            "examples: expected a data set of batches of pixels and labels, two tensors of known "
            f"ranks, received one of {spec}"
        )

    @tf.autograph.experimental.do_not_convert  # or an error would have a trace
    def with_labels(x, y):
        return x, labels_of(y, x)

    return examples.unbatch().batch(batch_size).map(with_labels).prefetch(tf.data.AUTOTUNE)


def from_network(network, examples, *, digest, dataset="images", interface=None, path="network"):
    """A network that is at hand, and images from anywhere.

    Args:
        network: Keras model of any kind, or any function of pixels (and perhaps `training`).
        examples: `anp_tf.data.Examples`, or a `tf.data.Dataset` of batches of pixels in [0, 1] and
            integer labels, always in the same order; it need not fit into memory.
        digest: Text that identifies the network, so that another one does not go on with its files.
        dataset: Name of the data set.
        interface: `Interface`.
        path: What messages call the network.

    Raises:
        ValueError: as `entered`.
    """
    network, masked = _slimmed(network)
    probes = next(iter(batches_of(examples, PROBE_IMAGES)), None)
    if probes is None:
        raise ValueError("There are no examples to evaluate on.")
    end, interface = ending(network), interface or Interface()
    network = entered(network, probes[0], interface, f"the network {path}")
    _check_classes(network, *probes, examples, path)
    return Candidate(
        pathlib.Path(path),
        network,
        masked,
        digest,
        examples,
        dataset,
        interface=interface,
        ending=end,
    )


def from_workdir(path, limit=None, data_dir=None, interface=None, dataset=None):
    """The network of a finished run and the test set of its data.

    Args:
        path: The folder of the run.
        limit: Integer, only so many test images; None: as many as in the run.
        data_dir: TFDS data directory; None: that of the run.
        interface: `Interface`.
        dataset: Where the data of the run are now; None: where they were.

    Raises:
        WorkdirError, DataError: if the run is not finished, or the data are others or cannot be
            read.
    """
    workdir = Workdir(path)
    settings = workdir.settings()
    changes = {"limit_test_examples": limit} if limit else {}
    if data_dir:
        changes["data_dir"] = data_dir
    settings = dataclasses.replace(settings, **changes)
    if dataset:
        settings = moved_to(workdir, settings, dataset)
    network, of_file = _read(workdir.network, workdir.load_network)
    candidate = from_network(
        network,
        test_examples_of(workdir, settings),
        digest=of_file,
        dataset=settings.dataset,
        interface=interface,
        path=workdir.path,
    )
    return dataclasses.replace(candidate, settings=settings, data_options=settings.data_options)


def from_model(path, dataset, limit=None, data_dir=None, interface=None, data_options=None):
    """A network that need not have been trained here, and the test part of a data set.

    Args:
        path: A `.keras`, `.tflite` or `.onnx` file, the folder of a SavedModel, or a folder of
            versions of it.
        dataset: The data set, as `anp_tf.data.load` takes it.
        limit: Integer, only the first so many test images.
        data_dir: TFDS data directory.
        interface: `Interface`.
        data_options: Dict, further keyword arguments of `anp_tf.data.load`.

    Raises:
        WorkdirError, ValueError, DataError: if there is no such network, if it does not take these
            images, or if the data cannot be read.
    """
    path, asked = pathlib.Path(path), interface or Interface()
    inner = asked
    if path.suffix == ".keras":
        network, of_file = _read(path, lambda: load_network(path))
    else:
        if path.is_dir() and not (path / "saved_model.pb").is_file():
            path = latest_version(path) or path
        network, of_file = _read(path, lambda: network_file(path, asked.output_name))
        inner = dataclasses.replace(asked, output_name=None)
    options = data_options or {}
    examples = data.load(dataset, "test", data_dir, **options)
    if limit:
        examples = examples.take(limit)
    candidate = from_network(
        network, examples, digest=of_file, dataset=dataset, interface=inner, path=path
    )
    return dataclasses.replace(candidate, interface=asked, data_options=options)


def _read(path, load):
    """What `load` makes of a file or folder, and its digest.

    Raises:
        ValueError: if it is changed meanwhile.
    """
    before = digest(path) if path.exists() else None
    network = load()
    if digest(path) != before:
        raise ValueError(f"{path} was changed while it was read: try again")
    return network, before


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
    return _limited(settings, _test_part(settings))


def test_examples_of(workdir, settings):
    """The test set of a run.

    Args:
        workdir: `Workdir` of the run.
        settings: `Settings` of the run; how much of the set is used may be another share.

    Raises:
        WorkdirError: if it is not of the data that the run was trained on, or not where it was.
        DataError: if it cannot be read.
    """
    if is_gone(settings.dataset):
        raise WorkdirError(
            f"the data of workdir {workdir.path} are not at {settings.dataset} any more: expected "
            "--dataset, their new place"
        )
    examples = _test_part(settings)
    check_test_data(workdir, examples, data.is_divided(settings.dataset))
    return _limited(settings, examples)


def _test_part(settings):
    return data.load(settings.dataset, "test", settings.data_dir, **settings.data_options)


def _limited(settings, examples):
    limit = settings.limit_test_examples
    return examples.take(limit) if limit else examples


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
    has_masks = hasattr(network, "layers") and mask_layers(network)
    return (slim(network), network) if has_masks else (network, None)


def _check_classes(network, x, y, examples, path):
    classes = network(x[:1], training=False).shape[-1]
    expected = getattr(examples, "num_classes", classes)
    if classes != expected:
        raise ValueError(
            f"the network {path} must know the classes of the data set: it returns logits of "
            f"{classes} classes, the data set has {expected}"
        )
    if not tf.reduce_all((y >= 0) & (y < classes)):
        raise ValueError(
            f"the labels must be classes of the network {path}, from 0 to {classes - 1}: they are "
            f"from {tf.reduce_min(y)} to {tf.reduce_max(y)}"
        )
