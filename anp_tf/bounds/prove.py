"""A certificate: for each image of a data set, whether it is proved, broken or open."""

import functools
import os
import pathlib
import time
import typing
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from anp_tf.arguments import check_count, check_number
from anp_tf.attacks.attack_step import attack_step
from anp_tf.attacks.entrance import pixels_of
from anp_tf.bounds.ball import holds
from anp_tf.bounds.bounds import (
    ALPHA_STEPS,
    ROWS,
    check_settings,
    checked_labels,
    crown_margins,
    interval_margins,
    pair_margins,
)
from anp_tf.bounds.branching import DOMAINS, BranchAndBound
from anp_tf.bounds.certificate import BROKEN, FILE, OPEN, PROVED, begun, network_sha256, write
from anp_tf.bounds.network import BoundedNetwork
from anp_tf.losses import classified
from anp_tf.names import PROOFS


def prove(
    network: keras.Model,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    epsilon: float,
    *,
    norm: str = "linf",
    methods: Sequence[str] = PROOFS,
    broken: npt.ArrayLike | None = None,
    attack: Callable[..., tf.Tensor] | None = None,
    batch_size: int = 32,
    intermediate: str = "interval",
    rows: int = ROWS,
    alpha_steps: int = ALPHA_STEPS,
    domains: int = DOMAINS,
    seconds: float | None = None,
    path: str | os.PathLike[str] | None = None,
    seed: int = 0,
    identity: Mapping[str, typing.Any] | None = None,
    progress: Callable[[int], object] | None = None,
) -> dict[str, typing.Any]:
    """Proves for each image that no image in its ball is misclassified, or finds one that is.

    Intervals are tried first; CROWN on what they leave; then, on what is neither proved nor known
    to be broken, alpha-CROWN, the attack and branch and bound. An image that the network
    misclassifies as it is counts as broken. What a proof says, and of what, is said at
    `interval_bounds`.

    Args:
        network: Functional or Sequential `keras.Model` from pixels to logits, whose layers have
            rules.
        x: Array [images, ...], pixels in [0, 1] as floats.
        y: Integer array [images] or [images, 1], labels.
        epsilon: Float, at least 0: the radius of the balls in pixel units.
        norm: `"linf"` or `"l2"`.
        methods: Sequence of the methods that are tried, of `"interval"`, `"crown"`,
            `"alpha_crown"` and `"branching"` (`BranchAndBound`).
        broken: Boolean array [images], the images that attacks of this radius have broken, or None.
        attack: Function `(network, x, y, seed)` to adversarial images in the balls, such as an
            attack of `anp_tf.attacks`, which is tried on what is not proved; or None. Of its images
            those count that are in [0, 1] and in the balls.
        batch_size: Integer, how many images at a time.
        intermediate: Where CROWN and alpha-CROWN have the bounds of hidden features from:
            `"interval"`, or `"crown"`, which is tighter and takes far longer.
        rows: Integer, how many numbers of a layer CROWN bounds at a time.
        alpha_steps: Integer, at least 0, steps of alpha-CROWN.
        domains: Integer, how many parts of a ball branch and bound makes for a class, at most.
        seconds: Float, how long it may take, spread over the images: a batch that comes late has
            intervals and CROWN alone, which always are tried. None: as long as it takes.
        path: Folder that `certificate.json` is written to after each batch. One that is there, of
            the same network, settings and first images, is gone on with.
        seed: Integer, at least 0, of the attack's random numbers: each image has its own.
        identity: Dict of what else identifies the certificate, which has it too; or None. Its
            `path` and `dataset` are not compared: network and images are known by their digests.
        progress: Function that is called with the number of images done; or None.

    Returns:
        The certificate, a dict: `outcomes`, a list of `"proved"`, `"broken"` and `"open"` in the
        order of the images; `methods`, a list of what proved each, None where nothing did; `counts`
        of both; `epsilon`, `norm`, `settings`, the SHA-256 of the `network` and of the `images`
        with their labels; `seconds`; `versions`; the items of `identity`.

    Raises:
        ValueError: if an argument is invalid, if the file is that of something else, or as
            `interval_bounds`.
        RuntimeError: if an image is both proved and broken, which is never right: one of the two is
            in error.
    """
    x = np.asarray(pixels_of(x), np.float32)
    check_number("epsilon", epsilon, lambda v: v >= 0, "a number of at least 0")
    check_settings(intermediate, rows)
    counts = (
        ("batch_size", batch_size, 1),
        ("alpha_steps", alpha_steps, 0),
        ("domains", domains, 1),
    )
    for count in counts:
        check_count(*count)
    _check(x, methods, broken, seconds)
    bounded = BoundedNetwork(network)
    y = np.asarray(checked_labels(bounded, y, x))
    broken = np.zeros(len(x), bool) if broken is None else np.asarray(broken, bool)
    settings = {
        "intermediate": intermediate,
        "rows": rows,
        "alpha_steps": alpha_steps,
        "domains": domains,
        "tried": list(methods),
        **({} if seconds is None else {"seconds": seconds}),
    }
    about = {
        "epsilon": float(epsilon),
        "norm": norm,
        "settings": settings,
        "network": network_sha256(network),
        **(identity or {}),
    }
    network = keras.Model(network.inputs[0], network.outputs[0])  # not a dict of its logits
    path = None if path is None else pathlib.Path(path) / FILE
    certificate = begun(path, about, x, y)
    outcomes, by, start = certificate["outcomes"], certificate["methods"], time.monotonic()
    before = certificate["seconds"]
    newly = [i for i, outcome in enumerate(outcomes) if outcome == OPEN and broken[i]]
    for index in newly:
        outcomes[index] = BROKEN
    if newly:
        write(path, certificate, x, y)
    options = {"norm": norm, "intermediate": intermediate, "rows": rows}
    functions = _functions(bounded, epsilon, methods, options, alpha_steps, domains)
    breaks = None if attack is None else _breaks(network, attack, seed, epsilon, norm)
    for first in range(len(outcomes), len(x), batch_size):
        part = slice(first, first + batch_size)
        spent = before + time.monotonic() - start
        late = seconds is not None and spent * len(x) > seconds * (first + batch_size)
        found = _of_batch(network, x[part], y[part], functions, broken[part], breaks, first, late)
        outcomes.extend(found[0])
        by.extend(found[1])
        certificate["seconds"] = round(before + time.monotonic() - start, 3)
        write(path, certificate, x, y)
        if progress is not None:
            progress(len(outcomes))
    _check_apart(outcomes, broken, 0)
    return certificate


