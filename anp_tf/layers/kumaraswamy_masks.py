"""The masks of several layers with Kumaraswamy posteriors, computed together.

The numbers of all layers are concatenated, as TFP makes hundreds of operations for each call.
"""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from anp_tf.distributions import kumaraswamy_logits, relaxed_bernoulli

tfd = tfp.distributions
# Signatures of functions that are traced once for all layers, whatever their units.
_NUMBERS = tf.TensorSpec([None], tf.float32)
_EXAMPLES = tf.TensorSpec([None, None], tf.float32)


def concentrations(layers):
    """The parameters (a, b) of the posteriors of all units, two positive tensors [all units]."""
    a = tf.concat([tf.convert_to_tensor(layer.a_u) for layer in layers], 0)
    b = tf.concat([tf.convert_to_tensor(layer.b_u) for layer in layers], 0)
    a = tf.math.softplus(tf.maximum(a, -10.0))
    return a, tf.math.softplus(tf.clip_by_value(b, -10.0, 50.0))


def keep_probabilities(layers):
    """E[pi] of each unit: a list of tensors [units]."""
    return _parts(_means(*concentrations(layers)), layers)


def divergences(layers):
    """KL(q || p), summed over the units: a list of scalars."""
    alpha = _of_units(layers, "alpha")
    return [tf.reduce_sum(kl) for kl in _parts(_kl(*concentrations(layers), alpha), layers)]


def samples(layers, batch_size, seeds):
    """Masks for training: a list of tensors [batch_size, units].

    Args:
        layers: List of `BetaBernoulliDropout`.
        batch_size: Integer tensor.
        seeds: List of integer tensors [2], stateless seeds: what a layer draws depends on its own.
    """
    noise, of_examples = [], []
    for layer, seed in zip(layers, seeds, strict=True):
        of_pi, of_z = tf.unstack(tfp.random.split_seed(tf.cast(seed, tf.int32), n=2))
        noise.append(tf.random.stateless_uniform([layer.units], of_pi))
        of_examples.append(tf.random.stateless_uniform([batch_size, layer.units], of_z))
    temperature = _of_units(layers, "temperature")
    uniforms = tf.concat(noise, 0), tf.concat(of_examples, 1)
    masks = _masks(*concentrations(layers), temperature, *uniforms)
    return _parts(masks, layers)


def _of_units(layers, name):
    values = [getattr(layer, name) for layer in layers]
    return np.repeat(values, [layer.units for layer in layers]).astype(np.float32)


def _parts(values, layers):
    units = [layer.units for layer in layers]
    values = tf.ensure_shape(values, [*[None] * (values.shape.rank - 1), sum(units)])
    return tf.split(values, units, axis=-1)


@tf.function(input_signature=[_NUMBERS, _NUMBERS], autograph=False)
def _means(a, b):
    return tfd.Kumaraswamy(a, b).mean()


@tf.function(input_signature=[_NUMBERS, _NUMBERS, _NUMBERS], autograph=False)
def _kl(a, b, alpha):
    return tfd.kl_divergence(tfd.Kumaraswamy(a, b), tfd.Beta(alpha, 1.0))


@tf.function(input_signature=[*[_NUMBERS] * 4, _EXAMPLES], autograph=False)
def _masks(a, b, temperature, uniform, of_examples):
    return relaxed_bernoulli(of_examples, kumaraswamy_logits(uniform, a, b), temperature)
