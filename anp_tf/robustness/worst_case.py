"""The worst case over several attacks: an image is robust if none of them fools the network."""

import dataclasses
import functools
import pathlib
import time

import numpy as np
import tensorflow as tf

from anp_tf import __version__
from anp_tf.arguments import check
from anp_tf.attacks.attack_step import attack_step
from anp_tf.robustness.batch_files import (
    CLEAN,
    EvaluationError,
    batch_path,
    check_batch,
    open_folder,
    read_batch,
    remove_superseded,
    write_batch,
)
from anp_tf.robustness.described import described
from anp_tf.robustness.judge import Judge, examples_of


def worst_case(
    network,
    batches,
    attacks,
    folder,
    threat,
    *,
    identity,
    deterministic=True,
    part=(1, 1),
    progress=None,
):
    """Attacks every image with one attack after the other until one fools the network.

    An image fools the network where the label's logit is not ahead of all others by more than
    rounding (`Verdict`), and where it is in the ball and in [0, 1]; else the next attack is made on
    it. Each batch is written to the folder when it is done: the adversarial images, and which
    attack found each. Started again, the evaluation goes on after the batches that are there. At
    the end all images are read back, and only those count that are in the ball, in [0, 1] and not
    surely right. No more than a batch is in memory.

    Every image has random numbers of its own, from the seed and its position, so that the result
    does not depend on the batches, nor on which process made which of them.

    Args:
        network: Keras model, or function `(pixels, training) -> logits`.
        batches: `tf.data.Dataset` of (pixels [batch, ...] in [0, 1], labels [batch]), always in
            the same order; it is read twice.
        attacks: Dict from a name to an attack, in the order in which they are tried.
        folder: Where the batches are written; made if needed. Several processes may share it.
        threat: `Threat`, the ball in which the images must be.
        identity: Dict, JSON, that identifies network and data; a folder of another identity, or of
            other attacks, is refused.
        deterministic: Boolean. Of a network whose answers differ from call to call, an image that
            has fooled it once counts, whatever it answers when the image is read back: the accuracy
            is rather too low than too high.
        part: Pair of integers (k, n): only every n-th batch, from the k-th on, is attacked here.
        progress: Optional function, called with the number of images done so far, in which one
            that only some of the attacks were made on counts in part.

    Returns:
        None if batches of other parts are not there yet. Else a dict: `test_examples`,
        `clean_accuracy` and `robust_accuracy` in percent; `attacks`, for each its `name`, how many
        images it `fooled` of those that the attacks before it left, the `robust_accuracy` after it,
        its `seconds`, and `made_by`, its options; `recheck`: how many `images` fooled the network,
        how many more would have if they were not `outside_ball` or `outside_pixels`, which do not
        count, how many were `classified_correctly` when they were read back, and the
        `largest_distance`. Clean images need only be ahead; attacked ones must be ahead by more
        than rounding.

    Raises:
        EvaluationError: if the folder holds another evaluation, or a damaged one.
        LogitsError: if logits are NaN or infinite.
        ValueError: if there are no examples, if a pixel is not in [0, 1] or a label no class, if an
            attack is called `clean` or has no name, or if the part is none of the parts.
        tf.errors.InvalidArgumentError: if a gradient is not finite.
    """
    if {"", CLEAN} & set(attacks):
        raise ValueError(
            f"Expected attacks with names other than {CLEAN!r}. Received: {list(attacks)}"
        )
    number, parts = part
    check("part", part, 1 <= number <= parts, "a pair (k, n) with 1 <= k <= n")
    folder = pathlib.Path(folder)
    made_by = {name: described(attack) for name, attack in attacks.items()}
    asked = threat.record() | {"anp_tf": __version__, "attacks": made_by}
    open_folder(folder, asked | identity)
    judge = Judge(network)
    steps = {name: attack_step(network, attack, threat.seed) for name, attack in attacks.items()}
    paths, done = [], 0
    for path, first, x, y in _in_files(folder, batches):
        if len(paths) % parts == number - 1:
            if path.exists():
                check_batch(path, x.numpy(), y.numpy())
            else:
                note = progress and functools.partial(_share_done, progress, done, len(x))
                batch = _attack_batch(judge, steps, x, y, first, threat, note)
                write_batch(path, batch, x.numpy(), y.numpy())
            done += len(x)
            if progress:
                progress(done)
        paths.append(path)
    if not paths:
        raise ValueError("There are no examples to evaluate on.")
    if not all(path.exists() for path in paths):
        return None
    tally = _Tally(list(made_by))
    for path, first, x, y in _in_files(folder, batches):
        tally.add(path, x, y, judge, threat, deterministic)
        count = first + len(x)
    remove_superseded(folder, paths, count)
    return tally.result(made_by)


