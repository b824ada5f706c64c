"""Checks of the network itself: its outputs, its gradients, its randomness."""

import numpy as np
import tensorflow as tf

from anp_tf.attacks import input_gradient
from anp_tf.errors import sentence
from anp_tf.intervals import with_interval
from anp_tf.losses import classified, cross_entropy, margin
from anp_tf.robustness.checks.check import ENOUGH, FAIL, PASS, WARN, Check, graded
from anp_tf.robustness.interface import why_probabilities

OTHER_RANGE = (1.0, 5.0)  # points by which pixels of another range may be better
REPEATED_CALLS = 3
# What rounding may change, in shares of the spread of the logits: between calls, and where a batch
# is divided.
CALLS_MAY_DIFFER, PARTS_MAY_DIFFER = 1e-4, 2e-2
FEW_IMAGES = 4  # that tell whether there are gradients at all
NO_GRADIENT = ValueError, LookupError, tf.errors.InvalidArgumentError
# Of an image's logits: their spread, its share of their size; percent of images with equal ones.
WARNED = {"share": 1e-2, "spread": 1e-2, "equal": 1.0}
FAILED = {"share": 1e-3, "spread": 1e-4, "equal": 5.0}
OTHER_RANGES = {"in [0, 255]": (255.0, 0.0), "in [-1, 1]": (2.0, -1.0)}


def check_pixels(network, batches):
    """All images are in [0, 1], and the network is at its best with them so."""
    low, high, count = np.inf, -np.inf, 0
    right = dict.fromkeys(["in [0, 1]", *OTHER_RANGES], 0)
    for x, y in batches:
        low, high = np.minimum(low, np.min(x)), np.maximum(high, np.max(x))  # NaN stays NaN
        count += len(y)
        for name in right:
            factor, shift = OTHER_RANGES.get(name, (1.0, 0.0))
            try:
                logits = network(tf.convert_to_tensor(x) * factor + shift, training=False)
            except tf.errors.InvalidArgumentError:  # it refuses pixels that are not in [0, 1]
                continue
            right[name] += int(tf.math.count_nonzero(classified(logits, y)))
    clean = {name: 100 * value / count for name, value in right.items()}
    low, high = float(low), float(high)
    outside = not (low >= 0 and high <= 1)
    better = max(clean[name] for name in OTHER_RANGES) - clean["in [0, 1]"]
    accuracies = ", ".join(
        f"{with_interval(value, count, 1, unit=True)} {name}" for name, value in clean.items()
    )
    return Check(
        "pixels",
        "Images are in [0, 1], and the network takes them so",
        FAIL if outside else graded(better, OTHER_RANGE, count),
        f"pixels from {low:.3g} to {high:.3g}; clean accuracy with pixels {accuracies}",
        {"low": low, "high": high, "outside": outside, "clean_accuracy": clean},
    )


def check_outputs(network, x, ending=None):
    """The outputs are finite logits: probabilities would hide the gradients of a cross-entropy."""
    outputs = np.asarray(network(x, training=False), np.float64)
    title = "The network returns logits, not probabilities"
    bad = int(np.sum(~np.isfinite(outputs).all(-1)))
    if bad:
        figure = f"NaN or infinite for {bad} of {len(outputs)} images"
        return Check("logits", title, FAIL, figure, {"not_finite": bad})
    low, high = float(outputs.min()), float(outputs.max())
    shares, why = low >= 0 and high <= 1, why_probabilities(outputs, ending)
    figure = f"outputs from {low:.3g} to {high:.3g}"
    if why:
        figure += f", {why}: these are probabilities"
    elif shares:
        figure += ", as probabilities are"
    return Check(
        "logits",
        title,
        FAIL if why else WARN if shares else PASS,
        figure,
        {"low": low, "high": high, "not_finite": 0},
    )


