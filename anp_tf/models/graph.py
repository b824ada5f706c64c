"""The graph of a Keras model as a list of calls, in an order in which they can be computed."""

import collections
import dataclasses

import keras

from anp_tf.models.inner_calls import inner_models, same_calls
from anp_tf.models.nested_inputs import received
from anp_tf.models.node import node_of

FUNCTIONAL = (
    "a functional model, or a Sequential one that is built, and no subclass with a `call` of its "
    "own"
)


@dataclasses.dataclass(frozen=True, eq=False)
class Graph:
    """A model's nodes, and its input and output tensors.

    Attributes:
        nodes: List of `Node`, each after those whose outputs it reads. `keras.Input`s are no nodes.
        input: The model's input tensor, or a nested structure of them.
        output: The model's output tensor, or a nested structure of them.
    """

    nodes: list
    input: object
    output: object

    def compute(self, inputs, call):
        """Computes the outputs, whatever stands for the tensors.

        Args:
            inputs: List of what stands for the input tensors.
            call: Function `(node, values) -> outputs`, from what stands for the inputs of a node to
                what stands for its outputs, a structure of as many leaves.

        Returns:
            What stands for the output tensors, in the structure of `output`.
        """
        values = {
            id(tensor): value
            for tensor, value in zip(keras.tree.flatten(self.input), inputs, strict=True)
        }
        for node in self.nodes:
            outputs = call(node, [values[id(tensor)] for tensor in node.inputs])
            for tensor, value in zip(node.outputs, keras.tree.flatten(outputs), strict=True):
                values[id(tensor)] = value
        return keras.tree.map_structure(lambda leaf: values[id(leaf)], self.output)

    def rebuild(self, call, name=None, begin=None, end=None):
        """A functional model of what `call` makes of the nodes; its inputs are like the graph's.

        Args:
            call: As for `compute`.
            name: The model's name.
            begin: Function from a symbolic input to what stands for it; None: itself.
            end: Function from what stands for an output to a symbolic tensor; None: itself.
        """
        tensors = keras.tree.map_structure(
            lambda x: keras.Input(batch_shape=x.shape, dtype=x.dtype, name=x.name), self.input
        )
        inputs = [begin(x) if begin else x for x in keras.tree.flatten(tensors)]
        outputs = self.compute(inputs, call)
        if end is not None:
            outputs = keras.tree.map_structure(end, outputs)
        return keras.Model(tensors, outputs, name=name)

    def readers(self):
        """Dict from a tensor's id to the nodes that read it; None stands for the graph's output."""
        readers = collections.defaultdict(list)
        for node in self.nodes:
            for tensor in node.inputs:
                readers[id(tensor)].append(node)
        for tensor in keras.tree.flatten(self.output):
            readers[id(tensor)].append(None)
        return readers


class Names:
    """Names for a graph's layers in one flat model: their own, or the path's where these clash.

    What is added to the layers takes none of their names.

    Args:
        graph: `Graph`.
    """

    def __init__(self, graph):
        counts = collections.Counter(layer.name for layer in {node.layer for node in graph.nodes})
        self._taken = {tensor.name for tensor in keras.tree.flatten(graph.input)}
        self._own, self._given = {}, set()
        for node in graph.nodes:
            name = node.layer.name
            if node.layer not in self._own:
                clashes = counts[name] > 1
                self._own[node.layer] = self.new("_".join([*node.path, name]) if clashes else name)

    def __call__(self, node):
        """A name for the layer of a node that was given to none before."""
        name = self._own[node.layer]
        if name in self._given:
            return self.new(name)
        self._given.add(name)
        return name

    def new(self, name):
        """This name, or a longer one where it is taken."""
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name

    def of_added(self, tensor):
        """A tensor that an added layer or operation made, which gets a name of its own."""
        operation = tensor._keras_history.operation
        operation.name = self.new(operation.name)
        return tensor


def graph_of(model):
    """The graph of a functional or Sequential model.

    The calls in nested models of these kinds take the place of the nested model's own, and so do
    those in layers of other classes that are made of layers: see `inner_models`. The tensors are
    the graph's own, not the model's, and the model is not changed.

    Args:
        model: Built `keras.Model`, functional or Sequential.

    Returns:
        `Graph`.

    Raises:
        ValueError: if the model is neither functional nor Sequential, or has no shapes yet.
    """
    return _inlined(_recorded(as_functional(model)))


