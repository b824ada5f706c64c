"""Networks as SavedModels, in the form that TensorFlow Serving loads."""

import pathlib

import keras
import tensorflow as tf

from anp_tf.files import atomic_directory


def export_saved_model(network, directory, version=None):
    """Writes a network to `directory/<version>/`, whole or not at all.

    The signature `serving_default` takes `pixels`, float32 [batch, *image shape] in [0, 1], and
    returns `logits` and `probabilities`, float32 [batch, classes]. It computes the network in
    inference mode. The SavedModel loads without anp_tf and without Keras.

    Args:
        network: Built `keras.Model` from pixels to logits; it is exported as it is, so slim it
            before.
        directory: Folder of the versions, TensorFlow Serving's `base_path`; made if needed.
        version: Integer, at least 1. None: one above the highest version that is there.

    Returns:
        `pathlib.Path` of the folder that was written.

    Raises:
        FileExistsError: if the version exists.
        ValueError: if `version` is not an integer of at least 1, or if the network has not exactly
            one input and one output.
    """
    if len(network.inputs) != 1 or len(network.outputs) != 1:
        raise ValueError(
            "Argument `network` must have one input, the pixels, and one output, the logits. "
            f"Received: {len(network.inputs)} inputs and {len(network.outputs)} outputs"
        )
    directory = pathlib.Path(directory)
    if version is None:
        version = 1 + max(_versions(directory), default=0)
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise ValueError(
            "Argument `version` must be an integer of at least 1, since TensorFlow Serving reads "
            f"versions from the folders' names. Received: version={version!r}"
        )
    path = directory / str(version)
    shape = (None, *network.inputs[0].shape[1:])

    def serve(pixels):
        logits = tf.cast(network(pixels, training=False), tf.float32)
        return {"logits": logits, "probabilities": tf.nn.softmax(logits)}

    with atomic_directory(path) as temporary:
        archive = keras.export.ExportArchive()  # `track` would store the weights a second time
        archive.add_endpoint(
            "serving_default", serve, [tf.TensorSpec(shape, tf.float32, name="pixels")]
        )
        archive.write_out(str(temporary), verbose=False)
    return path


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


def latest_version(directory):
    """The folder of the highest version in a directory, or None if there is none."""
    directory = pathlib.Path(directory)
    versions = _versions(directory)
    return directory / str(max(versions)) if versions else None


def _versions(directory):
    """The versions in a folder, which need not exist."""
    paths = directory.iterdir() if directory.is_dir() else ()
    return [int(path.name) for path in paths if path.name.isdecimal()]