def _share_done(progress, before, count, share):
    progress(before + share * count)


def _in_files(folder, batches):
    """The path of each batch, the position of its first image, its pixels and its labels."""
    first = 0
    for x, y in batches:
        yield batch_path(folder, first, len(x)), first, *examples_of(x, y)
        first += len(x)


def _attack_batch(judge, steps, x, y, first, threat, progress):
    """The record of one batch, a dict of arrays."""
    positions, originals = tf.range(first, first + len(x)), x.numpy()
    found = originals.copy()
    fooled_by = np.where(judge(x, y).right, "", CLEAN).astype(object)
    seconds, left_out = [], np.zeros([len(steps), 2], int)
    for index, (name, step) in enumerate(steps.items()):
        left = np.flatnonzero(fooled_by == "")
        start = time.perf_counter()
        if len(left):
            some = [tf.gather(part, left) for part in (x, y, positions)]
            images = step(*some)
            fooled, images = ~judge(images, some[1]).withstands, images.numpy()
            too_far, no_pixels, _ = threat.outside(images, originals[left])
            left_out[index] = np.sum(fooled & too_far), np.sum(fooled & no_pixels)
            counted = fooled & ~too_far & ~no_pixels
            found[left[counted]] = images[counted]
            fooled_by[left[counted]] = name
        seconds.append(time.perf_counter() - start)
        if progress:
            progress(len(seconds) / len(steps))
    return {
        "label": y.numpy(),
        "fooled_by": fooled_by.astype(str),
        "image": found[fooled_by != ""],
        "seconds": np.array(seconds),
        "left_out": left_out,
    }


@dataclasses.dataclass
class _Tally:
    """Counts what the files of the batches hold, each image read back and judged again."""

    names: list[str]

    def __post_init__(self):
        self.fooled = dict.fromkeys([CLEAN, *self.names], 0)
        self.seconds = np.zeros(len(self.names))
        self.total, self.largest = 0, 0.0
        keys = ("images", "outside_ball", "outside_pixels", "classified_correctly")
        self.check = dict.fromkeys(keys, 0)

    def add(self, path, x, y, judge, threat, deterministic):
        check_batch(path, x.numpy(), y.numpy())
        batch = read_batch(path)
        known = {"", *self.fooled}
        if not set(batch["fooled_by"]) <= known:
            raise EvaluationError(f"{path} is of other attacks; remove its folder")
        which, images = batch["fooled_by"] != "", batch["image"]
        too_far, no_pixels, away = threat.outside(images, x.numpy()[which])
        missed = np.zeros(len(images), bool)
        if len(images):
            missed = ~judge(tf.constant(images), tf.boolean_mask(y, which)).may_be_wrong
            self.largest = max(self.largest, float(away.max()))
        counted = ~(too_far | no_pixels | (missed & deterministic))
        for name in self.fooled:
            self.fooled[name] += int(np.sum(batch["fooled_by"][which][counted] == name))
        far, bad = batch["left_out"].sum(0)
        for key, count in (
            ("images", len(images)),
            ("outside_ball", too_far.sum() + far),
            ("outside_pixels", no_pixels.sum() + bad),
            ("classified_correctly", missed.sum()),
        ):
            self.check[key] += int(count)
        self.total += len(y)
        self.seconds += batch["seconds"]

    def result(self, made_by):
        clean = left = self.total - self.fooled[CLEAN]
        rows = []
        for (name, options), spent in zip(made_by.items(), self.seconds, strict=True):
            left -= self.fooled[name]
            rows.append(
                {
                    "name": name,
                    "fooled": self.fooled[name],
                    "robust_accuracy": 100 * left / self.total,
                    "seconds": round(float(spent), 1),
                    "made_by": options,
                }
            )
        return {
            "test_examples": self.total,
            "clean_accuracy": 100 * clean / self.total,
            "robust_accuracy": 100 * left / self.total,
            "attacks": rows,
            "recheck": {**self.check, "largest_distance": self.largest},
        }
