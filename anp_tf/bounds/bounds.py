"""Bounds of a network's outputs, and of its margins, over all images in a ball."""

import numpy as np
import tensorflow as tf

from anp_tf.arguments import check_count
from anp_tf.attacks.entrance import labels_of
from anp_tf.bounds.alpha import learned
from anp_tf.bounds.network import bounded_network, in_parts, repeated
from anp_tf.bounds.rule import Interval
from anp_tf.names import INTERMEDIATE

ROWS = 64  # linear functions bounded at a time: with the batch they make what memory is needed
ALPHA_STEPS = 20


def interval_bounds(network, x, epsilon, *, norm="linf"):
    """Bounds of the outputs, layer by layer (IBP).

    Bounds enclose what the layers return in float32 arithmetic, in whatever order their sums are
    computed, and not only what they would in real numbers: they are computed in float64, and each
    layer's are moved outwards by a bound on the layer's rounding error (Higham 2002, section 3.1),
    beside which float64's own is small. Outputs in float64 are rounded to float32, in which
    networks are judged (`anp_tf.losses.classified`), and bounds enclose both. Where float32 might
    overflow there are no bounds. This holds for layers that compute sums of products as such. It
    does not for convolutions by Winograd or FFT, nor where a device rounds products to fewer bits
    (TF32), nor for the network in another form, such as a quantized one; and activations other than
    the ReLUs are taken to be right within 16 units in the last place.

    Masks are those of inference, or those that `given_masks` gives. May run in a `tf.function`.

    Args:
        network: Built functional or Sequential `keras.Model` from pixels to outputs [batch, units];
            or a `BoundedNetwork` of one, which spares preparing it at each call.
        x: Tensor [batch, ...], pixels in [0, 1].
        epsilon: Float or scalar tensor, at least 0: the radius of the ball in pixel units. The ball
            is cut to [0, 1], and is larger by the rounding of float32 pixels.
        norm: `"linf"`, or `"l2"`, whose ball intervals bound by the box around it.

    Returns:
        `Interval` of float64 tensors [batch, units].

    Raises:
        ValueError: if a layer has no rule (see `register_rule`), if pixels or a layer's arithmetic
            are not float32 or float64, if a float32 layer reads float64, or if an argument is out
            of its range.

    Reference:
        - Gowal et al. 2019, "Scalable Verified Training for Provably Robust Image Classification",
          https://arxiv.org/abs/1810.12715
    """
    bounded = bounded_network(network)
    return bounded.intervals(bounded.ball(x, epsilon, norm))[bounded.output]


def interval_margins(network, x, y, epsilon, *, norm="linf"):
    """Upper bounds of the margins output_j - output_y, by intervals.

    The difference is taken inside the last layers, as far as they are linear. No image in the ball
    is classified otherwise than as y if all but that of y are below 0.

    Args:
        network: As for `interval_bounds`, as is what bounds enclose.
        x: Tensor [batch, ...], pixels in [0, 1].
        y: Integer tensor [batch] or [batch, 1], labels.
        epsilon: Float or scalar tensor, at least 0, the radius.
        norm: `"linf"` or `"l2"`.

    Returns:
        Float64 tensor [batch, units], exactly 0 for j = y.
    """
    bounded = bounded_network(network)
    y = checked_labels(bounded, y, x)
    ball = bounded.ball(x, epsilon, norm)
    return _margins(bounded, ball, bounded.intervals(ball), y, bounded.units, lines=False)


