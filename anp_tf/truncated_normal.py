"""The normal distribution truncated to [-20, 0], stable in its far tail."""

import numpy as np
import tensorflow as tf

SPAN = 20.0
# Where the forms for a far tail take over, in standard deviations.
BORDER = 25.0


def mills_ratio(x):
    """(1 - Phi(x)) / phi(x) for x >= 0 in float64, with a gradient that is right for every x.

    Past 25 it is the asymptotic series, whose terms fall to 10^-13 there. The exact form is 0/0 in
    floating point from x = 38; and its derivative x R(x) - 1, about -1/x^2, loses all digits once
    x is 10^8, even where R is a careful erfcx.
    """
    near = tf.minimum(x, BORDER)
    near = tf.math.erfc(near / np.sqrt(2.0)) * tf.math.exp(tf.square(near) / 2.0)
    far = tf.maximum(x, BORDER)
    y = 1.0 / tf.square(far)
    series = 1.0 - y * (1.0 - y * (3.0 - y * (15.0 - y * (105.0 - y * 945.0))))
    return tf.where(x > BORDER, series / far, np.sqrt(np.pi / 2) * near)


class TruncatedNormal:
    """h ~ N(mu, sigma^2) truncated to [-20, 0], in float64, for mu of at least -20.

    All is relative to the density's highest point in the interval: mu itself, or 0 where mu is
    above 0. There the interval is a tail, from a = mu / sigma to c = (20 + mu) / sigma standard
    deviations beyond the mean, whose probability may be e^(-10^18); ratios to the density at 0
    keep it finite, with Mills ratios in place of probabilities.

    Args:
        mu: Float64 tensor, at least -20.
        sigma: Float64 tensor of the same shape, positive.
    """

    def __init__(self, mu, sigma):
        self.mu, self.sigma = mu, sigma
        self.in_tail = mu > 0.0
        inside, outside = tf.minimum(mu, 0.0), tf.maximum(mu, 0.0)
        self.from_low = (SPAN + inside) / sigma
        self.to_high = -inside / sigma
        self.a, self.c = outside / sigma, (SPAN + outside) / sigma
        # phi(c) / phi(a)
        self.fall = tf.math.exp(-SPAN * (SPAN + 2.0 * outside) / (2.0 * tf.square(sigma)))

    def mass(self):
        """The integral of the density relative to its highest point, in units of sigma."""
        ends = [tf.math.erf(x / np.sqrt(2.0)) for x in (self.from_low, self.to_high)]
        inside = np.sqrt(np.pi / 2) * (ends[0] + ends[1])
        in_tail = mills_ratio(self.a) - mills_ratio(self.c) * self.fall
        return tf.where(self.in_tail, in_tail, inside)

    def log_moment(self, power):
        """log E[exp(power * h)].

        exp(power * h) tilts the density to the mean mu + power * sigma^2.
        """
        tilted = TruncatedNormal(self.mu + power * tf.square(self.sigma), self.sigma)
        top, tilted_top = tf.minimum(self.mu, 0.0), tf.minimum(tilted.mu, 0.0)
        gap = (tilted_top - top) * (tilted_top + top - 2.0 * self.mu)
        at_top = power * tilted_top - gap / (2.0 * tf.square(self.sigma))
        return at_top + tf.math.log(tilted.mass()) - tf.math.log(self.mass())

    def kl_uniform(self):
        """Divergence from the uniform distribution on [-20, 0].

        It is log 20 - log(sigma * mass) - D, where D is the mean of the exponent
        ((h - mu)^2 - (top - mu)^2) / (2 sigma^2), top the highest point.
        """
        mass = self.mass()
        ends = [x * tf.math.exp(-tf.square(x) / 2.0) for x in (self.from_low, self.to_high)]
        inside = (1.0 - (ends[0] + ends[1]) / mass) / 2.0
        # In the tail a^2 cancels; the series has it cancelled beforehand.
        a = tf.minimum(self.a, BORDER)
        near = (1.0 + (a - self.c * self.fall) / mass - tf.square(a)) / 2.0
        y = 1.0 / tf.square(tf.maximum(self.a, BORDER))
        far = 1.0 - y * (1.0 - y * (5.0 - y * (37.0 - y * (353.0 - y * 4081.0))))
        in_tail = tf.where(self.a > BORDER, far, near)
        exponent = tf.where(self.in_tail, in_tail, inside)
        return np.log(SPAN) - tf.math.log(self.sigma) - tf.math.log(mass) - exponent

    def quantile(self, uniform):
        """The h with P(H <= h) = uniform, differentiable in mu and sigma.

        u at 0 or 1 is moved inside by one part in 2^24. Differentiating
        Phi(x) = (1 - u) Phi(alpha) + u Phi(beta), with x, alpha and beta the standardised h, -20
        and 0, gives the gradient from the solution alone:

            dh/dmu = 1 - w_alpha - w_beta,  dh/dsigma = x - w_alpha alpha - w_beta beta,
            w_alpha = (1 - u) phi(alpha) / phi(x),  w_beta = u phi(beta) / phi(x).
        """
        tiny = 2.0**-24
        u = tf.clip_by_value(tf.cast(uniform, tf.float64), tiny, 1.0 - tiny)
        mu, sigma = tf.stop_gradient(self.mu), tf.stop_gradient(self.sigma)
        low, high = (tf.math.erfc(x / np.sqrt(2.0)) / 2.0 for x in (self.from_low, -self.to_high))
        inside = mu + sigma * tf.math.ndtri((1.0 - u) * low + u * high)
        h = tf.where(self.in_tail, -sigma * self._tail_quantile(u), inside)
        h = tf.stop_gradient(tf.clip_by_value(h, -SPAN, 0.0))

        twice = 2.0 * tf.square(sigma)
        w_low = (1.0 - u) * tf.math.exp((h + SPAN) * (h - SPAN - 2.0 * mu) / twice)
        w_high = u * tf.math.exp(h * (h - 2.0 * mu) / twice)
        in_mu = 1.0 - w_low - w_high
        in_sigma = (h - mu + w_low * (SPAN + mu) + w_high * mu) / sigma
        return h + in_mu * (self.mu - mu) + in_sigma * (self.sigma - sigma)

    def _tail_quantile(self, u):
        """s with Q(a + s) / Q(a) = u + (1 - u) Q(c) / Q(a), where Q is 1 - Phi.

        By Newton's method on the logarithm. It is concave in s, and the first guess, without the
        Mills ratios, lies beyond the root: from there each step comes closer.
        """
        mills = mills_ratio(self.a)
        log_share = tf.math.log(u + (1.0 - u) * mills_ratio(self.c) / mills * self.fall)
        s = -2.0 * log_share / (self.a + tf.math.sqrt(tf.square(self.a) - 2.0 * log_share))
        for _ in range(5):
            ahead = mills_ratio(self.a + s)
            error = tf.math.log(ahead / mills) - s * (self.a + s / 2.0) - log_share
            s += error * ahead
        return s
