"""The Kumaraswamy and Beta posteriors of the keep probabilities, safe in float32.

TFP's distributions give the means and the densities; what is added here is the divergence that
TFP lacks, and sampling on the logit scale, where a probability next to 0 or 1 keeps its precision
and its gradient.
"""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

tfd = tfp.distributions

# A logit of 30 is a probability that differs from 0 or 1 by 1e-13: nothing is lost by stopping
# there, and everything that follows stays finite.
MAX_LOGIT = 30.0


@tfd.RegisterKL(tfd.Kumaraswamy, tfd.Beta)
def kl_kumaraswamy_beta(q, p, name=None):
    """KL(q || p) of a Kumaraswamy `q` from a Beta `p` whose second concentration is 1.

    With q = Kumaraswamy(a, b), p = Beta(alpha, 1), Euler's constant g and the digamma function
    psi, KL = (1 - alpha/a) (-g - psi(b) - 1/b) + log(a b / alpha) - (b - 1)/b
    (Nalisnick & Smyth 2017; their series vanishes at concentration0 = 1).
    psi(b) + 1/b is computed as psi(b + 1), which has no cancellation at small b.

    Args:
        q: `tfd.Kumaraswamy`, parameters of any shape.
        p: `tfd.Beta`; its `concentration0` must be 1.
        name: Optional name of the operation.

    Returns:
        Tensor of the broadcast shape of the parameters, in nats, at least 0 up to rounding.

    Raises:
        ValueError: if `p.concentration0` is known and is not 1.
    """
    beta = tf.get_static_value(tf.convert_to_tensor(p.concentration0))
    if beta is not None and not np.all(beta == 1.0):
        raise ValueError(
            "KL(Kumaraswamy || Beta) is known in closed form for a Beta with concentration0 = 1 "
            f"only. Received: p.concentration0={beta}"
        )
    with tf.name_scope(name or "kl_kumaraswamy_beta"):
        a, b, alpha = q.concentration1, q.concentration0, p.concentration1
        harmonic = np.euler_gamma + tf.math.digamma(b + 1.0)
        log_ratio = tf.math.log(a) + tf.math.log(b) - tf.math.log(alpha)
        return (alpha / a - 1.0) * harmonic + log_ratio - 1.0 + 1.0 / b


def log1mexp(x):
    """log(1 - exp(x)) for x < 0, without loss of precision near 0 (Mächler 2012)."""
    near_zero = x > -np.log(2.0)
    return tf.where(
        near_zero,
        tf.math.log(-tf.math.expm1(tf.where(near_zero, x, -1.0))),
        tf.math.log1p(-tf.math.exp(tf.where(near_zero, -1.0, x))),
    )


def kumaraswamy_logits(uniform, a, b):
    """Logits of Kumaraswamy(a, b) draws, by the inverse of the distribution function.

    pi = (1 - u^(1/b))^(1/a), computed through log pi; u at 0 or 1 is moved inside by one part in
    2^24, the spacing of float32.

    Args:
        uniform: Tensor of numbers in [0, 1], broadcastable to the parameters.
        a: Tensor, first concentration, positive.
        b: Tensor, second concentration, positive.

    Returns:
        Tensor log(pi / (1 - pi)), within ±`MAX_LOGIT`, differentiable in `a` and `b`.
    """
    tiny = np.float32(2.0**-24)
    uniform = tf.clip_by_value(uniform, tiny, 1.0 - tiny)
    log_complement = tf.minimum(tf.math.log(uniform) / b, -tiny)
    log_pi = log1mexp(log_complement) / a
    # Where pi rounds to 1 the logit is the bound itself; the inner minimum keeps log1mexp's
    # argument, and so its gradient, away from 0.
    logits = log_pi - log1mexp(tf.minimum(log_pi, -np.float32(np.exp(-MAX_LOGIT))))
    return tf.clip_by_value(logits, -MAX_LOGIT, MAX_LOGIT)


def relaxed_bernoulli(uniform, logits, temperature):
    """Draws of a relaxed Bernoulli, sigmoid((logits + logit(u)) / temperature).

    TFP 0.25 draws through a sigmoid that evaluates exp(x) for every x and selects afterwards; past
    x = 88 the exponential overflows in float32 and the gradient is NaN. At temperature 0.1 that is
    a logit plus noise of 8.8: one draw in 7,000 at probability 1/2. Here it is TensorFlow's own.

    Args:
        uniform: Tensor of numbers in [0, 1); 0 is moved inside.
        logits: Tensor log(p / (1 - p)) that broadcasts with it.
        temperature: Positive number, or a tensor that broadcasts with it.

    Returns:
        Tensor of numbers in [0, 1], differentiable in `logits`.
    """
    uniform = tf.maximum(uniform, np.finfo(np.float32).tiny)
    noise = tf.math.log(uniform) - tf.math.log1p(-uniform)
    return tf.math.sigmoid((logits + noise) / temperature)


def beta_logits(a, b, seed):
    """Logits of Beta(a, b) draws with pathwise gradients.

    A Beta draw is G_a / (G_a + G_b) with Gamma draws G; on the logit scale it is the difference of
    their logarithms. log G_a is drawn as log G_(a+1) + log(u) / a (Marsaglia & Tsang 2000):
    TFP's implicit gradients then act on a shape above 1 only, since they are NaN near 0.

    Args:
        a: Tensor, first concentration, positive.
        b: Tensor of the same shape, second concentration, positive.
        seed: Integer tensor of shape [2], a stateless seed.

    Returns:
        Tensor log(pi / (1 - pi)) of the shape of `a`, within ±`MAX_LOGIT`.
    """
    gammas = []
    for shape, shape_seed in zip((a, b), tf.unstack(tfp.random.split_seed(seed, n=2)), strict=True):
        seed_gamma, seed_uniform = tf.unstack(tfp.random.split_seed(shape_seed, n=2))
        uniform = tf.random.stateless_uniform(tf.shape(shape), seed_uniform, minval=2.0**-24)
        log_gamma = tfd.ExpGamma(shape + 1.0, rate=1.0).sample(seed=seed_gamma)
        gammas.append(log_gamma + tf.math.log(uniform) / shape)
    return tf.clip_by_value(gammas[0] - gammas[1], -MAX_LOGIT, MAX_LOGIT)
