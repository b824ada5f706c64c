"""Convolutions of groups by other layers, for what runs no groups."""

import collections

import keras
import numpy as np

from anp_tf.models.copies import copy_layer, copy_state
from anp_tf.models.graph import Names, graph_of

_CONVOLUTIONS = keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D
_DEPTHWISE = {
    keras.layers.Conv1D: keras.layers.DepthwiseConv1D,
    keras.layers.Conv2D: keras.layers.DepthwiseConv2D,
}


def without_groups(model):
    """A network that computes the same without convolutions of groups.

    Those with a group for each input become depthwise ones; others become a convolution for each
    group. Keras compiles them by XLA on a CPU, in calls that other runtimes do not know.

    Args:
        model: Built `keras.Model`; it is not changed.

    Returns:
        A functional `keras.Model`; `model` itself if there are none, or if it is not functional.
    """
    try:
        graph = graph_of(model)
    except ValueError:
        return model
    if not any(_is_grouped(node.layer) for node in graph.nodes):
        return model
    names, copies = Names(graph), collections.defaultdict(dict)

    def call(node, tensors):
        layer = node.layer
        made = copies[layer] if isinstance(layer, keras.Layer) else {}

        def once(key, make, weights=None):
            """Makes a function that calls a layer, which is made once, with these weights."""

            def called(*args, **kwargs):
                fresh = key not in made
                if fresh:
                    made[key] = make()
                outputs = made[key](*args, **kwargs)
                if fresh and weights is None:
                    copy_state(layer, made[key])
                elif fresh:
                    made[key].set_weights(weights)
                return outputs

            return called

        if not made:
            made["name"] = names(node)
        name = made["name"]
        if not _is_grouped(layer):
            args, kwargs = node.arguments(tensors)
            return once("copy", lambda: copy_layer(layer, name))(*args, **kwargs)
        kernel, *bias = layer.get_weights()
        if _is_depthwise(layer, kernel):
            kernel = kernel.reshape(*kernel.shape[:-2], layer.groups, -1)
            return once("copy", lambda: _depthwise(layer, name), [kernel, *bias])(*tensors)
        axis = -1 if layer.data_format == "channels_last" else 1
        outputs, parts = [], keras.ops.split(tensors[0], layer.groups, axis)
        names.of_added(parts[0])
        for i, part in enumerate(parts):
            weights = [np.split(array, layer.groups, -1)[i] for array in (kernel, *bias)]
            convolve = once(i, lambda i=i: _of_group(layer, names.new(f"{name}_{i}")), weights)
            outputs.append(convolve(part))
        joined = names.of_added(keras.ops.concatenate(outputs, axis))
        return names.of_added(keras.layers.Activation(layer.activation)(joined))

    return graph.rebuild(call, name=model.name)


def _is_grouped(layer):
    return type(layer) in _CONVOLUTIONS and layer.groups > 1


def _is_depthwise(layer, kernel):
    return (
        type(layer) in _DEPTHWISE
        and layer.padding != "causal"
        and kernel.shape[-2] == 1
        and layer.data_format == "channels_last"
        and len(set(layer.strides)) == 1
        and (layer.strides[0] == 1 or set(layer.dilation_rate) == {1})
    )


def _depthwise(layer, name):
    return _DEPTHWISE[type(layer)](
        layer.kernel_size,
        strides=layer.strides[0],
        padding=layer.padding,
        depth_multiplier=layer.filters // layer.groups,
        dilation_rate=layer.dilation_rate,
        activation=layer.activation,
        use_bias=layer.use_bias,
        name=name,
        dtype=layer.dtype_policy,
    )


def _of_group(layer, name):
    filters = layer.filters // layer.groups
    return copy_layer(layer, name, resized=True, filters=filters, groups=1, activation="linear")
