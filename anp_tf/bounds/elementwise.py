"""The rules of activations, which work on each number by itself, and of products."""

import tensorflow as tf

from anp_tf.bounds.rule import Interval, Rule, total

POINTS = 32  # parts of an interval at whose ends a bent function is compared with a line
NARROW = 1e-9  # of an interval this narrow the slope would be rounding


class Elementwise(Rule):
    """A function of each number by itself.

    Its bounds are its values at the ends of the interval, and at the extrema between. Its lines
    have any slope s: what is left of f(x) - s x is bounded by its values at the ends and the kinks
    between which f is linear. A smooth f is compared at more points; between two of them, h apart,
    f(x) - s x is at most curvature h^2 / 8 beyond its values there.

    Rounding: the layer is taken to err by at most `ulps` unit roundoffs of 1 + |x| + |f(x)|. For
    functions of `keras.activations` a test compares the float32 functions with float64 ones; it is
    no proof of what a library for another device computes.

    Args:
        function: Function of a tensor to one of the same shape and dtype.
        extrema: Sequence of the numbers where f changes between rising and falling.
        kinks: Sequence of the numbers where the slope of f jumps.
        curvature: Float, bound on |f''| between kinks; 0: f is linear there. None: there are no
            lines, such as for a function that jumps.
        ulps: Float, at least 1; or 0, if the layer makes no error.
    """

    def __init__(self, function, extrema=(), kinks=(), curvature=0.0, ulps=16):
        self._function = function
        self._extrema = extrema
        self._kinks = kinks
        self._curvature = curvature
        self._ulps = ulps

    def interval(self, unit, x):
        points = [*x, *(_within(at, x) for at in self._extrema)]
        values = [self._function(point) for point in points]
        lower, upper = (tf.reduce_min(values, 0), tf.reduce_max(values, 0))
        if unit and self._ulps:
            box = Interval(lower, upper)
            error = self._ulps * unit * (1.0 + x.largest() + box.largest())
            lower, upper = lower - error, upper + error
        return Interval(lower, upper)

    def slopes(self, x):
        if self._curvature is None:
            return []
        return [self._chord(x)] * 2

    def _chord(self, x):
        width = x.upper - x.lower
        rise = self._function(x.upper) - self._function(x.lower)
        narrow = width < NARROW
        return tf.where(
            narrow, tf.zeros_like(rise), rise / tf.where(narrow, tf.ones_like(width), width)
        )

    def backward(self, unit, coefficients, inputs, output, slopes=None):
        if self._curvature is None:
            return super().backward(unit, coefficients, inputs, output)
        (x,) = inputs
        if slopes is None:
            slopes = [slope[:, tf.newaxis] for slope in self.slopes(x)]
        x = Interval(*(side[:, tf.newaxis] for side in x))
        below, above = slopes
        positive, negative = tf.maximum(coefficients, 0.0), tf.minimum(coefficients, 0.0)
        lowest, highest = self._offsets(x, below, above)
        largest = x.largest()
        error = (
            max(self._ulps, 1)
            * unit
            * (
                1.0
                + output.largest()[:, tf.newaxis]
                + (1.0 + tf.abs(below) + tf.abs(above)) * largest
            )
        )
        constant = positive * lowest + negative * highest - tf.abs(coefficients) * error
        return [positive * below + negative * above], total(constant)

    def _offsets(self, x, below, above):
        """The least of f - below x, and the greatest of f - above x, on an interval."""
        points = list(x)
        if self._curvature:
            step = (x.upper - x.lower) / POINTS
            points[1:1] = [x.lower + step * index for index in range(1, POINTS)]
        points += [_within(at, x) for at in self._kinks]
        lowest = highest = None
        for point in points:
            value = self._function(point)
            low, high = value - below * point, value - above * point
            lowest = low if lowest is None else tf.minimum(lowest, low)
            highest = high if highest is None else tf.maximum(highest, high)
        if self._curvature:
            curvature = self._curvature
            bent = (curvature(*x) if callable(curvature) else curvature) * tf.square(step) / 8
            lowest, highest = lowest - bent, highest + bent
        return lowest, highest


def _within(number, x):
    """The number, or the end of an interval that is next to it."""
    return tf.maximum(tf.minimum(tf.cast(number, x.lower.dtype), x.upper), x.lower)


class Bent(Elementwise):
    """A function that is linear but for a kink at 0: ReLU, leaky and parametric.

    The lower line has the slope of the longer side of the interval, which leaves the smaller area;
    alpha-CROWN learns one between.

    Args:
        slope: Function `(dtype)` to the slope below 0, a number or a tensor that broadcasts.
        ulps: As for `Elementwise`.
    """

    def __init__(self, slope, ulps=0):
        def function(x):
            return tf.nn.relu(x) - slope(x.dtype) * tf.nn.relu(-x)

        super().__init__(function, extrema=(0.0,), kinks=(0.0,), ulps=ulps)
        self._slope = slope

    def slopes(self, x):
        left = tf.cast(self._slope(x.lower.dtype), x.lower.dtype) * tf.ones_like(x.lower)
        return [tf.where(x.upper > -x.lower, tf.ones_like(left), left)]

    def backward(self, unit, coefficients, inputs, output, slopes=None):
        (x,) = inputs
        (start,) = self.slopes(x)
        lower, upper, start, chord = (
            tensor[:, tf.newaxis] for tensor in (*x, start, self._chord(x))
        )
        most = tf.maximum(tf.abs(start), 1.0)
        below = start if slopes is None else tf.clip_by_value(slopes[0], -most, most)
        below = tf.where((lower < 0) & (upper > 0), below, start)
        return super().backward(unit, coefficients, inputs, output, [below, chord])


class Product(Rule):
    """The product of two tensors of one shape, or of shapes that broadcast.

    Linear bounds are those of McCormick 1976: (x - l) (y - l') >= 0 and its like.
    """

    def interval(self, unit, x, y):
        products = [a * b for a in x for b in y]
        lower, upper = tf.reduce_min(products, 0), tf.reduce_max(products, 0)
        if unit:
            error = 2 * unit * Interval(lower, upper).largest() + unit**2
            lower, upper = lower - error, upper + error
        return Interval(lower, upper)

    def backward(self, unit, coefficients, inputs, output, slopes=None):
        x, y = (Interval(*(side[:, tf.newaxis] for side in box)) for box in inputs)
        positive, negative = tf.maximum(coefficients, 0.0), tf.minimum(coefficients, 0.0)
        of_x = positive * y.lower + negative * y.upper
        of_y = (positive + negative) * x.lower
        constant = -(positive * x.lower * y.lower + negative * x.lower * y.upper)
        largest = x.largest() * y.largest()
        constant -= tf.abs(coefficients) * (8 * unit * largest + unit**2)
        sizes = [box.lower.shape[1:] for box in inputs]
        both = [_summed(of_x, sizes[0]), _summed(of_y, sizes[1])]
        return both, total(constant + tf.zeros_like(coefficients))


def _summed(coefficients, shape):
    """Coefficients of what was repeated to their shape [batch, rows, ...]."""
    axes = [
        axis + 2
        for axis, size in enumerate(shape)
        if size == 1 and coefficients.shape[axis + 2] != 1
    ]
    return tf.reduce_sum(coefficients, axes, keepdims=True) if axes else coefficients
