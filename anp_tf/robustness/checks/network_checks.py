"""Checks of the network itself: its outputs, its gradients, its randomness."""

import numpy as np
import tensorflow as tf

from anp_tf.attacks.pgd import losses_with_gradient
from anp_tf.losses import cross_entropy, margin
from anp_tf.robustness.checks.check import FAIL, PASS, WARN, Check, graded

SCALE = (1.0, 5.0)  # points by which another scale of the pixels may be better
CALLS = 3
SAME = 1e-4  # in shares of the spread of the logits: what rounding may change
OTHER_SCALES = {"in [0, 255]": (255.0, 0.0), "in [-1, 1]": (2.0, -1.0)}


def check_pixels(network, batches):
    """All images are in [0, 1], and the network is at its best with them so."""
    low, high, count = np.inf, -np.inf, 0
    right = dict.fromkeys(["in [0, 1]", *OTHER_SCALES], 0)
    for x, y in batches:
        low, high = np.minimum(low, np.min(x)), np.maximum(high, np.max(x))  # NaN stays NaN
        count += len(y)
        for name in right:
            factor, shift = OTHER_SCALES.get(name, (1.0, 0.0))
            try:
                logits = network(x * factor + shift, training=False)
            except tf.errors.InvalidArgumentError:  # it refuses pixels that are not in [0, 1]
                continue
            right[name] += int(np.sum(np.argmax(logits, -1) == y))
    clean = {name: 100 * value / count for name, value in right.items()}
    low, high = float(low), float(high)
    outside = not (low >= 0 and high <= 1)
    better = max(clean[name] for name in OTHER_SCALES) - clean["in [0, 1]"]
    accuracies = ", ".join(f"{value:.1f} % {name}" for name, value in clean.items())
    return Check(
        "pixels",
        "Images are in [0, 1], and the network takes them so",
        FAIL if outside else graded(better, SCALE, count),
        f"pixels from {low:.3g} to {high:.3g}; clean accuracy with pixels {accuracies}",
        {"low": low, "high": high, "outside": outside, "clean_accuracy": clean},
    )


def check_logits(network, x):
    """The outputs are logits: probabilities would hide the gradients of a cross-entropy."""
    outputs = np.asarray(network(x, training=False), np.float64)
    sums = outputs.sum(-1)
    probabilities = bool(outputs.min() >= 0 and np.allclose(sums, 1, atol=1e-3))
    figure = f"outputs from {outputs.min():.3g} to {outputs.max():.3g}"
    if probabilities:
        figure += ", which sum to 1: these are probabilities"
    return Check(
        "logits",
        "The network returns logits, not probabilities",
        FAIL if probabilities else PASS,
        figure,
        {"low": float(outputs.min()), "high": float(outputs.max())},
    )


def check_deterministic(network, x):
    """Several calls give the same logits; else the attacks need the mean over draws."""
    calls = [np.asarray(network(x, training=False), np.float64) for _ in range(CALLS)]
    calls = [logits - logits.max(-1, keepdims=True) for logits in calls]  # but for a shift
    largest = max(float(np.abs(logits - calls[0]).max()) for logits in calls[1:])
    same = largest <= SAME * max(1.0, float(np.abs(calls[0]).max()))
    figure = f"logits differ by at most {largest:.2g} between {CALLS} calls"
    if not same:
        figure += "; attacks and accuracies are of the mean of several draws (EOT)"
    return Check(
        "deterministic",
        "The network is deterministic",
        PASS if same else WARN,
        figure,
        {"largest_difference": largest},
    )


def check_gradients(network, x, y):
    """The gradients of cross-entropy and margin in the pixels are not zero."""
    title = "The gradients in the pixels are not zero"
    shares = {}
    for name, loss in (("cross-entropy", cross_entropy), ("margin", margin)):
        try:
            _, _, gradient = losses_with_gradient(network, x, y, loss)
        except (ValueError, tf.errors.InvalidArgumentError) as error:
            reason = " ".join(str(getattr(error, "message", error)).split())
            return Check("gradients", title, FAIL, reason[:200], {})
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
