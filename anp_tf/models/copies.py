"""Copies of layers that compute exactly what the layers do."""

import functools
import inspect
import tempfile
import types
import warnings

import keras
import numpy as np

_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, functools.partial)


def copy_layer(layer, /, name=None, kind=None, resized=False, **changes):
    """A new layer of the same configuration, dtype policy and assets, without its weights.

    Functions, such as that of a `Lambda` or an activation, are the layer's own. Once the copy is
    built, `copy_state` gives it the weights.

    Args:
        layer: `keras.Layer` or, of `keras.ops`, `keras.Operation`.
        name: Name of the copy; None: the layer's.
        kind: Class of the copy, of the same arguments; None: the layer's.
        resized: Boolean, whether the copy gets weights of other shapes. Initializers that may be
            of the layer's shapes, such as a `Constant` of an array or a function, are then left
            out of its configuration.
        **changes: Changes of the configuration; of a wrapper, `layer`, the layer that it wraps.

    Raises:
        ValueError: if the layer does not give its configuration, or cannot be made of it.
    """
    name = name or layer.name
    if not isinstance(layer, keras.Layer):
        if changes:
            fresh = type(layer).from_config({**layer.get_config(), **changes})
        else:  # `copy.copy` would serialize it, which bounds that are arrays do not allow
            fresh = object.__new__(type(layer))
            vars(fresh).update(vars(layer))
        fresh.name, fresh._inbound_nodes, fresh._outbound_nodes = name, [], []
        return fresh
    try:
        if isinstance(layer, keras.layers.Lambda):
            fresh = _copy_lambda(layer)
        elif "layer" in changes:  # of a wrapper
            fresh = type(layer)(dtype=layer.dtype_policy, trainable=layer.trainable, **changes)
        else:
            with warnings.catch_warnings():  # of a lambda, which is not serialized here
                warnings.simplefilter("ignore")
                config = layer.get_config()
            if resized:
                config = {key: value for key, value in config.items() if _fits(key, value)}
            config |= {**_functions_of(layer, config), **changes}
            fresh = _made(kind or type(layer), config)
        fresh.name = name
        if fresh.dtype_policy != layer.dtype_policy:
            fresh.dtype_policy = layer.dtype_policy
        _copy_assets(layer, fresh)
    except Exception as error:
        (reason, *_) = f"{error}".strip().splitlines() or [""]
        raise ValueError(
            f"Layer `{layer.name}` ({type(layer).__name__}) cannot be copied: its `get_config` and "
            f"`from_config` do not make another one. {type(error).__name__}: {reason}"
        ) from error
    return fresh


def copy_state(layer, copy):
    """Gives a built copy of a layer the layer's weights and what else Keras saves of it."""
    if not isinstance(layer, keras.Layer):
        return
    # A copy without the activation has no part for it, which is the last one.
    for part, other in zip(_parts(layer), _parts(copy), strict=False):
        store = {}
        part.save_own_variables(store)
        if store and not other.built:  # an activation with weights
            other.build_from_config(part.get_build_config())
        if store:
            other.load_own_variables({key: np.asarray(value) for key, value in store.items()})


def _made(kind, config):
    """A layer of a configuration, which may say more than the class's constructors take."""
    try:
        return kind.from_config(config)
    except TypeError:
        taken = {
            name
            for each in kind.__mro__[:-1]
            for name in inspect.signature(each.__init__).parameters
        }
        if config.keys() <= taken:
            raise
        return kind.from_config({key: value for key, value in config.items() if key in taken})


def _fits(key, value):
    """Whether an entry of a configuration is of no shape: all but some initializers."""
    if not key.endswith("_initializer") or isinstance(value, str | None):
        return True
    if not isinstance(value, dict) or value.get("module") != "keras.initializers":
        return False  # a user's own
    return isinstance(value["config"].get("value", 0), bool | int | float)


def _copy_lambda(layer):
    return type(layer)(
        layer.function,
        output_shape=layer._output_shape,
        mask=layer.mask,
        arguments=layer.arguments,
        trainable=layer.trainable,
        dtype=layer.dtype_policy,
    )


def _functions_of(layer, config):
    """What of a layer's configuration are functions, or layers that are used as such."""
    functions = {}
    for key in config:
        value = getattr(layer, key, None)
        if isinstance(value, _FUNCTIONS):
            functions[key] = value
        elif isinstance(value, keras.Layer) and key.endswith("activation"):
            functions[key] = copy_layer(value)
    return functions


def _copy_assets(layer, copy):
    for part, other in zip(_parts(layer), _parts(copy), strict=False):
        if hasattr(part, "save_assets"):
            with tempfile.TemporaryDirectory() as directory:
                part.save_assets(directory)
                other.load_assets(directory)


def _parts(layer):
    return list(layer._flatten_layers())
