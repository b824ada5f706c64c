"""Layers that are made of other layers, as the calls of these."""

import contextlib
import inspect

import keras
import numpy as np

_WHOLE = set()


def keep_whole(layer_class):
    """Has layers of a class stay one call, whatever they are made of."""
    _WHOLE.add(layer_class)


def inner_models(node):
    """Functional models of the calls in a layer's own `call`.

    Only what shows all that the layer does is taken: its class is of neither Keras nor this
    package, all its weights are those of layers that it calls, and `call` does with symbolic
    tensors what it does with others.

    Args:
        node: `anp_tf.models.node.Node`.

    Returns:
        List of `keras.Model`, whose inputs are like those of the node: one, or if `call` has an
        argument `training` one for True and one for False; empty if the layer is one call.
    """
    layer = node.layer
    if not _may_be_opened(layer) or any(_differs(x, layer) for x in node.inputs):
        return []
    given = [keras.Input(batch_shape=x.shape, dtype=x.dtype) for x in node.inputs]
    args, kwargs = node.arguments(given)
    takes = "training" in inspect.signature(layer.call).parameters
    modes = [{"training": mode} for mode in (True, False)] if takes else [{}]
    models = []
    for mode in modes:
        try:
            # Stateless, so that a layer's own variables stay as they are.
            with keras.StatelessScope(), _leaving_no_trace(layer):
                outputs = layer.call(*args, **{**kwargs, **mode})
                model = keras.Model(given, outputs)
                shows_all = _shows_all(model, layer, outputs, node.outputs)
        except Exception:  # whatever a user's code may raise that does not expect such tensors
            return []
        if not shows_all:
            return []
        models.append(model)
    return models


def _may_be_opened(layer):
    if not isinstance(layer, keras.Layer) or type(layer) in _WHOLE:
        return False
    if type(layer).__module__.split(".")[0] in ("keras", "anp_tf"):
        return False
    return layer.activity_regularizer is None and len(list(layer._flatten_layers())) > 1


def _differs(tensor, layer):
    """Whether a layer casts a tensor that it is called with."""
    return "float" in tensor.dtype and tensor.dtype != layer.compute_dtype


@contextlib.contextmanager
def _leaving_no_trace(layer):
    """The calls within the block are not recorded in the layers inside."""
    counts = {inner: len(inner._inbound_nodes) for inner in layer._flatten_layers()}
    try:
        yield
    finally:
        for inner, count in counts.items():
            del inner._inbound_nodes[count:]


def _shows_all(model, layer, outputs, expected):
    """Whether the calls read a layer's weights by layers alone, and return what the layer does."""
    outputs = keras.tree.flatten(outputs)
    if [x.shape for x in outputs] != [x.shape for x in expected]:
        return False
    for nodes in model._nodes_by_depth.values():
        arguments = [(node.arguments.args, node.arguments.kwargs) for node in nodes]
        if any(_may_be_a_weight(leaf) for leaf in keras.tree.flatten(arguments)):
            return False
    return {id(w) for w in layer.weights} <= {id(w) for w in model.weights}


def _may_be_a_weight(leaf):
    """Whether an argument is a weight, or may have been computed of one."""
    if isinstance(leaf, keras.KerasTensor | np.ndarray):
        return False
    return isinstance(leaf, keras.Variable) or "float" in str(getattr(leaf, "dtype", ""))


def same_calls(graph, other):
    """Whether two graphs make the same calls of the same tensors, whatever `training` is in them.

    Args:
        graph, other: `anp_tf.models.graph.Graph`s.
    """
    return _described(graph) == _described(other)


def _described(graph):
    """All that a graph computes, without the names of its operations and tensors."""
    places = {id(x): ("input", i) for i, x in enumerate(keras.tree.flatten(graph.input))}

    def described(structure):
        return [places.get(id(leaf)) or _text(leaf) for leaf in keras.tree.flatten(structure)]

    calls = []
    for index, node in enumerate(graph.nodes):
        kwargs = {name: value for name, value in node.kwargs.items() if name != "training"}
        layer = node.layer
        if not isinstance(layer, keras.Layer):  # an operation, another one in each graph
            own = {k: _text(v) for k, v in vars(layer).items() if k != "name" and k[0] != "_"}
            layer = (type(layer), own)
        calls.append((layer, described(node.args), sorted(kwargs), described(kwargs)))
        places |= {id(x): (index, i) for i, x in enumerate(node.outputs)}
    return calls, described(graph.output)


def _text(value):
    """The whole of a value as text, or as bytes; of an array the numbers that a text leaves out."""
    if hasattr(value, "shape"):
        value = np.asarray(value)
        return value.shape, value.dtype.str, value.tobytes()
    return repr(value)
