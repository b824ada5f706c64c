"""The rules of layers that are linear but for a constant."""

import tensorflow as tf

from anp_tf.bounds.rule import TINY, Interval, Rule, gamma, total


class Affine(Rule):
    """A layer y = L x + b, or L1 x1 + L2 x2 + ... + b.

    With the centre c and the radius r of the inputs the outputs are L c + b ± |L| r. Backward, L is
    transposed by automatic differentiation. Rounding: the layer errs by at most gamma times
    |L| |x| + |b|, gamma being that of sums of so many terms, which is added to the radius.

    Args:
        apply: Function `(*inputs, absolute)` of tensors [batch, ...] to L x, computed in the
            inputs' dtype; with the Boolean `absolute`, to |L| x.
        terms: Integer, how many operations at most, one after another, a number of the output is
            the result of in the layer: for a sum of n products n, and 1 more for a bias.
        bias: Function `(dtype, absolute)` to the tensor b, which broadcasts with the outputs, or
            None. With `absolute`, to the sum of the magnitudes of the numbers that it is made of.
    """

    linear = True

    def __init__(self, apply, terms, bias=None):
        self._apply = apply
        self._terms = terms
        self._bias = bias

    def interval(self, unit, *inputs):
        centers = [(lower + upper) / 2 for lower, upper in inputs]
        radii = [(upper - lower) / 2 for lower, upper in inputs]
        center = self._apply(*centers, absolute=False)
        if self._bias is not None:
            center += self._bias(center.dtype, False)
        if unit:
            error = gamma(self._terms, unit)
            radii = [
                radius + error * (tf.abs(center) + radius) + TINY
                for center, radius in zip(centers, radii, strict=True)
            ]
        radius = self._apply(*radii, absolute=True)
        if unit:
            radius += TINY
            if self._bias is not None:
                radius += error * self._bias(center.dtype, True)
        return Interval(center - radius, center + radius)

    def backward(self, unit, coefficients, inputs, output, slopes=None):
        constant = tf.zeros(tf.shape(coefficients)[:2], coefficients.dtype)
        dtype = coefficients.dtype
        if self._bias is not None:
            constant += total(coefficients * self._bias(dtype, False))
        if unit:
            magnitude = self._apply(*(box.largest() + TINY for box in inputs), absolute=True)
            if self._bias is not None:
                magnitude += self._bias(dtype, True)
            error = gamma(self._terms, unit) * magnitude + TINY
            constant -= total(tf.abs(coefficients) * error[:, tf.newaxis])
        return transposed(self._apply, coefficients, [box.lower for box in inputs]), constant


class Moves(Rule):
    """A layer whose every output is one of its inputs, or 0: nothing is computed.

    Args:
        apply: Function of the inputs, tensors [batch, ...], to the output.
    """

    linear = True

    def __init__(self, apply):
        self._apply = apply

    def interval(self, unit, *inputs):
        lower, upper = zip(*inputs, strict=True)
        return Interval(self._apply(*lower), self._apply(*upper))

    def backward(self, unit, coefficients, inputs, output, slopes=None):
        constant = tf.zeros(tf.shape(coefficients)[:2], coefficients.dtype)

        def apply(*tensors, absolute):
            return self._apply(*tensors)

        coefficients = transposed(apply, coefficients, [box.lower for box in inputs])
        return coefficients, constant


def transposed(apply, coefficients, inputs):
    """Rows of linear functions of L x, [batch, rows, ...], as such functions of each x."""
    rows = tf.shape(coefficients)[:2]
    flat = tf.reshape(coefficients, tf.concat([[-1], tf.shape(coefficients)[2:]], 0))
    flat = tf.ensure_shape(flat, [None, *coefficients.shape[2:]])
    zeros = [
        tf.zeros(tf.concat([[rows[0] * rows[1]], x.shape[1:]], 0), coefficients.dtype)
        for x in inputs
    ]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(zeros)
        outputs = apply(*zeros, absolute=False)
    gradients = tape.gradient(
        outputs, zeros, output_gradients=flat, unconnected_gradients=tf.UnconnectedGradients.ZERO
    )
    return [
        tf.reshape(gradient, tf.concat([rows, x.shape[1:]], 0))
        for gradient, x in zip(gradients, inputs, strict=True)
    ]
