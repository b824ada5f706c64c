"""The worst case over several attacks: an image is robust if none of them fools the network."""

import pathlib
import time

import numpy as np
import tensorflow as tf

from anp_tf import __version__
from anp_tf.attacks import Linf
from anp_tf.losses import margin
from anp_tf.robustness.batch_files import (
    CLEAN,
    EvaluationError,
    batch_path,
    open_folder,
    read_batch,
    remove_superseded,
    write_batch,
)

ROUNDING = 1e-5, 1e-7  # of a distance in float32: in shares of epsilon, and besides
SURE = 1e-5  # in shares of the largest logit: by so much another class must be ahead


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
    deterministic=True,
    progress=None,
):
    """Attacks every image with one attack after the other until one fools the network.

    An image fools the network where another class is ahead by more than rounding, and where it is
    in the ball and in [0, 1]; else the next attack is made on it. Each batch is written to the
    folder when it is done: the adversarial images, and which attack found each. Started again, the
    evaluation goes on after the batches that are there. At the end all images are read back, and
    only those count that are in the ball, in [0, 1] and misclassified.

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
        identity: JSON object that identifies network and data; a folder of another identity, or of
            other attacks, is refused.
        deterministic: Boolean. Of a network whose answers differ from call to call, an image that
            has fooled it once counts, whatever it answers when the image is read back: the accuracy
            is rather too low than too high.
        progress: Optional function, called with the number of images done so far, in which one
            that only some of the attacks were made on counts in part.

    Returns:
        Dict: `test_examples`, `clean_accuracy` and `robust_accuracy` in percent; `attacks`, for
        each its `name`, how many images it `fooled` of those that the attacks before it left, the
        `robust_accuracy` after it, its `seconds`, and `made_by`, its options; `recheck`: how many
        `images` fooled the network, how many more would have if they were not `outside_ball` or
        `outside_pixels`, which do not count, how many were `classified_correctly` when they were
        read back, and the `largest_distance`.

    Raises:
        EvaluationError: if the folder holds another evaluation, or a damaged one.
        ValueError: if there are no examples, or an attack is called `clean` or has no name.
        tf.errors.InvalidArgumentError: if a pixel is not in [0, 1] or a gradient not finite.
    """
    if {"", CLEAN} & set(attacks):
        raise ValueError(f"Expected attacks with names other than {CLEAN!r}. Received: {attacks}")
    folder = pathlib.Path(folder)
    made_by = {name: described(attack) for name, attack in attacks.items()}
    threat = {"epsilon": epsilon, "norm": norm, "seed": seed, "anp_tf": __version__}
    open_folder(folder, threat | {"attacks": made_by} | (identity or {}))
    steps = {name: _compiled(network, attack) for name, attack in attacks.items()}
    records, first = [], 0
    for x, y in batches:
        path = batch_path(folder, first, len(x))
        if not path.exists():
            batch = _attack_batch(network, steps, x, y, first, (epsilon, norm, seed), progress)
            write_batch(path, batch)
        records.append((path, x, y))
        first += len(x)
        if progress:
            progress(first)
    if not first:
        raise ValueError("There are no examples to evaluate on.")
    remove_superseded(folder, [path for path, _, _ in records], first)
    return _summary(network, records, made_by, epsilon, norm, deterministic)


def described(attack):
    """The options of an attack, a JSON object."""
    options = {"kind": type(attack).__name__}
    for name, value in vars(attack).items():
        if isinstance(value, bool | int | float | str):
            options[name] = value
        elif name == "loss":
            options[name] = getattr(value, "__name__", type(value).__name__)
        elif name == "attack":  # of one that holds another
            options[name] = described(value)
    return options


def distances(images, originals, norm):
    """The distance of each image from its original, float64 [n], in the norm of that name."""
    moved = images.astype(np.float64) - originals
    axes = tuple(range(1, moved.ndim))
    if norm == Linf.__name__:
        return np.abs(moved).max(axes)
    return np.sqrt(np.square(moved).sum(axes))


def _compiled(network, attack):
    """The attack on a batch of any size, and which of its images fool the network for sure."""

    @tf.function(reduce_retracing=True)
    def run(x, y, seeds):
        images = attack(network, x, y, seed=seeds)
        return images, _surely_wrong(network, images, y)

    return run


