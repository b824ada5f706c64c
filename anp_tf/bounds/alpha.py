"""Slopes of lines, and multipliers, that are learned, so that the bounds they give are the best."""

import math
from typing import NamedTuple

import tensorflow as tf

from anp_tf.bounds.network import repeated

RATE = 0.2  # of Adam, falling to a tenth of it
MOMENTS = (0.9, 0.99)


class Learned(NamedTuple):
    """Bounds, and what was learned for them.

    Attributes:
        best: Tensor [batch, rows], the best bounds that were met.
        parameters: List of tensors [batch, rows, ...]: slopes, and then multipliers.
        bound: Function of such parameters and of boxes to the bounds [batch, rows].
    """

    best: tf.Tensor
    parameters: list
    bound: object


def learned(bounded, ball, boxes, coefficients, steps, signs=None, start=None, enough=None):
    """The best bounds of linear functions of the outputs that were met while slopes were learned.

    Where numbers are known to be of a sign, multiples of them that are at least 0 are subtracted,
    and learned, too (beta-CROWN, Wang et al. 2021, https://arxiv.org/abs/2103.06624).

    Args:
        bounded: `BoundedNetwork`.
        ball: `Ball`.
        boxes: Dict from the key of each tensor to its `Interval`.
        coefficients: Tensor [batch, rows, units].
        steps: Integer, at least 1, how many steps of Adam.
        signs: Dict from the keys of tensors to float tensors [batch, ...]: 1 and -1 where a number
            is at least or at most 0, and 0 where that is not known; or None.
        start: Pair of a Boolean tensor [batch] and a list of parameters: where it is False, what to
            start from; elsewhere, or if it is None, the slopes of the rules, and 0.
        enough: Float; it ends once all bounds are above it. None: never.

    Returns:
        `Learned`, whose bounds are at least those that the lines give that are not learned.
    """
    rows = tf.shape(coefficients)[1]
    signs = {key: sign[:, tf.newaxis] for key, sign in (signs or {}).items()}
    counts, first = {}, []
    for step in bounded.steps:
        if step.rule.linear:
            continue
        slopes = step.rule.slopes(*(boxes[key] for key in step.inputs))
        counts[step] = len(slopes)
        first += [repeated(slope[:, tf.newaxis], rows, axis=1) for slope in slopes]
    slopes = len(first)
    first += [repeated(tf.zeros_like(sign), rows, axis=1) for sign in signs.values()]

    def bound(parameters, boxes):
        rest = list(parameters)
        by_step = {}
        for step, count in counts.items():
            if count:
                by_step[step], rest = rest[:count], rest[count:]
        added = {key: -signs[key] * part for key, part in zip(signs, rest, strict=True)}
        return bounded.least(bounded.output, coefficients, ball, boxes, slopes=by_step, added=added)

    def improve(index, best, parameters, means, squares):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(parameters)
            value = bound(parameters, boxes)
        gradients = tape.gradient(
            value, parameters, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        a, b = MOMENTS
        count = tf.cast(index + 1, value.dtype)
        rate = RATE * 0.1 ** (count / max(1, steps))
        means = [a * old + (1 - a) * new for old, new in zip(means, gradients, strict=True)]
        squares = [b * old + (1 - b) * new**2 for old, new in zip(squares, gradients, strict=True)]
        parameters = [
            each + rate * (m / (1 - a**count)) / (tf.sqrt(v / (1 - b**count)) + 1e-12)
            for each, m, v in zip(parameters, means, squares, strict=True)
        ]
        parameters = _allowed(parameters, slopes)
        return index + 1, tf.maximum(best, value), parameters, means, squares

    def goes_on(index, best, *_):
        left = index <= steps
        return left if enough is None else left & tf.reduce_any(best <= enough)

    if start is not None:
        new, given = start
        first = [
            tf.where(tf.reshape(new, [-1, *[1] * (own.shape.rank - 1)]), own, other)
            for own, other in zip(first, given, strict=True)
        ]
    nothing = tf.fill(tf.shape(coefficients)[:2], tf.constant(-math.inf, coefficients.dtype))
    zeros = [tf.zeros_like(each) for each in first]
    state = (tf.constant(0), nothing, first, zeros, list(zeros))
    any_rows = [tf.TensorShape([None, None, *each.shape[2:]]) for each in first]
    invariants = (tf.TensorShape([]), tf.TensorShape([None, None]), any_rows, any_rows, any_rows)
    steps = steps if first else 0
    _, best, parameters, _, _ = tf.while_loop(
        goes_on, improve, state, shape_invariants=invariants, maximum_iterations=steps + 1
    )
    return Learned(best, parameters, bound)


def _allowed(parameters, slopes):
    """Parameters of which none is not a number, or a slope that Adam cannot come back from.

    Multipliers, which come after the slopes, are at least 0.
    """
    parameters = [tf.where(tf.math.is_finite(each), each, 0.0) for each in parameters]
    return parameters[:slopes] + [tf.nn.relu(each) for each in parameters[slopes:]]
