"""What training and exports expect of a network: one image in, a logit per class out."""

import functools

import keras
import numpy as np
import tensorflow as tf

from anp_tf.models.elementwise import elementwise
from anp_tf.models.graph import FUNCTIONAL, Graph, graph_of

_HANDING_ON = (
    keras.layers.Dropout,
    keras.layers.Flatten,
    keras.layers.Identity,
    keras.layers.Reshape,
)


def check_classifier(network, known_size=False):
    """Raises a ValueError unless a network is one from images to logits.

    Args:
        network: Built `keras.Model`.
        known_size: Boolean, whether the size of the images must be known.
    """
    inputs, outputs = (getattr(network, name, None) or [] for name in ("inputs", "outputs"))
    if not inputs or not outputs:
        raise ValueError(
            f"Argument `network` must be {FUNCTIONAL}. Received: network={network!r} of type "
            f"{type(network).__name__}"
        )
    is_float = len(inputs) == 1 and tf.as_dtype(inputs[0].dtype).is_floating
    named = isinstance(getattr(network, "output", None), dict)
    if not is_float or named or len(outputs) != 1 or len(outputs[0].shape) != 2:
        raise ValueError(
            "Argument `network` must have one float input [batch, ...], the pixels, and one output "
            f"[batch, classes], the logits. Received: inputs {_described(inputs)}; outputs "
            f"{_described(outputs)}{' in a dict' if named else ''}"
        )
    shape = inputs[0].shape[1:]
    if known_size and None in shape:
        raise ValueError(
            "Argument `network` must know the size of its images: build it with an input of a "
            f"fixed shape. Received: the input {_described(inputs)}"
        )
    classes = outputs[0].shape[-1]
    if classes is None or classes < 2:
        raise ValueError(
            "Argument `network` must return a logit for each of at least 2 classes. "
            f"Received: the output {_described(outputs)}"
        )
    last, squashing = _last_activation(network)
    if squashing:
        raise ValueError(
            f"Argument `network` must return logits, but its last layer `{last.name}` ends in "
            f"{squashing}: take it away."
        )


def _described(tensors):
    shapes = (f"`{x.name}` {x.dtype} {list(x.shape)}".replace("None", "?") for x in tensors)
    return ", ".join(shapes) or "none"


def _last_activation(network):
    """The layer that makes the output and the name of what squashes it, None if nothing does."""
    try:
        graph = graph_of(network)
    except ValueError:  # not a functional model, whose layers are not seen
        return None, None
    makers = {id(tensor): node for node in graph.nodes for tensor in node.outputs}
    node = makers.get(id(keras.tree.flatten(graph.output)[0]))
    while node is not None:
        squashing = _squashing(node.layer, _ending(graph, node))
        if squashing or not _hands_on(node.layer):
            return node.layer, squashing
        node = makers.get(id(node.inputs[0]))
    return None, None


def _hands_on(layer):
    if isinstance(layer, keras.layers.Activation | keras.layers.Lambda):
        found = elementwise(layer)
        return found is not None and found.is_linear
    return isinstance(layer, _HANDING_ON)


def _ending(graph, node):
    """The function that a call ends in; of an operation all of them after the last layer."""
    if isinstance(node.layer, keras.layers.Lambda):
        return functools.partial(node.layer.function, **node.layer.arguments)
    if isinstance(node.layer, keras.Layer):
        return getattr(node.layer, "activation", None)
    layers = [isinstance(call.layer, keras.Layer) for call in graph.nodes]
    begin = len(layers) - [*layers[::-1], True].index(True)
    first = graph.nodes[begin].inputs[0]
    tail = Graph(graph.nodes[begin:], first, node.outputs[0])

    def call(node, values):
        args, kwargs = node.arguments(values)
        return node.layer(*args, **kwargs)

    return lambda x: tail.compute([x], call)


def _squashing(layer, function):
    """ "softmax" or "sigmoid", if that is what a layer ends in, which is a function."""
    if isinstance(layer, keras.layers.Softmax) or type(layer).__name__ == "Softmax":
        return "softmax"
    if type(layer).__name__ == "Sigmoid":
        return "sigmoid"
    if function is None or isinstance(function, keras.Layer):
        return "softmax" if isinstance(function, keras.layers.Softmax) else None
    found = elementwise(function)
    if found is not None:
        return "sigmoid" if found.is_gate else None
    numbers = np.array([[-2.0, 0.0, 1.0, 3.0]], np.float32)
    try:
        with tf.init_scope():
            values = np.asarray(function(tf.constant(numbers)))
    except Exception:
        return None
    sums_to_1 = values.shape == numbers.shape and np.allclose(values.sum(-1), 1, atol=1e-4)
    return "softmax" if sums_to_1 and values.min() >= 0 else None
