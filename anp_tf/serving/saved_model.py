"""Networks as SavedModels, in the form that TensorFlow Serving loads."""

import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence

import keras
import numpy.typing as npt
import tensorflow as tf

from anp_tf.files import atomic_directory, check_plain
from anp_tf.serving import signatures
from anp_tf.serving.versions import checked_version
from anp_tf.serving.warmup import write_warmup

CLASSIFY_METHOD = tf.saved_model.CLASSIFY_METHOD_NAME


def export_saved_model(
    network: keras.Model,
    directory: str | os.PathLike[str],
    version: int | None = None,
    class_names: Sequence[str] | None = None,
    warmup_images: npt.ArrayLike | None = None,
    columns: Sequence[Mapping[str, str | float]] | None = None,
) -> pathlib.Path:
    """Writes a network to `directory/<version>/`, whole or not at all.

    Signatures, all in inference mode:

    - `serving_default`: `pixels`, float32 [batch, *image shape] in [0, 1], to `logits` and
      `probabilities`, float32 [batch, classes].
    - `classify`, of TensorFlow Serving's Classify: `inputs`, serialized `tf.train.Example`s
      [batch] whose feature `pixels` holds the image, to `classes`, string, and `scores`, float32,
      both [batch, classes].
    - `bytes`, where the network takes images of 1, 3 or 4 channels: `image_bytes`, string [batch],
      PNG or JPEG files of the image's size, to what `serving_default` returns. Photographs must be
      upright: they are not turned by their EXIF orientation.
    - `rows`, where the columns of a table are given: `values`, float32 [batch, columns] as they
      stand in the table, to what `serving_default` returns.

    A request whose pixels are NaN or not in [0, 1] is answered by an error. The SavedModel loads
    without anp_tf and without Keras.

    Args:
        network: Built `keras.Model` from pixels to logits; it is exported as it is, so slim it
            before.
        directory: Folder of the versions, TensorFlow Serving's `base_path`; made if needed.
        version: Integer, at least 1. None: one above the highest version that is there.
        class_names: Sequence of a name for each logit. None: "0", "1", and so on.
        warmup_images: Optional float array [images, *image shape] in [0, 1], at least one image; a
            server asks each signature for the first of them, and for all, before it answers others.
        columns: Optional list of dicts of a column's `name`, `low` and `high`, the range that was
            scaled to [0, 1], in order.

    Returns:
        `pathlib.Path` of the folder that was written.

    Raises:
        FileExistsError: if the version exists.
        ValueError: if `version` is not an integer of at least 1, if the network is not one from
            images of a known size to logits, if `class_names` are not as many, or if
            `warmup_images` or `columns` are not as described.
    """
    signatures.check_network(network)
    check_plain("directory", directory)
    if warmup_images is not None:
        warmup_images = signatures.checked_images("warmup_images", warmup_images, network)
    directory = pathlib.Path(directory)
    path = directory / str(checked_version(directory, version))
    functions = {
        signatures.PREDICT: signatures.predict(network),
        signatures.CLASSIFY: signatures.classify(network, checked_names(network, class_names)),
    }
    if signatures.takes_images(network):
        functions[signatures.BYTES] = signatures.from_bytes(network)
    warmed = dict(functions)
    if columns is not None:
        functions[signatures.ROWS] = signatures.from_rows(network, columns)
    with atomic_directory(path) as temporary:
        write(functions, temporary)
        _name_method(temporary)
        if warmup_images is not None:
            write_warmup(temporary, warmup_images, warmed)
    return path


def write(functions, directory):
    """Writes a SavedModel of functions, a dict from the signature to (function, specs)."""
    archive = keras.export.ExportArchive()  # `track` would store the weights a second time
    for name, (function, specs) in functions.items():
        archive.add_endpoint(name, function, specs)
    archive.write_out(str(directory), verbose=False)


def _name_method(directory):
    """Says which signature is for Classify: a function's is for Predict."""
    updater = tf.compat.v1.saved_model.signature_def_utils.MethodNameUpdater(str(directory))
    updater.replace_method_name(signatures.CLASSIFY, CLASSIFY_METHOD)
    updater.save()


def checked_names(network, class_names):
    """The names of the classes, as many as the network has."""
    classes = network.outputs[0].shape[-1]
    names = range(classes) if class_names is None else class_names
    several = isinstance(names, Iterable) and not isinstance(names, str)
    names = [str(name) for name in names] if several else []
    if len(names) != classes:
        raise ValueError(
            f"Argument `class_names` must have a name for each of the {classes} classes. Received: "
            f"class_names={class_names!r}"
        )
    return names


def saved_model_bytes(path):
    """The size of a SavedModel on disk: the bytes of all files in its folder.

    Args:
        path: The folder, `directory/<version>`.

    Raises:
        FileNotFoundError: if there is no SavedModel.
    """
    path = pathlib.Path(path)
    if not (path / "saved_model.pb").is_file():
        raise FileNotFoundError(f"{path} is not a SavedModel: it has no saved_model.pb")
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
