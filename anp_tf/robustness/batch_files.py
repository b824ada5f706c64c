"""The files of an evaluation under attack: a folder with a file for each batch."""

import json
import pathlib

import numpy as np

from anp_tf.bounds.certificate import images_sha256
from anp_tf.files import atomic_file, errors_with_path, read_json, write_json

ARRAYS = ("label", "fooled_by", "image", "seconds", "left_out")  # and `data`, see `write_batch`
IMAGES = ("index", "label", "attack", "image")
NOT_COMPARED = "dataset"  # its name or path; the images are known by their digests
CLEAN = "clean"  # stands for an attack where the image itself is misclassified


class EvaluationError(ValueError):
    """A folder holds another evaluation, or a damaged one."""


def saved_images(folder, count=None):
    """The adversarial images of an evaluation by `worst_case`.

    Args:
        folder: Its folder.
        count: Integer, only those of the first so many test images; None: all.

    Returns:
        Dict of arrays, an entry for each image that fooled the network: `index` among the test
        images, `label`, `attack` (its name; `clean` where the image itself is misclassified), and
        `image`, float32.

    Raises:
        EvaluationError: if there are none, or a file is damaged.
    """
    parts = []
    for path, first in _batches(pathlib.Path(folder)):
        if count is not None and first >= count:
            continue
        batch = read_batch(path)
        fooled = batch["fooled_by"] != ""
        parts.append(
            {
                "index": first + np.flatnonzero(fooled),
                "label": batch["label"][fooled],
                "attack": batch["fooled_by"][fooled],
                "image": batch["image"],
            }
        )
    if not parts:
        raise EvaluationError(f"{folder} holds no evaluation under attack")
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    # Batches of evaluations of fewer and of more images may have some of them in common.
    index, chosen = np.unique(whole["index"], return_index=True)
    chosen = chosen[index < (np.inf if count is None else count)]
    return {name: values[chosen] for name, values in whole.items()}


def fooled_images(folder, count):
    """The positions of those of the first `count` images that fooled the network, integers [n]."""
    found = []
    for path, first in _batches(pathlib.Path(folder)):
        if first < count:
            found.append(first + np.flatnonzero(read_batch(path, ["fooled_by"])["fooled_by"] != ""))
    whole = np.unique(np.concatenate(found))
    return whole[whole < count]


def open_folder(folder, identity):
    """Makes the folder of an evaluation, or checks that it is the one of this identity.

    Raises:
        EvaluationError: if it is of another, or damaged.
    """
    path = folder / "evaluation.json"
    identity = json.loads(json.dumps(identity))
    found = read_json(path, EvaluationError)
    if found is not None:
        names = {*found, *identity} - {NOT_COMPARED}
        names = sorted(name for name in names if found.get(name) != identity.get(name))
        if names:
            raise EvaluationError(
                f"{folder} holds the evaluation of another {', '.join(names)}; remove it first"
            )
        return
    with errors_with_path(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_json(path, identity)


def batch_path(folder, first, count):
    """The file of the batch of `count` images from the image `first` on."""
    return folder / f"{first:06d}-{first + count - 1:06d}.npz"


def remove_superseded(folder, paths, count):
    """Removes other batches than those at `paths` that are of the first `count` images alone."""
    for path, _ in _batches(folder):
        if path not in paths and int(path.stem.split("-")[1]) < count:
            path.unlink()


def _batches(folder):
    """The files of batches in the folder, in order, each with the position of its first image."""
    paths = sorted(folder.glob("[0-9]*-[0-9]*.npz"))
    return [(path, int(path.stem.split("-")[0])) for path in paths]


def write_batch(path, batch, x, y):
    """Writes the record of a batch, a dict of arrays, and by what its images and labels are known.

    It is written whole or not at all.
    """
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **batch, data=images_sha256(x, y))


def check_batch(path, x, y):
    """An `EvaluationError` if the batch in a file was of other images or labels, or is damaged."""
    if read_batch(path, ["data"])["data"] != images_sha256(x, y):
        raise EvaluationError(
            f"{path}: the images or labels differ from those that were attacked. Expected the same "
            "data in the same order at each pass (are they shuffled?); remove its folder to begin "
            "anew"
        )


def holds_images(path):
    """Whether a file has the arrays that `saved_images` returns."""
    try:
        with np.load(path) as arrays:
            return set(arrays) == set(IMAGES)
    except Exception:  # NumPy and zipfile raise errors of many types.
        return False


def read_batch(path, names=ARRAYS):
    """The record of a batch, or some arrays of it.

    Raises:
        EvaluationError: if the file is damaged.
    """
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            return {name: arrays[name] for name in names}
    except Exception as error:  # NumPy and zipfile raise errors of many types.
        raise EvaluationError(f"{path} is damaged; remove it: {error}") from error
