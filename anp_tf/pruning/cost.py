"""What a network costs, computed from its graph."""

import collections
import dataclasses
import math

import keras
import numpy as np
import rich.box
import rich.table

from anp_tf.layers import BayesianMask, BayesLayer, mask_layers
from anp_tf.models.graph import graph_of
from anp_tf.models.kinds import APPLIED, DENSE, IDENTITIES, TRANSPOSED
from anp_tf.pruning.handlers import handler_of
from anp_tf.pruning.handlers.composite import COUNTED
from anp_tf.pruning.layer_costs import (
    is_known,
    kernels,
    multiply_adds,
    paper_memory,
    rows_per_image,
    tensor_bytes,
)
from anp_tf.tables import TextTable, as_text

# In inference, their outputs are their input.
HANDING_ON = (*IDENTITIES, keras.layers.Flatten, keras.layers.Reshape)


@dataclasses.dataclass(frozen=True)
class LayerCost:
    """The cost of one layer; the fields mean what they mean in `Cost`."""

    name: str
    kind: str
    multiply_adds: int
    parameters: int
    parameter_bytes: int
    kernel_weights: int
    zero_weights: int
    memory: int

    @property
    def flops(self) -> int:
        """Two floating-point operations per multiply-add."""
        return 2 * self.multiply_adds

    @property
    def weight_sparsity(self) -> float:
        """The percentage of the weights in kernels that are 0."""
        return 100.0 * self.zero_weights / max(1, self.kernel_weights)


@dataclasses.dataclass(frozen=True)
class Cost:
    """The cost of a network, per image.

    Attributes:
        layers: Tuple of `LayerCost`, the layers that have weights or multiply-adds, in the order of
            the graph, but for masks. Layers of a nested model are listed like others.
        multiply_adds: Multiplications in the kernels of layers, and of features with one another in
            products of matrices and in attention (with the keys and the values). Positions that
            padding adds count; biases, normalisations, activations and poolings do not.
        flops: `2 * multiply_adds`.
        parameters: Numbers in the weights, those that are not trained included, masks' not.
        parameter_bytes: Bytes of these weights.
        kernel_weights: Numbers in the kernels.
        zero_weights: How many of these are 0.
        weight_sparsity: The percentage of the weights in kernels that are 0.
        peak_activation_bytes: The most bytes that the features of one image take at a time, when
            the layers are computed one after the other, each into new memory but for those that
            hand their input on (masks, dropout, flatten, reshape), and features are kept until the
            last layer that reads them is done.
        memory: The count of the ANP paper, in numbers: a convolution
            `k * k * c_in * (h_out * w_out + c_out)`, and `2 * c_out` more with batch normalisation;
            a dense layer `inputs * outputs + outputs`, and `2 * inputs` more with it. A random
            weight counts as two numbers. Other convolutions likewise: patches read, weights, and
            twice the channels that are normalised.
            Of other layers with multiply-adds the weights alone count.
    """

    layers: tuple[LayerCost, ...]
    peak_activation_bytes: int

    @property
    def multiply_adds(self) -> int:
        return self._sum("multiply_adds")

    @property
    def flops(self) -> int:
        return self._sum("flops")

    @property
    def parameters(self) -> int:
        return self._sum("parameters")

    @property
    def parameter_bytes(self) -> int:
        return self._sum("parameter_bytes")

    @property
    def kernel_weights(self) -> int:
        return self._sum("kernel_weights")

    @property
    def zero_weights(self) -> int:
        return self._sum("zero_weights")

    @property
    def weight_sparsity(self) -> float:
        return 100.0 * self.zero_weights / max(1, self.kernel_weights)

    @property
    def memory(self) -> int:
        return self._sum("memory")

    def _sum(self, field):
        return sum(getattr(layer, field) for layer in self.layers)

    def table(self) -> TextTable:
        """The costs as a text table: a row per layer, the whole network, and the activations."""
        table = rich.table.Table(box=rich.box.SIMPLE, show_edge=False)
        fields = ("flops", "parameters", "parameter_bytes", "memory")
        for column in ("layer", "kind", *fields, "zeros, %"):
            table.add_column(column, justify="left" if column in ("layer", "kind") else "right")
        rows: list[tuple[str, str, LayerCost | Cost]]
        rows = [(layer.name, layer.kind, layer) for layer in self.layers]
        for name, kind, costs in [*rows, ("all", "", self)]:
            figures = (f"{getattr(costs, field):,}" for field in fields)
            table.add_row(name, kind, *figures, f"{costs.weight_sparsity:.1f}")
        return as_text(
            table, notes=[f"peak activation memory: {self.peak_activation_bytes:,} bytes"]
        )

    def __repr__(self):
        return (
            f"Cost({len(self.layers)} layers, {self.flops:,} FLOPs, {self.parameters:,} "
            f"parameters, {self.parameter_bytes:,} bytes, {self.weight_sparsity:.1f} % zeros)"
        )

    def _repr_html_(self):
        return self.table()._repr_html_()