def _check(x, methods, broken, seconds):
    unknown = sorted(set(methods) - set(PROOFS))
    if unknown:
        raise ValueError(f"Argument `methods` must be of {PROOFS}. Received: {unknown}")
    if broken is not None and np.shape(broken) != (len(x),):
        raise ValueError(
            f"Argument `broken` must have a value for each of the {len(x)} images. "
            f"Received: shape {np.shape(broken)}"
        )
    if seconds is not None:
        check_number("seconds", seconds, lambda v: v > 0, "a number above 0", infinite=True)


def _functions(bounded, epsilon, methods, options, alpha_steps, domains):
    """Dict from the methods, cheapest first, to functions that bound margins.

    Each takes images, labels and the best upper bounds of the margins so far, [images, units], and
    returns others, infinite where it has none.
    """
    pixels, norm = tf.TensorSpec([None, *bounded.input_shape], tf.float32), options["norm"]
    label = tf.TensorSpec([None], tf.int64)
    compiled = functools.partial(tf.function, autograph=False)  # traced sooner without it

    @functools.partial(compiled, input_signature=[pixels, label])
    def interval(x, y):
        return interval_margins(bounded, x, y, epsilon, norm=norm)

    @functools.partial(compiled, input_signature=[pixels, label])
    def crown(x, y):
        return crown_margins(bounded, x, y, epsilon, **options)

    @functools.partial(compiled, input_signature=[pixels, label, label])
    def alpha_crown(x, y, other):
        return pair_margins(bounded, x, y, other, epsilon, **options, steps=alpha_steps)

    def of_pairs(x, y, margins):
        found = np.full_like(margins, np.inf)
        worst = np.arange(len(x)), np.argmax(margins, -1)
        bound(x, y, found, *worst)  # an image of which this is not proved is not
        left = (margins >= 0) & (found[worst] < 0)[:, np.newaxis]
        left[worst] = False
        bound(x, y, found, *np.nonzero(left))
        return found

    def bound(x, y, found, images, others):
        for first in range(0, len(images), len(x)):
            image, other = images[first : first + len(x)], others[first : first + len(x)]
            found[image, other] = alpha_crown(x[image], y[image], other)

    functions = {
        "interval": lambda x, y, margins: np.asarray(interval(x, y)),
        "crown": lambda x, y, margins: np.asarray(crown(x, y)),
        "alpha_crown": of_pairs,
    }
    if "branching" in methods:
        functions["branching"] = _branching(bounded, epsilon, norm, domains)
    return {name: functions[name] for name in PROOFS if name in methods}


def _branching(bounded, epsilon, norm, domains):
    branch_and_bound = BranchAndBound(bounded, norm=norm, domains=domains)

    def branching(x, y, margins):
        classes = [np.flatnonzero(row >= 0) for row in margins]
        proved = branch_and_bound(x, y, classes, epsilon)
        return np.where(proved[:, np.newaxis], -np.inf, np.full_like(margins, np.inf))

    return branching


def _breaks(network, attack, seed, epsilon, norm):
    """Function of pixels, labels and positions to which images an attack breaks."""
    attacked = attack_step(network, attack, seed)

    def breaks(x, y, positions):
        moved = attacked(x, y, positions)
        return holds(moved, x, epsilon, norm) & _misclassified(network, moved, y)

    return breaks


def _of_batch(network, x, y, functions, broken, breaks, first, late):
    """The outcomes of some images, and what proved them."""
    outcomes, by = np.full(len(x), OPEN, object), [None] * len(x)
    outcomes[_misclassified(network, x, y)] = BROKEN
    margins = np.full([len(x), network.outputs[0].shape[-1]], np.inf)
    margins[np.arange(len(x)), y] = -np.inf

    def prove(name):
        left = np.flatnonzero(outcomes == OPEN)
        if name not in functions or not len(left):
            return
        margins[left] = np.minimum(margins[left], functions[name](x[left], y[left], margins[left]))
        for index in left[np.all(margins[left] < 0, axis=1)]:
            outcomes[index], by[index] = PROVED, name

    for name in ("interval", "crown"):
        prove(name)
    _check_apart(outcomes, broken, first)
    outcomes[broken] = BROKEN
    if late:
        return outcomes.tolist(), by
    prove("alpha_crown")
    left = np.flatnonzero(outcomes == OPEN)
    if breaks is not None and len(left):
        positions = (first + left).astype(np.int32)
        outcomes[left[breaks(x[left], y[left], positions)]] = BROKEN
    prove("branching")
    return outcomes.tolist(), by


def _misclassified(network, x, y):
    return ~np.asarray(classified(network(x, training=False), y))


def _check_apart(outcomes, broken, first):
    both = [index for index, outcome in enumerate(outcomes) if outcome == PROVED and broken[index]]
    if both:
        raise RuntimeError(
            f"Image {first + both[0]} is both proved and broken. Either the proof or the attack is "
            "in error; no certificate is made."
        )
