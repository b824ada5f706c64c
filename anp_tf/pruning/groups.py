"""Which tensors of a network have the same channels, and which of these can be masked."""

import collections
import dataclasses

import keras

from anp_tf.layers import BayesianMask
from anp_tf.models.elementwise import elementwise
from anp_tf.models.graph import graph_of
from anp_tf.pruning.handlers import PerChannel, channels, handler_of
from anp_tf.pruning.handlers.composite import inner_node
from anp_tf.pruning.handlers.merging import Merge, Product
from anp_tf.pruning.handlers.normalization import BatchNormalization

INPUT, OUTPUT = "the network's input", "the network's output"


@dataclasses.dataclass(frozen=True)
class UnmaskedLayer:
    """A layer whose channels cannot be masked.

    Attributes:
        layer: Name of the layer.
        units: Number of its channels.
        reason: What has to have all of them: the network's output or input, or a layer.
    """

    layer: str
    units: int
    reason: str

    def __str__(self):
        return f"`{self.layer}` ({self.units} units): {self.reason}"


class Groups:
    """Groups of tensors that have the same channels, and the calls that a mask comes after.

    Args:
        graph: `anp_tf.models.graph.Graph`.

    Attributes:
        layers: Dict from a group to the layers that its channels come from.
        units: Dict from these groups to the number of channels.
        fixed: Dict from the groups that cannot have a mask to the reason, a string.
        sites: Set of the nodes that a mask comes after.
        masked: Set of the groups that masks are called on.
    """

    def __init__(self, graph):
        self._parents = {}
        self.sites = set()
        self._makers = {id(tensor): node for node in graph.nodes for tensor in node.outputs}
        reasons = [(tensor, INPUT) for tensor in keras.tree.flatten(graph.input)]
        reasons += [(tensor, OUTPUT) for tensor in keras.tree.flatten(graph.output)]
        sources, masked, several, sums = [], [], [], []
        outputs = {}  # of a layer that is called several times, the first one
        readers = graph.readers()
        for node in graph.nodes:
            handler = handler_of(node)
            if handler is None:
                for tensor in node.inputs:
                    reasons += self._all_that_reach(tensor, f"{_name(node)} is not known")
                reasons += [(tensor, f"{_name(node)} is not known") for tensor in node.outputs]
                continue
            tied, whole = handler.tied(node), handler.whole(node)
            for tensor in tied:
                for output in node.outputs:
                    self._join(tensor, output)
            for tensor in whole:
                reasons += self._all_that_reach(tensor, f"{_name(node)} needs all channels")
            if handler.is_source:
                (output,) = node.outputs
                sources.append((output, node.layer))
                self._join(output, outputs.setdefault(node.layer, output))
                if not handler.is_site:
                    reasons.append((output, f"{_name(node)} keeps all its outputs"))
            elif not tied and not handler.is_site:
                several.append(node)
            if handler.is_site:
                self.sites.add(_site(node, readers))
                if _activation_needs_all(node):
                    reason = f"the activation of {_name(node)} needs all channels"
                    reasons += self._all_that_reach(node.outputs[0], reason)
            if isinstance(handler, Merge) and not isinstance(handler, Product):
                sums += node.outputs
            if isinstance(node.layer, BayesianMask):
                masked += node.outputs
        sums = {self.of(tensor) for tensor in sums}
        made = {self.of(output) for output, _ in sources}
        for node in several:
            reason = f"{_name(node)} has channels of several layers"
            reasons += [(tensor, reason) for tensor in node.outputs]
            # What is added to them has no mask, so none of them could go.
            if any(self.of(tensor) in sums & made for tensor in node.outputs):
                for tensor in node.inputs:
                    reasons += self._all_that_reach(tensor, reason)
        self.fixed = {}
        for tensor, reason in reasons:
            self.fixed.setdefault(self.of(tensor), reason)
        self.masked = {self.of(tensor) for tensor in masked}
        self.layers, self.units = collections.defaultdict(list), {}
        for output, layer in sources:
            self.units[self.of(output)] = channels(output)
            if layer not in self.layers[self.of(output)]:
                self.layers[self.of(output)].append(layer)

    def of(self, tensor):
        """The group of a tensor."""
        key = id(tensor)
        while key in self._parents:
            key = self._parents[key]
        return key

    def unmasked_layers(self):
        """The layers without a mask for other reasons than the outputs, as `UnmaskedLayer`s."""
        return [
            UnmaskedLayer(layer.name, self.units[group], reason)
            for group, reason in self.fixed.items()
            if reason != OUTPUT and group not in self.masked
            for layer in self.layers.get(group, ())
        ]

    def _join(self, tensor, other):
        a, b = self.of(tensor), self.of(other)
        if a != b:
            self._parents[a] = b

    def _all_that_reach(self, tensor, reason):
        """The tensors whose channels get to a tensor, each with the reason."""
        found, waiting = {}, [tensor]
        while waiting:
            tensor = waiting.pop()
            if id(tensor) in found:
                continue
            found[id(tensor)] = (tensor, reason)
            maker = self._makers.get(id(tensor))
            handler = handler_of(maker) if maker is not None else None
            if handler is not None and not handler.is_source:
                waiting += maker.inputs
        return list(found.values())


def unmasked_layers(network):
    """The layers of a network whose channels have no mask, and why they cannot have one.

    Those of the output are not listed.

    Args:
        network: Functional or Sequential `keras.Model`, with masks or without.

    Returns:
        List of `UnmaskedLayer`.
    """
    return Groups(graph_of(network)).unmasked_layers()


def _name(node):
    return f"`{node.layer.name}` ({type(node.layer).__name__})"


def _activation_needs_all(node):
    """Whether the activation that a layer ends in, such as softmax, reads all channels at once."""
    if isinstance(node.layer, keras.layers.TimeDistributed):
        return _activation_needs_all(inner_node(node))
    activation = getattr(node.layer, "activation", None)
    if not isinstance(activation, keras.Layer):
        return elementwise(activation) is None
    # `insert_masks` makes it a call of its own.
    call = dataclasses.replace(
        node, layer=activation, args=(node.outputs[0],), kwargs={}, inputs=node.outputs
    )
    handler = handler_of(call)
    return handler is None or bool(handler.whole(call))


def _site(node, readers):
    """Where the mask of a layer's outputs is: after the last batch normalization that they get to.

    On the way each channel is worked on by itself, such as by an activation, and nothing else reads
    it. A unit that is pruned before an activation would be a constant behind the normalization.
    """
    site = node
    while True:
        below = readers[id(node.outputs[0])]
        handler = handler_of(below[0]) if len(below) == 1 and below[0] is not None else None
        if not isinstance(handler, PerChannel):
            return site
        (node,) = below
        if isinstance(handler, BatchNormalization):
            site = node
