"""What a rule of a kind of layer answers, and the rounding that it must cover."""

from typing import NamedTuple

import tensorflow as tf

UNITS = {"float32": 2.0**-24, "float64": 2.0**-50}  # of the types that layers may compute in
OWN = 2.0**-40  # covers the rounding, in float64, of the sums that the bounds are made of
TINY = 2.0**-100  # more than what is lost where numbers are flushed to 0
HUGE = 2.0**60  # beyond this a layer's float32 sums, or squares, are not known not to overflow


class Interval(NamedTuple):
    """Bounds of each number of a tensor.

    Attributes:
        lower: Tensor [batch, ...].
        upper: Tensor of the same shape.
    """

    lower: tf.Tensor
    upper: tf.Tensor

    def largest(self):
        """The largest magnitude of each number."""
        return tf.maximum(tf.abs(self.lower), tf.abs(self.upper))


class Rule:
    """Bounds of what a kind of layer makes of its inputs in inference: a base class for rules.

    A rule must enclose what the layer computes in its own arithmetic, so it moves bounds outwards
    by a bound on the rounding error. `unit` is the unit roundoff that it reckons with, 2^-24 where
    a layer computes in float32; 0 asks for bounds without that, as training does.

    Attributes:
        linear: Boolean, whether the outputs are linear in the inputs but for a constant.
    """

    linear = False

    def interval(self, unit, *inputs):
        """The `Interval` of the output, given those of the inputs.

        Args:
            unit: Float.
            *inputs: An `Interval` for each input.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `interval`.")

    def slopes(self, *inputs):
        """The slopes of the lines of `backward`, which alpha-CROWN learns: a list of tensors.

        Each is [batch, ...] like the output. The default is that there is nothing to learn.
        """
        return []

    def backward(self, unit, coefficients, inputs, output, slopes=None):
        """Bounds a linear function of the output from below by one of the inputs.

        The default takes the output's interval and does not look at the inputs.

        Args:
            unit: Float.
            coefficients: Float64 tensor [batch, rows, ...], rows of linear functions of the output.
            inputs: List of the inputs' `Interval`s.
            output: The output's `Interval`.
            slopes: List like that of `slopes`, each tensor [batch, 1 or rows, ...]; None: those.

        Returns:
            Pair of a list, for each input a tensor [batch, rows, ...] of coefficients or None, and
            a tensor [batch, rows] of constants. The sum of the linear functions of the inputs and
            of the constant is at most the linear function of the output, for all inputs within
            their bounds.
        """
        return [None] * len(inputs), least(unit, coefficients, output)


def least(unit, coefficients, box):
    """The least value [batch, rows] of linear functions over an `Interval`."""
    lower, upper = (side[:, tf.newaxis] for side in box)
    value = total(tf.maximum(coefficients, 0.0) * lower + tf.minimum(coefficients, 0.0) * upper)
    if not unit:
        return value
    return value - OWN * total(tf.abs(coefficients) * box.largest()[:, tf.newaxis])


def total(tensor):
    """The sum of each row of a tensor [batch, rows, ...]."""
    return tf.reduce_sum(tensor, range(2, tensor.shape.rank))


def gamma(terms, unit):
    """A bound on the relative error of a sum of products, in whatever order it is computed.

    Of n terms it is n u / (1 - n u) (Higham 2002, "Accuracy and Stability of Numerical Algorithms",
    section 3.1); the 0.1 % that is added covers the same computation in float64 too.
    """
    return 1.001 * terms * unit / (1.0 - terms * unit)


def within_float32(interval):
    """The interval; without bounds where float32 may overflow, or where a bound is not known."""
    known = (interval.lower >= -HUGE) & (interval.upper <= HUGE)
    infinite = tf.constant(float("inf"), interval.lower.dtype)
    return Interval(
        tf.where(known, interval.lower, -infinite), tf.where(known, interval.upper, infinite)
    )
