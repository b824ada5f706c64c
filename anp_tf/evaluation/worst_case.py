"""The worst case over several attacks: an image is robust if none of them fools the network."""

import pathlib
import time

import numpy as np
import tensorflow as tf

from anp_tf.attacks import Linf
from anp_tf.evaluation.attack_files import (
    EvaluationError,
    batch_path,
    open_folder,
    read_batch,
    write_batch,
)

TOLERANCE = 1e-5  # of a distance in the ball, in shares of epsilon: the rounding of float32
CLEAN = "clean"  # stands for an attack where the image itself is misclassified


def worst_case(
    network,
    batches,
    attacks,
    folder,
    *,
    epsilon,
    norm="Linf",
    seed=0,
    identity=None,
    progress=None,
):
    """Attacks every image with one attack after the other until one fools the network.

    Each batch is written to the folder when it is done: the adversarial images, and which attack
    found each. Started again, the evaluation goes on after the batches that are there. At the end
    all images are read back and checked, and only those count that are in the ball and in [0, 1]
    and misclassified.

    Every image has random numbers of its own, from `seed` and its position, so that the result does
    not depend on the batches.

    Args:
        network: Keras model, or any function `(pixels, training) -> logits`.
        batches: `tf.data.Dataset` of (pixels [batch, ...] in [0, 1], labels [batch]), always in
            the same order.
        attacks: Dict from a name to an attack, in the order in which they are tried.
        folder: Where the batches are written; made if needed.
        epsilon: Float, radius of the ball in which the images must be.
        norm: `"Linf"` or `"L2"`.
        seed: Integer, at least 0.
        identity: JSON object that identifies network, data and attacks; a folder of another
            identity is refused.
        progress: Optional function, called with the number of images done so far, in which one
            that only some of the attacks were made on counts in part.

    Returns:
        Dict: `test_examples`, `clean_accuracy` and `robust_accuracy` in percent; `attacks`, for
        each its `name`, how many images it `fooled` of those that the attacks before it left, the
        `robust_accuracy` after it, and its `seconds`; `recheck`, what the images that were read
        back show.

    Raises:
        EvaluationError: if the folder holds another evaluation, or a damaged one.
        ValueError: if there are no examples.
        tf.errors.InvalidArgumentError: if a pixel is not in [0, 1] or a gradient not finite.
    """
    folder = pathlib.Path(folder)
    asked = {"attacks": list(attacks), "epsilon": epsilon, "norm": norm, "seed": seed}
    open_folder(folder, asked | (identity or {}))
    steps = {name: _compiled(network, attack) for name, attack in attacks.items()}
    records, first = [], 0
    for x, y in batches:
        path = batch_path(folder, first, len(x))
        if not path.exists():
            write_batch(path, _attack_batch(network, steps, x, y, seed, first, progress))
        records.append((path, x, y))
        first += len(x)
        if progress:
            progress(first)
    if not first:
        raise ValueError("There are no examples to evaluate on.")
    return _summary(network, records, list(attacks), epsilon, norm)


def _compiled(network, attack):
    """The attack on a batch of any size, and which of its images fool the network."""

    @tf.function(reduce_retracing=True)
    def run(x, y, seeds):
        images = attack(network, x, y, seed=seeds)
        return images, _wrong(network, images, y)

    return run


def _wrong(network, x, y):
    return tf.argmax(network(x, training=False), -1, tf.int64) != tf.cast(y, tf.int64)


def _attack_batch(network, steps, x, y, seed, first, progress):
    """The record of one batch, a dict of arrays."""
    count = len(x)
    seeds = tf.stack([tf.fill([count], seed), tf.range(first, first + count)], -1)
    found = x.numpy()
    fooled_by = np.where(_wrong(network, x, y).numpy(), CLEAN, "").astype("<U20")
    seconds = []
    for name, step in steps.items():
        left = np.flatnonzero(fooled_by == "")
        start = time.perf_counter()
        if len(left):
            images, wrong = step(*(tf.gather(part, left) for part in (x, y, seeds)))
            wrong = wrong.numpy()
            found[left[wrong]] = images.numpy()[wrong]
            fooled_by[left[wrong]] = name
        seconds.append(time.perf_counter() - start)
        if progress:
            progress(first + count * len(seconds) / len(steps))
    return {
        "label": y.numpy(),
        "fooled_by": fooled_by,
        "image": found[fooled_by != ""],
        "seconds": np.array(seconds),
    }


def _summary(network, records, names, epsilon, norm):
    """The result, from the files of the batches."""
    wrong = tf.function(lambda x, y: _wrong(network, x, y), reduce_retracing=True)
    fooled, seconds = dict.fromkeys([CLEAN, *names], 0), np.zeros(len(names))
    check = {"images": 0, "outside_ball": 0, "outside_pixels": 0, "classified_correctly": 0}
    total, largest = 0, 0.0
    for path, x, y in records:
        batch = read_batch(path)
        if not np.array_equal(batch["label"], y):
            raise EvaluationError(f"{path} is of other data; remove its folder")
        which = batch["fooled_by"] != ""
        images, originals = batch["image"], x.numpy()[which]
        away = distances(images, originals, norm)
        outside = away > epsilon * (1 + TOLERANCE)
        no_pixels = ~np.all((images >= 0) & (images <= 1), axis=tuple(range(1, images.ndim)))
        missed = np.zeros(len(images), bool)
        if len(images):
            missed = ~wrong(tf.constant(images), tf.boolean_mask(y, which)).numpy()
            largest = max(largest, float(away.max()))
        counted = ~(outside | no_pixels | missed)
        for name in fooled:
            fooled[name] += int(np.sum(batch["fooled_by"][which][counted] == name))
        check["images"] += len(images)
        check["outside_ball"] += int(outside.sum())
        check["outside_pixels"] += int(no_pixels.sum())
        check["classified_correctly"] += int(missed.sum())
        total += len(y)
        seconds += batch["seconds"]
    robust, rows = total - fooled[CLEAN], []
    for name, spent in zip(names, seconds, strict=True):
        robust -= fooled[name]
        accuracy = 100 * robust / total
        rows.append(
            {
                "name": name,
                "fooled": fooled[name],
                "robust_accuracy": accuracy,
                "seconds": round(float(spent), 1),
            }
        )
    return {
        "test_examples": total,
        "clean_accuracy": 100 * (total - fooled[CLEAN]) / total,
        "robust_accuracy": 100 * robust / total,
        "attacks": rows,
        "recheck": {**check, "largest_distance": largest},
    }


def distances(images, originals, norm):
    """The distance of each image from its original, float64 [n], in the norm of that name."""
    moved = images.astype(np.float64) - originals
    axes = tuple(range(1, moved.ndim))
    if norm == Linf.__name__:
        return np.abs(moved).max(axes)
    return np.sqrt(np.square(moved).sum(axes))
