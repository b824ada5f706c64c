"""What an attack is, as JSON: by it an evaluation knows that it goes on with the same attack."""

import functools
import hashlib
import pathlib
import types

import keras
import numpy as np
import tensorflow as tf

from anp_tf.attacks import Linf
from anp_tf.bounds.certificate import network_sha256

PLAIN = bool | int | float | str | None
TEXTS = bytes | complex | pathlib.PurePath | np.dtype | tf.DType | tf.TensorShape
DATA = np.ndarray | tf.Tensor | tf.Variable | keras.Variable
SHORT = 100  # numbers of an array that are written out
# Their functions and classes are known by their names, others' by their code, too.
LIBRARIES = ("anp_tf", "keras", "numpy", "tensorflow", "builtins")
DEEPEST = 6  # of objects in objects
CYCLE = "..."


def described(attack):
    """The kind of an attack and its options, a JSON object.

    The options are its attributes whose names do not begin with `_`, and theirs in turn: numbers,
    texts, arrays, tensors, sequences and dicts of such, functions, networks, other attacks. A
    function is known by its code and by the values that it is given by its defaults, by
    `functools.partial`, by its object, from around it and from its module; an object of a class of
    one's own by the code of its methods, too; a network by its digest. A norm that is `Linf()` is
    left out.
    """
    return _object(attack, (attack,))


def _any(value, above):
    """JSON of any value; `above` are those that it is in."""
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, TEXTS):
        return str(value)
    if isinstance(value, DATA):
        return _array(np.asarray(value))
    if len(above) > DEEPEST or any(value is each for each in above):
        return CYCLE
    above = (*above, value)
    if isinstance(value, dict):
        return {str(name): _any(each, above) for name, each in value.items()}
    if isinstance(value, tuple | list):
        return [_any(each, above) for each in value]
    if isinstance(value, set | frozenset):
        return sorted((_any(each, above) for each in value), key=str)
    if isinstance(value, type | types.ModuleType) or _is_named(value):
        return value.__name__
    return _object(value, above)


def _array(value):
    if value.size <= SHORT:
        return value.tolist()
    digest = hashlib.sha256(f"{value.dtype} {value.shape}".encode() + value.tobytes())
    return {"sha256": digest.hexdigest()}


def _object(value, above):
    """A JSON object of a function, a network or an object with attributes, the last `above`."""
    if isinstance(value, functools.partial):
        given = _any([*value.args, value.keywords], above)
        return {"kind": "partial", "function": _any(value.func, above), "given": given}
    if isinstance(value, types.MethodType):
        function, given = _any(value.__func__, above), _any(value.__self__, above)
        return {"kind": "method", "function": function, "given": given}
    if callable(getattr(value, "python_function", None)):  # a `tf.function`
        return {"kind": "tf.function", "function": _any(value.python_function, above)}
    if isinstance(value, types.FunctionType):
        return {"kind": value.__qualname__, **_function(value, above)}
    options = {"kind": type(value).__name__}
    if isinstance(value, keras.Layer):
        return {**options, "sha256": _network(value)}
    if not _is_of_library(type(value)):
        options["code"] = _class(type(value))
    elif not type(value).__module__.startswith("anp_tf"):
        config = getattr(value, "get_config", dict)()
        variables = getattr(value, "variables", ())
        return {**options, "config": _any(config, above), "variables": _any([*variables], above)}
    for name, each in getattr(value, "__dict__", {}).items():
        if not name.startswith("_") and not (name == "norm" and isinstance(each, Linf)):
            options[name] = _any(each, above)
    return options


def _function(function, above):
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    given = [*(function.__defaults__ or ()), function.__kwdefaults__ or {}, *cells]
    module = function.__globals__
    read = {
        name: module[name]
        for name in sorted(set(_names(function.__code__)) & set(module))
        if isinstance(module[name], PLAIN | DATA | np.generic)
        or getattr(module[name], "__module__", None) == function.__module__
    }
    return {
        "code": _code(function.__code__),
        "given": _any(given, above),
        **({"module": _any(read, above)} if read else {}),
    }


def _network(network):
    try:
        return network_sha256(network)
    except NotImplementedError:  # a class without a configuration
        return _digest(str(_array(np.asarray(weight))) for weight in network.weights)


def _is_named(value):
    """Whether a value is a function of one of `LIBRARIES`, which its name tells."""
    bound = isinstance(value, types.MethodType) or hasattr(value, "python_function")
    return hasattr(value, "__name__") and not bound and _is_of_library(value)


def _is_of_library(value):
    return (getattr(value, "__module__", None) or "builtins").split(".")[0] in LIBRARIES


def _class(kind):
    """A digest of the methods of a class and of its bases but those of `LIBRARIES`."""
    parts = [
        f"{name} {_code(function.__code__)}"
        for base in kind.__mro__
        if not _is_of_library(base)
        for name, function in sorted(vars(base).items())
        if isinstance(function, types.FunctionType)
    ]
    return _digest(parts)


def _code(code):
    """A digest of what a code object does, the same in each process."""
    constants = [
        _code(each)
        if isinstance(each, types.CodeType)
        else sorted(map(repr, each))
        if isinstance(each, frozenset)
        else repr(each)
        for each in code.co_consts
    ]
    names = code.co_names, code.co_varnames, code.co_freevars
    return _digest([code.co_code.hex(), *map(repr, names), *map(repr, constants)])


def _names(code):
    """The names that a code object reads, and those within it."""
    inner = (each for each in code.co_consts if isinstance(each, types.CodeType))
    return [*code.co_names, *(name for each in inner for name in _names(each))]


def _digest(parts):
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