def crown_bounds(network, x, epsilon, *, norm="linf", intermediate="crown", rows=ROWS):
    """Bounds of the outputs by linear functions of the pixels (CROWN).

    Args:
        network: As for `interval_bounds`, as is what bounds enclose.
        x: Tensor [batch, ...], pixels in [0, 1].
        epsilon: Float or scalar tensor, at least 0, the radius.
        norm: `"linf"` or `"l2"`.
        intermediate: Where the bounds of hidden features come from: `"crown"`, linear functions
            too, or `"interval"`, which costs less and is looser.
        rows: Integer, how many numbers of a layer are bounded at a time. The memory needed is a few
            times batch x rows x the largest layer's numbers x 8 bytes.

    Returns:
        `Interval` of float64 tensors [batch, units], never looser than `interval_bounds`.

    Reference:
        - Zhang et al. 2018, "Efficient Neural Network Robustness Certification with General
          Activation Functions", https://arxiv.org/abs/1811.00866
        - Zhang et al. 2020, "Towards Stable and Efficient Training of Verifiably Robust Neural
          Networks", https://arxiv.org/abs/1906.06316
    """
    prepared = _prepared(network, x, epsilon, norm, intermediate, rows)
    return _outputs(*prepared, rows)


def crown_margins(network, x, y, epsilon, *, norm="linf", intermediate="crown", rows=ROWS):
    """Upper bounds of the margins output_j - output_y, by CROWN: see `crown_bounds`.

    Returns:
        Float64 tensor [batch, units], never looser than `interval_margins`; 0 for j = y.
    """
    bounded = bounded_network(network)
    y = checked_labels(bounded, y, x)
    prepared = _prepared(bounded, x, epsilon, norm, intermediate, rows)
    return _best_margins(*prepared, y, rows)


def alpha_crown_bounds(
    network, x, epsilon, *, norm="linf", intermediate="crown", rows=ROWS, steps=ALPHA_STEPS
):
    """Bounds of the outputs by CROWN whose lines are learned (alpha-CROWN).

    Any line on the sound side of an activation gives a bound; Adam looks for the slopes of those
    that give the best, for each bound its own. The bounds of hidden features are those of CROWN.

    Args:
        network: As for `crown_bounds`, as are the other arguments but the last.
        x: Tensor [batch, ...], pixels in [0, 1].
        epsilon: Float or scalar tensor, at least 0, the radius.
        norm: `"linf"` or `"l2"`.
        intermediate: `"crown"` or `"interval"`.
        rows: Integer, how many numbers of a layer are bounded at a time.
        steps: Integer, how many steps of Adam.

    Returns:
        `Interval` of float64 tensors [batch, units], never looser than `crown_bounds`.

    Reference:
        - Xu et al. 2021, "Fast and Complete: Enabling Complete Neural Network Verification with
          Rapid and Massively Parallel Incomplete Verifiers", https://arxiv.org/abs/2011.13824
    """
    prepared = _prepared(network, x, epsilon, norm, intermediate, rows)
    return _outputs(*prepared, rows, steps)


def alpha_crown_margins(
    network, x, y, epsilon, *, norm="linf", intermediate="crown", rows=ROWS, steps=ALPHA_STEPS
):
    """Upper bounds of the margins output_j - output_y, by alpha-CROWN: see `alpha_crown_bounds`.

    Returns:
        Float64 tensor [batch, units], never looser than `crown_margins`; 0 for j = y.
    """
    bounded = bounded_network(network)
    y = checked_labels(bounded, y, x)
    prepared = _prepared(bounded, x, epsilon, norm, intermediate, rows)
    return _best_margins(*prepared, y, rows, steps)


def pair_margins(
    network, x, y, other, epsilon, *, norm="linf", intermediate="crown", rows=ROWS, steps=0
):
    """As `alpha_crown_margins`, but of one class for each image.

    Args:
        network: As there, as are the other arguments.
        x: Tensor [batch, ...].
        y: Integer tensor [batch], labels.
        other: Integer tensor [batch], the classes j of output_j - output_y.

    Returns:
        Float64 tensor [batch].
    """
    bounded = bounded_network(network)
    pair = [checked_labels(bounded, each, x) for each in (y, other)]
    _, ball, boxes = _prepared(bounded, x, epsilon, norm, intermediate, rows)
    one_hot = tf.one_hot(tf.stack(pair, 1), bounded.units, dtype=bounded.dtype)
    return -_least(bounded, ball, boxes, one_hot[:, :1] - one_hot[:, 1:], steps)[:, 0]


