"""Networks whose channels come first, as networks whose channels come last."""

import keras

from anp_tf.models.copying import Copying
from anp_tf.models.elementwise import activation_of, elementwise
from anp_tf.models.graph import graph_of

FIRST, LAST = "channels_first", "channels_last"
_BY_ELEMENTS = (
    *(keras.layers.ActivityRegularization, keras.layers.Add, keras.layers.AlphaDropout),
    *(keras.layers.Average, keras.layers.Dropout, keras.layers.GaussianDropout),
    *(keras.layers.GaussianNoise, keras.layers.Identity, keras.layers.Maximum),
    *(keras.layers.Minimum, keras.layers.Multiply, keras.layers.Subtract),
)
_OPERATIONS = ("Add", "Divide", "Maximum", "Minimum", "Multiply", "Subtract", "TrueDivide")


def channels_last(model):
    """A network with the channels of its layers last, where the model has some that come first.

    Inputs and outputs are the model's, permuted within where need be, and so are the weights and
    the names of the layers.

    Args:
        model: Built functional or Sequential `keras.Model`; it is not changed.

    Returns:
        A functional `keras.Model`; `model` itself if its channels are last.
    """
    graph = graph_of(model)
    if not any(_form(node.layer) == FIRST for node in graph.nodes):
        return model
    copying = Copying(graph)

    def call(node, tensors):
        layer, rank = node.layer, max(len(tensor.shape) for tensor in node.inputs)
        moves = _moves(node, tensors)
        tensors = [tensor.last() if moves else tensor.first() for tensor in tensors]
        changes = {}
        if moves and _form(layer) == FIRST:
            changes["data_format"] = LAST
        elif moves and _axis(layer) == 1:
            changes["axis"] = -1
        outputs = copying(node, tensors, **changes)
        return keras.tree.map_structure(
            lambda x: _Placed(x, moves and len(x.shape) == rank > 2, copying.names), outputs
        )

    return graph.rebuild(
        call,
        name=model.name,
        begin=lambda x: _Placed(x, False, copying.names),
        end=lambda x: x.first(),
    )


class _Placed:
    """A tensor and whether its channels, which came first in the model, are last.

    Args:
        tensor: Symbolic tensor.
        is_moved: Boolean.
        names: `Names` for the permutations.
    """

    def __init__(self, tensor, is_moved, names):
        self.is_moved = is_moved
        self._forms, self._names = {is_moved: tensor}, names
        self.shape = tensor.shape

    def last(self):
        return self._form(True)

    def first(self):
        return self._form(False)

    def _form(self, is_last):
        if is_last not in self._forms:
            axes = list(range(1, len(self.shape)))
            order = [*axes[1:], axes[0]] if is_last else [axes[-1], *axes[:-1]]
            permuted = keras.layers.Permute(order)(self._forms[not is_last])
            self._forms[is_last] = self._names.of_added(permuted)
        return self._forms[is_last]


def _form(layer):
    return getattr(layer, "data_format", None)


def _axis(layer):
    axis = getattr(layer, "axis", None)
    return axis[0] if isinstance(axis, list | tuple) and len(axis) == 1 else axis


def _moves(node, tensors):
    """Whether a call is to be one of tensors whose channels are last."""
    layer, ranks = node.layer, {len(tensor.shape) for tensor in tensors}
    if _form(layer) == FIRST and isinstance(layer, keras.Layer):
        return True
    if not any(tensor.is_moved for tensor in tensors) or len(ranks) > 1:
        return False
    if not isinstance(layer, keras.Layer):
        return type(layer).__name__ in _OPERATIONS or activation_of(node) is not None
    is_activation = isinstance(layer, keras.layers.Activation) or not layer.variables
    return (
        _axis(layer) == 1
        or isinstance(layer, _BY_ELEMENTS)
        or (is_activation and elementwise(layer) is not None)
    )
