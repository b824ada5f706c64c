"""Attacks on networks whose first operations have no useful gradient."""

import keras
import tensorflow as tf

from anp_tf.models.graph import graph_of
from anp_tf.models.inference_form import in_inference


def straight_through(network):
    """A network whose gradient passes what comes before the first layer with weights unchanged.

    Rounding, quantisation or JPEG compression of the pixels have a gradient of 0, or none at all,
    which makes attacks by gradients look weak. In the backward pass the identity takes the place of
    all that comes before the first layer with weights: backward pass differentiable approximation.
    The forward pass is the network's own.

        attack(straight_through(network), x, y)

    Args:
        network: Functional or Sequential `keras.Model` of one input and one output, whose first
            layers form a chain and keep the number of values.

    Returns:
        Function `(pixels, training=False) -> logits`, in inference mode.

    Raises:
        ValueError: if the network is another, or changes the number of values before its first
            weights.

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
    (pixels,) = keras.tree.flatten(graph.input)
    readers, last = graph.readers(), pixels
    while (node := _chained(readers[id(last)])) is not None:
        (last,) = node.outputs
    sizes = [tf.TensorShape(tensor.shape[1:]).num_elements() for tensor in (pixels, last)]
    if None in sizes or sizes[0] != sizes[1]:
        raise ValueError(
            "A straight-through gradient needs a network that keeps the number of values before "
            f"its first weights. Received: {pixels.shape} there turns into {last.shape}"
        )

    def network_of(x, training=False):
        x = tf.convert_to_tensor(x)
        given = tf.cast(x, pixels.dtype)  # which has no gradient where these are integers

        def call(node, values):
            args, kwargs = node.arguments(values)
            outputs = node.layer(*args, **{**kwargs, **in_inference(node.layer)})
            if node.outputs[0] is not last:
                return outputs
            (features,) = keras.tree.flatten(outputs)
            return _passed(x, features)

        start = given if last is pixels else tf.stop_gradient(given)
        (logits,) = keras.tree.flatten(graph.compute([start], call))
        return logits

    return network_of


@tf.custom_gradient
def _passed(x, features):
    """The features, whose gradient is that of `x`."""

    def backward(gradient):
        gradient = tf.cast(tf.reshape(gradient, tf.shape(x)), x.dtype)
        return gradient, tf.zeros_like(features)

    return tf.identity(features), backward


def _chained(readers):
    """The only reader of a tensor, if it has no weights and one input and output; or None."""
    node = readers[0] if len(readers) == 1 else None
    if node is None or len(node.inputs) != 1 or len(node.outputs) != 1:
        return None
    return None if getattr(node.layer, "weights", []) else node
