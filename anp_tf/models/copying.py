"""Networks made again of copies of their layers."""

import keras

from anp_tf.models.copies import copy_layer, copy_state
from anp_tf.models.graph import Names


class Copying:
    """Calls copies of a graph's layers, one for each: for `Graph.rebuild`.

    Args:
        graph: `Graph`.
        fill: Function of a layer and its built copy that gives it its weights.

    Attributes:
        copies: Dict from a layer to its copy.
        names: `Names` of the copies, and for what is added to them.
    """

    def __init__(self, graph, fill=copy_state):
        self.copies = {}
        self.names, self._fill = Names(graph), fill

    def __call__(self, node, tensors, kind=None, **changes):
        """The outputs of a call; where the copy is made for it, with `copy_layer`'s arguments."""
        layer = node.layer
        fresh = layer not in self.copies or not isinstance(layer, keras.Layer)
        if fresh:
            self.copies[layer] = copy_layer(layer, self.names(node), kind, **changes)
        copy = self.copies[layer]
        args, kwargs = node.arguments(tensors)
        outputs = copy(*args, **kwargs)
        if fresh:
            self._fill(layer, copy)
        return outputs
