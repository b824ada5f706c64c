"""Attacks on networks whose first operations have no gradient."""

import itertools

import keras
import numpy as np
import tensorflow as tf

from anp_tf.models.graph import graph_of
from anp_tf.models.inference_form import in_inference

PROBES = 32  # random images that a line is fitted to
LEAST_CORRELATION = 0.2


def straight_through(network, pixels=None):
    """A network whose gradient passes operations that have none before the first weights.

    Rounding, quantisation or JPEG compression of the pixels make attacks by gradients look weak. In
    the backward pass a multiple of the identity takes the place of such operations, the line that
    fits best what they make of random images: backward pass differentiable approximation. What else
    comes before the first weights, such as a rescaling or a permutation, keeps its own gradient.
    The forward pass is the network's own.

        attack(straight_through(network), x, y)

    Args:
        network: Functional or Sequential `keras.Model` of one input and one output, whose first
            layers form a chain. Operations without a gradient must keep the number of values, and
            their places.
        pixels: Pair, the least and the largest pixel that it takes; None: (0, 1), or (0, 255) of
            integers.

    Returns:
        Function `(pixels, training=False) -> logits`, in inference mode.

    Raises:
        ValueError: if the network is another, or has no such operation before its first weights.

    Reference:
        - Athalye et al. 2018, "Obfuscated Gradients Give a False Sense of Security",
          https://arxiv.org/abs/1802.00420, section 4.1
    """
    if not isinstance(network, keras.Model):
        raise ValueError(
            "A straight-through gradient needs a Keras model, whose layers it can reach. "
            f"Received: network of type {type(network).__name__}"
        )
    graph = graph_of(network)
    if len(keras.tree.flatten(graph.input)) != 1 or len(keras.tree.flatten(graph.output)) != 1:
        raise ValueError("A straight-through gradient needs a network of one input and one output.")
    (taken,) = keras.tree.flatten(graph.input)
    firsts, slopes = _gaps(_chain(graph, taken), taken, pixels)

    def network_of(x, training=False):
        x = tf.convert_to_tensor(x)
        start = tf.cast(x, taken.dtype)  # which has no gradient where these are integers
        entered = []

        def call(node, values):
            if id(node) in firsts:
                entered.append(x if values[0] is start else values[0])
            outputs = _called(node, values)
            if id(node) not in slopes:
                return outputs
            (features,) = keras.tree.flatten(outputs)
            return _passed(entered[-1], tf.stop_gradient(features), slopes[id(node)])

        (logits,) = keras.tree.flatten(graph.compute([start], call))
        return logits

    return network_of


def _called(node, values):
    args, kwargs = node.arguments(values)
    return node.layer(*args, **{**kwargs, **in_inference(node.layer)})


@tf.custom_gradient
def _passed(x, features, slope):
    """The features, whose gradient in `x` is the slope."""

    def backward(gradient):
        gradient = tf.cast(tf.reshape(gradient, tf.shape(x)), x.dtype)
        return gradient * tf.cast(slope, x.dtype), None, None

    return tf.identity(features), backward


def _chain(graph, pixels):
    """The nodes from the pixels on that have one reader, one input, one output and no weights."""
    readers, chain, last = graph.readers(), [], pixels
    while len(readers[id(last)]) == 1:
        (node,) = readers[id(last)]
        has_weights = getattr(node.layer, "weights", [])
        if has_weights or len(node.inputs) != 1 or len(node.outputs) != 1:
            break
        chain.append(node)
        (last,) = node.outputs
    return chain


def _gaps(chain, taken, pixels):
    """Where nodes in a row have no gradient.

    Returns:
        The ids of their first nodes, a list, and a dict from those of their last to slopes.
    """
    if None in taken.shape[1:]:
        raise ValueError(
            "A straight-through gradient needs a network whose images have a known size. "
            f"Received: images {tuple(taken.shape[1:])}"
        )
    low, high = pixels or ((0, 255) if tf.as_dtype(taken.dtype).is_integer else (0, 1))
    shape = (PROBES, *taken.shape[1:])
    x = tf.constant(np.random.default_rng(0).uniform(low, high, shape), tf.float32)
    values, have_gradients = [tf.cast(x, taken.dtype)], []
    for node in chain:
        value, has_gradient = _probed(node, values[-1])
        values.append(value)
        have_gradients.append(has_gradient)
    values[0] = x  # integers are made of them
    firsts, slopes = [], {}
    for has_gradient, group in itertools.groupby(range(len(chain)), have_gradients.__getitem__):
        first, *_, last = [*group] * 2
        if not has_gradient:
            firsts.append(id(chain[first]))
            slopes[id(chain[last])] = _slope(values[first], values[last + 1])
    if not slopes:
        raise ValueError(
            "A straight-through gradient needs a network with an operation that has no gradient, "
            "in the chain before its first weights. Received: a network without such"
        )
    return firsts, slopes


def _probed(node, value):
    """What the node makes of a value, and whether it has a gradient there."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        if value.dtype.is_floating:
            tape.watch(value)
        (result,) = keras.tree.flatten(_called(node, [value]))
        # In a direction of its own, as the plain sum may not change.
        direction = tf.random.stateless_normal(tf.shape(result), seed=[0, 0])
        total = tf.reduce_sum(tf.cast(result, tf.float32) * direction)
    try:
        gradient = tape.gradient(total, value)
        return result, gradient is not None and bool(tf.reduce_any(gradient != 0))
    except LookupError:  # of operations that TensorFlow knows no gradient of
        return result, False


def _slope(x, features):
    """The slope of the line through what operations make of values."""
    if x.shape.num_elements() != features.shape.num_elements():
        raise ValueError(
            "A straight-through gradient needs operations that keep the number of values where "
            f"they have no gradient. Received: {x.shape[1:]} there turns into {features.shape[1:]}"
        )
    x, features = (np.asarray(v, np.float64).ravel() for v in (x, features))
    x, features = x - x.mean(), features - features.mean()
    product, lengths = x @ features, np.linalg.norm(x) * np.linalg.norm(features)
    if not abs(product) > LEAST_CORRELATION * lengths:
        raise ValueError(
            "A straight-through gradient needs operations that keep the places of the values where "
            "they have no gradient, as rounding does. Received: values that do not depend on those "
            "at the same places"
        )
    return product / (x @ x)
