"""The latent features of a network: the outputs of its activations."""

from collections.abc import Iterable

import keras

from anp_tf.models.elementwise import activation_of
from anp_tf.models.graph import Names, StandIn, as_functional, graph_of

PRODUCTS = ("Multiply", "Prod")
# What hands a gate on: it moves, scales or repeats its numbers.
_OPERATIONS = (
    *("Add", "BroadcastTo", "Divide", "ExpandDims", "Multiply", "Repeat", "Reshape", "Squeeze"),
    *("Subtract", "TrueDivide", "Transpose"),
)
_HANDING_ON = (
    keras.layers.Dropout,
    keras.layers.Flatten,
    keras.layers.Identity,
    keras.layers.Permute,
    keras.layers.RepeatVector,
    keras.layers.Rescaling,
    keras.layers.Reshape,
    keras.layers.SpatialDropout2D,
    keras.layers.UpSampling2D,
)


def with_latents(network, latents=None, required=True):
    """A model that returns a network's latent features beside its logits.

    The features are those whose vulnerability is measured and suppressed: see `latent_nodes`.

    Args:
        network: Functional or Sequential `keras.Model` from pixels to logits.
        latents: Sequence of names of layers whose outputs are the latent features; None: those of
            `latent_nodes`.
        required: Boolean, whether it is an error that there are none.

    Returns:
        `keras.Model` with the same layers and weights; its output is the pair of a list of latent
        features, in the order of the layers, and the logits.

    Raises:
        ValueError: if the network has no activation, or if a name in `latents` is not that of a
            layer.
    """
    functional, graph = as_functional(network), graph_of(network)
    nodes = latent_nodes(graph, latents)
    if required and not nodes:
        raise ValueError(
            f"Network `{network.name}` has no activation but for its output's, so its latent "
            "features are undefined. Choose layers by `latents`, or a method without vulnerability."
        )
    name = f"{network.name}_latents"
    if not any(node.path for node in graph.nodes):
        found = _same_tensors(functional, graph, nodes)
        return keras.Model(functional.inputs[0], (found, functional.outputs[0]), name=name)
    # Features in nested models are out of reach, unless the calls in them are made anew.
    names, found = Names(graph), []

    def call(node, tensors):
        args, kwargs = node.arguments(tensors)
        outputs = StandIn(node.layer, names(node))(*args, **kwargs)
        if node in nodes:
            found.append(keras.tree.flatten(outputs)[0])
        return outputs

    model = graph.rebuild(call)
    return keras.Model(model.input, (found, model.outputs[0]), name=name)


def latent_nodes(graph, latents=None):
    """The calls of a graph whose outputs are its latent features, in the order of the layers.

    These are all that end in an activation, be it a layer, an operation, or the `activation` of
    another layer, and whatever function of each number by itself it is; but not the graph's output,
    and no gate: a factor of a feature map that was made of it, or that broadcasts, or is in [0, 1].

    Args:
        graph: `Graph`.
        latents: Sequence of names of layers, to take their calls instead.

    Raises:
        ValueError: if a name in `latents` is not that of a layer, or it is that of the output.
    """
    outputs = {id(tensor) for tensor in keras.tree.flatten(graph.output)}
    hidden = [node for node in graph.nodes if id(node.outputs[0]) not in outputs]
    if latents is not None:
        several = isinstance(latents, Iterable) and not isinstance(latents, str)
        names = list(latents) if several else [latents]
        missing = set(names) - {node.layer.name for node in hidden}
        if missing:
            raise ValueError(
                "Argument `latents` must name layers between the input and the output. "
                f"Received: {', '.join(sorted(map(str, missing)))}"
            )
        return [node for node in hidden if node.layer.name in names]
    found = [(node, activation_of(node)) for node in hidden]
    ways = _Ways(graph)
    return [node for node, kind in found if kind is not None and not ways.is_gate(node, kind)]


class _Ways:
    """Tells gates from features by where they go."""

    def __init__(self, graph):
        self._readers = graph.readers()
        self._above = {}  # by a tensor's id, the ids of the tensors that it was computed of
        for node in graph.nodes:
            above = set().union(*(self._above.get(id(t), ()) for t in node.inputs))
            above |= {id(tensor) for tensor in node.inputs}
            self._above.update((id(tensor), above) for tensor in node.outputs)

    def is_gate(self, node, kind):
        """Whether all that reads an activation multiplies a feature map by it."""
        return self._gates(node.outputs[0], node, kind)

    def _gates(self, tensor, node, kind):
        readers = self._readers[id(tensor)]
        return bool(readers) and all(
            reader is not None and self._reads_a_gate(reader, tensor, node, kind)
            for reader in readers
        )

    def _reads_a_gate(self, reader, tensor, node, kind):
        others = [x for x in reader.inputs if x is not tensor]
        if type(reader.layer).__name__ in PRODUCTS and others:
            above = self._above[id(node.outputs[0])]
            return kind.is_gate or any(
                id(other) in above or _is_larger(other, tensor) for other in others
            )
        hands_on = type(reader.layer).__name__ in _OPERATIONS or isinstance(
            reader.layer, _HANDING_ON
        )
        return hands_on and not others and self._gates(reader.outputs[0], node, kind)


def _is_larger(tensor, other):
    """Whether the other tensor broadcasts to this one."""
    if len(other.shape) < len(tensor.shape):
        return True
    sizes = zip(tensor.shape[:0:-1], other.shape[:0:-1], strict=False)
    return any(size != 1 and broadcast == 1 for size, broadcast in sizes)


def _same_tensors(functional, graph, nodes):
    """The network's own tensors that a graph's nodes stand for: its n-th call of each layer."""
    calls = {}
    for depth in sorted(functional._nodes_by_depth, reverse=True):
        for node in functional._nodes_by_depth[depth]:
            calls.setdefault(node.operation, []).append(node.outputs[0])
    counts, tensors = {}, []
    for node in graph.nodes:
        index = counts.get(node.layer, 0)
        counts[node.layer] = index + 1
        if node in nodes:
            tensors.append(calls[node.layer][index])
    return tensors