def proved(margins, y):
    """Boolean tensor [batch]: whether the upper bounds of all margins but that of y are below 0.

    Args:
        margins: Tensor [batch, units], upper bounds of output_j - output_y.
        y: Integer tensor [batch] or [batch, 1].
    """
    margins = tf.convert_to_tensor(margins)
    own = tf.one_hot(labels_of(y, margins), margins.shape[-1], on_value=True, off_value=False)
    return tf.reduce_all(own | (margins < 0.0), -1)


def checked_labels(bounded, y, x):
    """Labels as int64 [batch]; a ValueError unless outputs are logits, and labels of their classes.

    Args:
        bounded: `BoundedNetwork`.
        y: Integer array or tensor [batch] or [batch, 1]; values that are not known yet are not
            checked.
        x: Array or tensor [batch, ...], the images.
    """
    units = bounded.units
    if units < 2:
        raise ValueError(
            "Margins are between logits of several classes. Received: a network with one output; "
            "that of class 0, always 0, has to be another"
        )
    y = labels_of(y, tf.convert_to_tensor(x))
    labels = tf.get_static_value(y)
    if labels is not None and not np.all((labels >= 0) & (labels < units)):
        raise ValueError(
            f"Argument `y` must have labels from 0 to {units - 1}. "
            f"Received: labels from {labels.min()} to {labels.max()}"
        )
    return y


def check_settings(intermediate, rows):
    """A ValueError that names the argument of CROWN that is not valid."""
    if intermediate not in INTERMEDIATE:
        raise ValueError(
            f"Argument `intermediate` must be one of {INTERMEDIATE}. "
            f"Received: intermediate={intermediate!r}"
        )
    check_count("rows", rows)


def _prepared(network, x, epsilon, norm, intermediate, rows):
    check_settings(intermediate, rows)
    bounded = bounded_network(network)
    ball = bounded.ball(x, epsilon, norm)
    tight = intermediate == "crown"
    boxes = bounded.tight_intervals(ball, rows) if tight else bounded.intervals(ball)
    return bounded, ball, boxes


def _outputs(bounded, ball, boxes, rows, steps=0):
    batch = tf.shape(ball.box.lower)[0]

    def bound(sign):
        def of_places(places):
            ones = sign * tf.one_hot(places, bounded.units, dtype=bounded.dtype)
            ones = repeated(ones[tf.newaxis], batch)
            return _least(bounded, ball, boxes, ones, steps)

        return in_parts(of_places, bounded.units, rows, _row(bounded))

    box = boxes[bounded.output]
    return Interval(tf.maximum(box.lower, bound(1.0)), tf.minimum(box.upper, -bound(-1.0)))


def _best_margins(bounded, ball, boxes, y, rows, steps=0):
    return tf.minimum(
        _margins(bounded, ball, boxes, y, rows, lines=False),
        _margins(bounded, ball, boxes, y, rows, steps=steps),
    )


def _margins(bounded, ball, boxes, y, rows, lines=True, steps=0):
    own = tf.one_hot(y, bounded.units, dtype=bounded.dtype)

    def of_places(places):
        ones = tf.one_hot(places, bounded.units, dtype=bounded.dtype)
        differences = own[:, tf.newaxis] - ones
        return -_least(bounded, ball, boxes, differences, steps, lines)

    margins = in_parts(of_places, bounded.units, rows, _row(bounded))
    return tf.where(own > 0, tf.zeros_like(margins), margins)


def _least(bounded, ball, boxes, coefficients, steps, lines=True):
    if steps and lines:
        return learned(bounded, ball, boxes, coefficients, steps).best
    return bounded.least(bounded.output, coefficients, ball, boxes, lines)


def _row(bounded):
    return tf.TensorSpec([None, None], bounded.dtype)
