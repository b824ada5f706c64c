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
        node: `anp_tf.models.graph.Node`.

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
            with _leaving_no_trace(layer):
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
