"""How each kind of layer is bounded: a table from the layer's class to its rule."""

import keras

from anp_tf.bounds import activations, linear_layers
from anp_tf.bounds.affine import Moves
from anp_tf.bounds.elementwise import Product
from anp_tf.bounds.maximum import Maximum, everywhere, of_tensors, windows
from anp_tf.bounds.rule import Rule
from anp_tf.layers import (
    BayesBatchNormalization,
    BayesConv2D,
    BayesDense,
    BayesianMask,
    FusedBatchNormalization,
    LeakyGradientReLU,
)
from anp_tf.models.kinds import IDENTITIES


def _moves(node):
    if getattr(node.layer, "interpolation", "nearest") != "nearest":
        return None
    return Moves(node.layer.call)


def _concatenation(node):
    return Moves(lambda *tensors: node.layer.call(list(tensors)))


def _max_pooling(node):
    first = node.layer.data_format == "channels_first"
    return None if first or None in node.inputs[0].shape[1:] else Maximum(windows(node.layer))


def _global_max_pooling(node):
    first = node.layer.data_format == "channels_first"
    return None if first or None in node.inputs[0].shape[1:] else Maximum(everywhere(node.layer))


def _identity(node):
    return activations.IDENTITY


def _maximum(node):
    shapes = {tuple(tensor.shape) for tensor in node.inputs}
    return Maximum(of_tensors) if len(shapes) == 1 else None


def _product(node):
    ranks = {len(tensor.shape) for tensor in node.inputs}
    return Product() if len(node.inputs) == 2 and len(ranks) == 1 else None


_LAYERS = {
    keras.layers.Activation: activations.activation,
    keras.layers.Add: linear_layers.adding,
    keras.layers.Average: linear_layers.average,
    keras.layers.BatchNormalization: linear_layers.batch_normalization,
    FusedBatchNormalization: linear_layers.batch_normalization,
    BayesBatchNormalization: linear_layers.batch_normalization,
    BayesConv2D: linear_layers.convolution,
    BayesDense: linear_layers.dense,
    keras.layers.Concatenate: _concatenation,
    keras.layers.Dense: linear_layers.dense,
    keras.layers.ELU: activations.elu,
    keras.layers.LeakyReLU: activations.leaky_relu,
    keras.layers.Maximum: _maximum,
    keras.layers.Multiply: _product,
    keras.layers.Normalization: linear_layers.normalization,
    keras.layers.PReLU: activations.prelu,
    keras.layers.ReLU: activations.relu,
    LeakyGradientReLU: activations.relu,
    keras.layers.Rescaling: linear_layers.rescaling,
    keras.layers.Subtract: linear_layers.subtracting,
}
_LAYERS |= dict.fromkeys(IDENTITIES, _identity)
_LAYERS |= dict.fromkeys(
    (
        keras.layers.Flatten,
        keras.layers.Permute,
        keras.layers.RepeatVector,
        keras.layers.Reshape,
    ),
    _moves,
)
for _name, _make in {
    "AveragePooling{}": linear_layers.averaging,
    "Conv{}": linear_layers.convolution,
    "Conv{}Transpose": linear_layers.transposed_convolution,
    "Cropping{}": _moves,
    "DepthwiseConv{}": linear_layers.depthwise,
    "GlobalAveragePooling{}": linear_layers.averaging,
    "GlobalMaxPooling{}": _global_max_pooling,
    "MaxPooling{}": _max_pooling,
    "SeparableConv{}": linear_layers.separable,
    "UpSampling{}": _moves,
    "ZeroPadding{}": _moves,
}.items():
    for _rank in ("1D", "2D", "3D"):
        _class = getattr(keras.layers, _name.format(_rank), None)
        if _class is not None:
            _LAYERS[_class] = _make
_OF_TWO = {  # operations of `keras.ops` on two tensors
    "Add": linear_layers.adding,
    "Maximum": _maximum,
    "Multiply": _product,
    "Subtract": linear_layers.subtracting,
}


def register_rule(layer_class, make):
    """Tells the bounds of this package what a class of layers computes.

    Args:
        layer_class: Subclass of `keras.layers.Layer`; its own subclasses are not meant.
        make: Function of a `Node`, whose `layer` is the layer, to a `Rule`, such as an `Affine` or
            an `Elementwise`; to a list of rules, each of what the one before makes; or to None,
            where the layer is not known with these settings. The rule of a layer's `activation`,
            if it has one, is added. It is not asked for a call on more than tensors, such as a
            constant or a mask, or with `training=True`: there are no bounds then.

    Raises:
        ValueError: if an argument is of another type.
    """
    if not (isinstance(layer_class, type) and issubclass(layer_class, keras.layers.Layer)):
        raise ValueError(
            "Argument `layer_class` must be a subclass of `keras.layers.Layer`. "
            f"Received: layer_class={layer_class!r}"
        )
    if not callable(make):
        raise ValueError(f"Argument `make` must be a function. Received: make={make!r}")
    _LAYERS[layer_class] = make


def rules_of(node):
    """List of the rules of a call of a layer, each of what the one before makes.

    Raises:
        ValueError: if the layer is not known, or not with its settings.
    """
    rules = _made(node)
    if rules is None or len(node.outputs) > 1:
        layer = node.layer
        raise ValueError(
            f"Layer `{layer.name}` ({type(layer).__name__}) has no rule for bounds, or not with "
            "these settings or arguments: see `anp_tf.bounds.register_rule`."
        )
    return rules


def _is_plain(node):
    """Whether a layer is called on tensors alone, and in inference."""
    training = node.kwargs.get("training")
    others = {name: value for name, value in node.kwargs.items() if name != "training"}
    leaves = keras.tree.flatten((node.args, others))
    known = {id(tensor) for tensor in node.inputs}
    return not training and all(leaf is None or id(leaf) in known for leaf in leaves)


def _made(node):
    layer = node.layer
    if isinstance(layer, keras.Layer) and not _is_plain(node):
        return None
    if type(layer) in _LAYERS:
        make = _LAYERS[type(layer)]
    elif isinstance(layer, BayesianMask) and type(layer).call is BayesianMask.call:
        make = linear_layers.mask
    elif type(layer).__module__.startswith("keras.src.ops"):
        many = len(node.inputs) > 1
        make = _OF_TWO.get(type(layer).__name__) if many else activations.operation
    else:
        make = None
    made = None if make is None else make(node)
    if made is None:
        return None
    rules = [made] if isinstance(made, Rule) else list(made)
    after = getattr(layer, "activation", None)
    if make is activations.activation or after in (None, keras.activations.linear):
        return rules
    rule = activations.of_function(after)
    return None if rule is None else [*rules, rule]
