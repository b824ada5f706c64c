"""One call in the graph of a Keras model."""

import dataclasses

import keras


@dataclasses.dataclass(frozen=True, eq=False)
class Node:
    """One call of a layer: `outputs = layer(*args, **kwargs)`.

    Attributes:
        layer: The `keras.Layer` (or `keras.Operation`) of the model that is called.
        args: Positional arguments; the tensors in them are outputs of other nodes.
        kwargs: Keyword arguments, likewise.
        inputs: List of the symbolic tensors in `args` and `kwargs`.
        outputs: List of the symbolic tensors that come out.
        path: Names of the nested models that the call is in, the outermost first.
    """

    layer: keras.Operation
    args: tuple
    kwargs: dict
    inputs: list
    outputs: list
    path: tuple = ()

    def arguments(self, tensors):
        """The pair of positional and keyword arguments with other tensors in place of `inputs`."""
        by_id = {id(old): new for old, new in zip(self.inputs, tensors, strict=True)}
        return keras.tree.map_structure(
            lambda leaf: by_id.get(id(leaf), leaf), (self.args, self.kwargs)
        )


def node_of(layer, args, kwargs, outputs, path=()):
    """The `Node` of a call; its inputs are the symbolic tensors in the arguments, in order."""
    inputs = [leaf for leaf in keras.tree.flatten((args, kwargs)) if is_symbolic(leaf)]
    return Node(layer, args, kwargs, inputs, outputs, path)


def is_symbolic(leaf):
    """Whether an argument is a symbolic tensor."""
    return isinstance(leaf, keras.KerasTensor)