def _surely_wrong(network, x, y):
    """Which images are misclassified by more than what rounding may change."""
    logits = network(x, training=False)
    largest = tf.reduce_max(tf.abs(logits), -1)
    ahead = margin(logits, y)
    return ahead > SURE * tf.cast(tf.maximum(1.0, largest), ahead.dtype)


def _wrong(network, x, y):
    return tf.argmax(network(x, training=False), -1, tf.int64) != tf.cast(y, tf.int64)


def _outside(images, originals, epsilon, norm):
    """Which images are out of the ball, which are no pixels, and the distances."""
    away = distances(images, originals, norm)
    relative, absolute = ROUNDING
    pixels = np.all((images >= 0) & (images <= 1), axis=tuple(range(1, images.ndim)))
    return away > epsilon * (1 + relative) + absolute, ~pixels, away


def _attack_batch(network, steps, x, y, first, threat, progress):
    """The record of one batch, a dict of arrays."""
    (epsilon, norm, seed), count = threat, len(x)
    seeds = tf.stack([tf.fill([count], seed), tf.range(first, first + count)], -1)
    originals = x.numpy()
    found = originals.copy()
    fooled_by = np.where(_surely_wrong(network, x, y), CLEAN, "").astype(object)
    seconds, left_out = [], np.zeros([len(steps), 2], int)
    for index, (name, step) in enumerate(steps.items()):
        left = np.flatnonzero(fooled_by == "")
        start = time.perf_counter()
        if len(left):
            images, fooled = step(*(tf.gather(part, left) for part in (x, y, seeds)))
            images, fooled = images.numpy(), fooled.numpy()
            too_far, no_pixels, _ = _outside(images, originals[left], epsilon, norm)
            left_out[index] = np.sum(fooled & too_far), np.sum(fooled & no_pixels)
            counted = fooled & ~too_far & ~no_pixels
            found[left[counted]] = images[counted]
            fooled_by[left[counted]] = name
        seconds.append(time.perf_counter() - start)
        if progress:
            progress(first + count * len(seconds) / len(steps))
    return {
        "label": y.numpy(),
        "fooled_by": fooled_by.astype(str),
        "image": found[fooled_by != ""],
        "seconds": np.array(seconds),
        "left_out": left_out,
    }


def _summary(network, records, made_by, epsilon, norm, deterministic):
    """The result, from the files of the batches."""
    wrong = tf.function(lambda x, y: _wrong(network, x, y), reduce_retracing=True)
    fooled, seconds = dict.fromkeys([CLEAN, *made_by], 0), np.zeros(len(made_by))
    check = {"images": 0, "outside_ball": 0, "outside_pixels": 0, "classified_correctly": 0}
    total, largest = 0, 0.0
    for path, x, y in records:
        batch = read_batch(path)
        if not np.array_equal(batch["label"], y) or not set(batch["fooled_by"]) <= {"", *fooled}:
            raise EvaluationError(f"{path} is of other data; remove its folder")
        which = batch["fooled_by"] != ""
        images = batch["image"]
        too_far, no_pixels, away = _outside(images, x.numpy()[which], epsilon, norm)
        missed = np.zeros(len(images), bool)
        if len(images):
            missed = ~wrong(tf.constant(images), tf.boolean_mask(y, which)).numpy()
            largest = max(largest, float(away.max()))
        counted = ~(too_far | no_pixels | (missed & deterministic))
        for name in fooled:
            fooled[name] += int(np.sum(batch["fooled_by"][which][counted] == name))
        far, bad = batch["left_out"].sum(0)
        check["images"] += len(images)
        check["outside_ball"] += int(too_far.sum() + far)
        check["outside_pixels"] += int(no_pixels.sum() + bad)
        check["classified_correctly"] += int(missed.sum())
        total += len(y)
        seconds += batch["seconds"]
    robust, rows = total - fooled[CLEAN], []
    for (name, options), spent in zip(made_by.items(), seconds, strict=True):
        robust -= fooled[name]
        rows.append(
            {
                "name": name,
                "fooled": fooled[name],
                "robust_accuracy": 100 * robust / total,
                "seconds": round(float(spent), 1),
                "made_by": options,
            }
        )
    return {
        "test_examples": total,
        "clean_accuracy": 100 * (total - fooled[CLEAN]) / total,
        "robust_accuracy": 100 * robust / total,
        "attacks": rows,
        "recheck": {**check, "largest_distance": largest},
    }
