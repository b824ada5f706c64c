"""Slopes of lines that are learned, so that the bounds they give are the best."""

import tensorflow as tf

from anp_tf.bounds.network import repeated

RATE = 0.2  # of Adam, falling to a tenth of it
MOMENTS = (0.9, 0.99)


def learned(bounded, ball, boxes, coefficients, steps):
    """The best bounds of linear functions of the outputs that were met while slopes were learned.

    Args:
        bounded: `BoundedNetwork`.
        ball: `Ball`.
        boxes: Dict from the key of each tensor to its `Interval`.
        coefficients: Tensor [batch, rows, units].
        steps: Integer, how many steps of Adam.

    Returns:
        Tensor [batch, rows]; at least what the lines give that are not learned.
    """
    rows = tf.shape(coefficients)[1]
    counts, start = {}, []
    for step in bounded.steps:
        if step.rule.linear:
            continue
        slopes = step.rule.slopes(*(boxes[key] for key in step.inputs))
        counts[step] = len(slopes)
        start += [repeated(slope[:, tf.newaxis], rows, axis=1) for slope in slopes]

    def bound(slopes):
        slopes = list(slopes)
        by_step = {}
        for step, count in counts.items():
            if count:
                by_step[step], slopes = slopes[:count], slopes[count:]
        return bounded.least(bounded.output, coefficients, ball, boxes, slopes=by_step)

    def improve(index, best, slopes, first, second):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(slopes)
            value = bound(slopes)
        gradients = tape.gradient(value, slopes, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        a, b = MOMENTS
        count = tf.cast(index + 1, value.dtype)
        rate = RATE * 0.1 ** (count / steps)
        first = [a * old + (1 - a) * new for old, new in zip(first, gradients, strict=True)]
        second = [b * old + (1 - b) * new**2 for old, new in zip(second, gradients, strict=True)]
        slopes = [
            slope + rate * (m / (1 - a**count)) / (tf.sqrt(v / (1 - b**count)) + 1e-12)
            for slope, m, v in zip(slopes, first, second, strict=True)
        ]
        return index + 1, tf.maximum(best, value), _bounded_slopes(slopes), first, second

    best = bounded.least(bounded.output, coefficients, ball, boxes)
    if not start:
        return best
    zeros = [tf.zeros_like(slope) for slope in start]
    state = (tf.constant(0), best, start, zeros, list(zeros))
    any_rows = [tf.TensorShape([None, None, *slope.shape[2:]]) for slope in start]
    invariants = (tf.TensorShape([]), tf.TensorShape([None, None]), any_rows, any_rows, any_rows)
    _, best, slopes, _, _ = tf.while_loop(
        lambda index, *_: index < steps,
        improve,
        state,
        shape_invariants=invariants,
        maximum_iterations=steps,
    )
    return tf.maximum(best, bound(slopes))


def _bounded_slopes(slopes):
    """Slopes of which none is beyond what Adam can come back from, or not a number."""
    return [tf.where(tf.math.is_finite(slope), slope, 0.0) for slope in slopes]