def check_resolution(network, x, gradients=True):
    """The logits are apart by what float32 can tell, and no two of an image are equal."""
    outputs = np.asarray(network(x, training=False), np.float32).astype(np.float64)
    spread = float(np.median(outputs.max(-1) - outputs.min(-1)))
    size = float(np.median(np.abs(outputs).max(-1)))
    equal = np.diff(np.sort(outputs, -1), axis=-1).min(-1) == 0
    enough = np.count_nonzero(equal) >= ENOUGH  # else by chance
    equal = 100 * float(np.mean(equal))
    share = spread / size if size else 0.0
    status = PASS
    for limits, bad in ((WARNED, WARN), (FAILED, FAIL)):
        if (
            share < limits["share"]
            or spread < limits["spread"]
            or (enough and equal > limits["equal"])
        ):
            status = bad
    if not gradients and share >= FAILED["share"] and spread >= FAILED["spread"]:
        status = PASS if status == PASS else WARN  # an integer network's logits are steps
    return Check(
        "resolution",
        "The logits are far enough apart for float32, and none are equal",
        status,
        f"the logits of an image spread over {spread:.3g}, which is {share:.2g} of their size; "
        f"{equal:.1f} % of the images have equal ones",
        {"spread": spread, "share_of_size": share, "equal_percent": equal},
    )


def check_deterministic(network, x):
    """Several calls give the same logits, and so does one for each half of the images.

    Else the attacks need the mean over draws, and what has fooled the network once counts.
    """

    def ask(*parts):
        logits = [np.asarray(network(part, training=False), np.float64) for part in parts]
        logits = np.concatenate(logits)
        return logits - logits.max(-1, keepdims=True)  # but for a shift

    first, half = ask(x), max(1, len(x) // 2)
    largest = max(float(np.abs(ask(x) - first).max()) for _ in range(REPEATED_CALLS - 1))
    by_half = float(np.abs(ask(x[:half], x[-half:]) - np.r_[first[:half], first[-half:]]).max())
    spread = float(np.abs(first).max())
    same = largest <= CALLS_MAY_DIFFER * spread
    figure = f"logits differ by at most {largest:.2g} between {REPEATED_CALLS} calls"
    if same and by_half > PARTS_MAY_DIFFER * spread:
        same = False
        figure += f", and by {by_half:.2g} where the batch is halved, as if it were in training"
    if not same:
        figure += "; attacks and accuracies are of the mean of several draws (EOT)"
    return Check(
        "deterministic",
        "The network is deterministic",
        PASS if same else WARN,
        figure,
        {"largest_difference": largest, "largest_by_half": by_half},
    )


def without_gradients(network, x, y):
    """Why attacks that need gradients cannot be made, one line, or None.

    A loop around what has none, such as a JPEG compression, makes zeros of them.
    """
    x = tf.convert_to_tensor(x)
    try:
        for count in (FEW_IMAGES, len(x)):
            losses = cross_entropy, margin
            found = [input_gradient(network, x[:count], y[:count], loss) for loss in losses]
            if tf.reduce_any(tf.stack(found) != 0):
                return None
    except NO_GRADIENT as error:
        why = sentence(error).rstrip(".")
        return f"the network gives no gradients in the pixels ({why})"
    return "the network's gradients in the pixels are all 0"


def check_gradients(network, x, y):
    """The gradients of cross-entropy and margin in the pixels are not zero."""
    title = "The gradients in the pixels are not zero"
    shares = {}
    for name, loss in (("cross-entropy", cross_entropy), ("margin", margin)):
        try:
            gradient = input_gradient(network, tf.convert_to_tensor(x), y, loss)
        except NO_GRADIENT as error:
            return Check("gradients", title, FAIL, sentence(error), {})
        axes = list(range(1, gradient.shape.rank))
        zero = tf.reduce_all(gradient == 0, axes)
        shares[name] = 100 * float(np.mean(zero))
    worst = max(shares.values())
    figure = ", ".join(f"{name}: {share:.1f} % of the images" for name, share in shares.items())
    return Check(
        "gradients",
        title,
        PASS if worst <= 1 else WARN if shares["margin"] <= 1 else FAIL,
        f"without any gradient by {figure}",
        {"zero_percent": shares},
    )