def cost(model: keras.Model) -> Cost:
    """The cost of a network, from the shapes in its graph.

    Masks cost nothing, so that the cost of a masked network is the one of the dense network, and
    `cost(slim(network))` what remains. A layer that is called more than once counts its
    multiply-adds each time, and the rest once. Convolutions of all kinds, dense layers, attention,
    recurrent layers and products of two matrices are known.

    Args:
        model: Built functional or Sequential `keras.Model`, whose images have a known size.

    Returns:
        `Cost`.

    Raises:
        ValueError: if the multiply-adds of a layer are not known, such as those of other classes
            with weights, unless a handler tells them (see `register_handler`), or if the size of a
            tensor is not, or how many rows of it belong to one image.
    """
    flops, memory = collections.Counter(), {}
    layers, normalised = {}, {}
    graph = graph_of(model)
    rows_of = rows_per_image(graph)
    for node, origin in _calls(graph):
        layer, rows = node.layer, rows_of[id(node.outputs[0])]
        handler = handler_of(node) or COUNTED.get(type(layer))
        counted = handler.multiply_adds(node) if handler is not None else None
        if counted is not None:
            flops[layer] += rows * counted
            memory[layer] = sum(math.prod(w.shape) for w in getattr(layer, "weights", ()))
        elif not is_known(layer):
            raise ValueError(
                "`cost` does not know the multiply-adds of a layer, unless a handler tells them: "
                "see `anp_tf.pruning.register_handler`. Received: "
                f"layer `{layer.name}` ({type(layer).__name__})"
            )
        elif kernels(layer):
            flops[layer] += rows * multiply_adds(node)
            # A random weight is stored as a mean and a deviation.
            numbers = 2 if isinstance(layer, BayesLayer) else 1
            memory.setdefault(layer, numbers * paper_memory(node, rows))
        elif isinstance(layer, keras.layers.BatchNormalization) and origin is not None:
            (width,) = layer.moving_mean.shape
            width = origin.kernel.shape[0] if isinstance(origin, DENSE) else width
            normalised.setdefault(origin, 2 * width * (2 if isinstance(layer, BayesLayer) else 1))
        has_weights = getattr(layer, "weights", ()) and not isinstance(layer, BayesianMask)
        if has_weights or flops[layer]:
            layers[layer] = None  # a set that keeps the order
    for layer, numbers in normalised.items():
        memory[layer] += numbers
    costs = (_layer_cost(layer, flops[layer], memory.get(layer, 0)) for layer in layers)
    return Cost(tuple(costs), _peak_activation_bytes(graph, rows_of))


def _layer_cost(layer, multiply_adds, memory):
    in_kernels = [np.asarray(kernel) for kernel in kernels(layer)]
    numbers = sum(kernel.size for kernel in in_kernels)
    weights = getattr(layer, "weights", ())  # operations have none
    return LayerCost(
        name=layer.name,
        kind=type(layer).__name__,
        multiply_adds=multiply_adds,
        parameters=sum(math.prod(weight.shape) for weight in weights),
        parameter_bytes=sum(np.asarray(weight).nbytes for weight in weights),
        kernel_weights=numbers,
        zero_weights=numbers - sum(int(np.count_nonzero(kernel)) for kernel in in_kernels),
        memory=memory,
    )


def _peak_activation_bytes(graph, rows):
    """See `Cost`."""
    inputs = {id(tensor): tensor for tensor in keras.tree.flatten(graph.input)}
    alive = {key: tensor_bytes(tensor.name, tensor) for key, tensor in inputs.items()}
    owner = {key: key for key in inputs}  # by a tensor's id, that of the one whose memory it is in
    reads = collections.Counter()
    for node in graph.nodes:
        reads.update(owner[id(tensor)] for tensor in node.inputs)
        hands_on = isinstance(node.layer, (BayesianMask, *HANDING_ON))
        hands_on = hands_on or type(node.layer).__name__ == "Reshape"  # the operation
        for tensor in node.outputs:
            owner[id(tensor)] = owner[id(node.inputs[0])] if hands_on else id(tensor)
    reads.update(owner[id(tensor)] for tensor in keras.tree.flatten(graph.output))
    peak = sum(alive.values())
    for node in graph.nodes:
        for tensor in node.outputs:
            size = rows[id(tensor)] * tensor_bytes(node.layer.name, tensor)
            alive.setdefault(owner[id(tensor)], size)
        peak = max(peak, sum(alive.values()))
        reads.subtract(owner[id(tensor)] for tensor in node.inputs)
        alive = {key: size for key, size in alive.items() if reads[key]}
    return peak


def unit_sparsity(model):
    """The percentage of the units of all masks that are pruned; 0 if the model has no masks.

    Args:
        model: Built `keras.Model`; masks in nested models count.

    Returns:
        Float in [0, 100].
    """
    active = [np.asarray(mask.active_units()) for mask in mask_layers(model)]
    return 100.0 * float(1 - np.concatenate(active).mean()) if active else 0.0


def linear_origins(model):
    """For each call of a mask, the mask and the convolution or dense layer whose output it gets.

    On the way there may be normalisations, activations, poolings and the like. Yields (mask, layer
    or None).
    """
    for node, origin in _calls(graph_of(model)):
        if isinstance(node.layer, BayesianMask):
            yield node.layer, origin


def _calls(graph):
    """The calls in a graph, and per call the convolution or dense layer its one input goes back to.

    The way back passes masks, normalisations, activations, poolings and the like. Yields (`Node`,
    layer or None).
    """
    origins = {}  # by the tensor's id
    for node in graph.nodes:
        origin = origins.get(id(node.inputs[0])) if len(node.inputs) == 1 else None
        yield node, origin
        if isinstance(node.layer, APPLIED + TRANSPOSED):
            origin = node.layer
        origins.update((id(tensor), origin) for tensor in node.outputs)