def _recorded(functional):
    """The graph of a functional model with nested models as one call each."""
    nodes = []

    def record(layer, *args, **kwargs):
        outputs = StandIn(layer)(*args, **kwargs)
        nodes.append(node_of(layer, args, kwargs, keras.tree.flatten(outputs)))
        return outputs

    copy = keras.models.clone_model(
        functional, clone_function=lambda layer: layer, call_function=record
    )
    return Graph(nodes, copy.input, copy.output)


def as_functional(model):
    """A functional model of the same layers, for a functional or Sequential one.

    Raises:
        ValueError: as `graph_of`.
    """
    if isinstance(model, keras.Model) and not _computes_its_own(model):
        if isinstance(model, keras.Sequential) and model.built:
            return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
        if isinstance(model, keras.Function):
            return keras.Model(model.input, model.output, name=model.name)
    raise ValueError(
        f"Argument `model` must be {FUNCTIONAL}. Received: model={model!r} of type "
        f"{type(model).__name__}"
    )


def _inlined(graph):
    """The graph with the calls in nested models in the place of these models' own."""
    nodes, stands_for = [], {}  # by a tensor's id, the tensor that it is equal to

    def replaced(structure):
        return keras.tree.map_structure(lambda leaf: stands_for.get(id(leaf), leaf), structure)

    for node in graph.nodes:
        args, kwargs = replaced((node.args, node.kwargs))
        itself = node_of(node.layer, args, kwargs, node.outputs, node.path)
        if _is_nested(node.layer):
            inner = graph_of(node.layer)
            given = received(itself, inner.input)
        else:
            inner = _opened(itself)
            given = inner and ([], itself.inputs)
        if given is None:
            nodes.append(itself)
            continue
        nodes += given[0]
        for tensor, stand_in in zip(keras.tree.flatten(inner.input), given[1], strict=True):
            stands_for[id(tensor)] = stand_in
        for call in inner.nodes:
            call_args, call_kwargs = replaced((call.args, call.kwargs))
            path = (node.layer.name, *call.path)
            nodes.append(node_of(call.layer, call_args, call_kwargs, call.outputs, path))
        for tensor, output in zip(node.outputs, keras.tree.flatten(inner.output), strict=True):
            stands_for[id(tensor)] = replaced(output)
    return Graph(nodes, graph.input, replaced(graph.output))


def _opened(node):
    """The graph of the calls in a layer, None if it is to stay one."""
    try:
        graphs = [_recorded(model) for model in inner_models(node)]
    except Exception:  # of layers inside that are called with what they do not expect
        return None
    if not graphs:
        return None
    other, graph = graphs[0], graphs[-1]
    if not same_calls(graph, other):
        return None  # it computes something else in training
    nodes = []
    for call, again in zip(graph.nodes, other.nodes, strict=True):
        kwargs = dict(call.kwargs)
        if kwargs.get("training") != again.kwargs.get("training"):  # handed on
            kwargs.pop("training", None)
        nodes.append(node_of(call.layer, call.args, kwargs, call.outputs))
    return _inlined(Graph(nodes, graph.input, graph.output))


def _is_nested(layer):
    if not isinstance(layer, keras.Model) or _computes_its_own(layer):
        return False
    return isinstance(layer, keras.Sequential | keras.Function)


def _computes_its_own(model):
    """Whether a subclass has a `call` of its own, which the graph does not show."""
    return not type(model).call.__module__.startswith("keras.")


class StandIn(keras.Operation):
    """Stands in for a layer: calling the layer itself would add a call to the user's model.

    Args:
        layer: `keras.Layer` or `keras.Operation`.
        name: Optional name.
    """

    def __init__(self, layer, name=None):
        super().__init__(name=name)
        self._layer = [layer]  # in a list, which nothing tracks

    def compute_output_spec(self, *args, **kwargs):
        return self._layer[0].compute_output_spec(*args, **kwargs)

    def call(self, *args, **kwargs):
        return self._layer[0](*args, **kwargs)
