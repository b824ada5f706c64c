"""What a network costs, computed from its graph."""

import collections
import dataclasses
import math

import keras
import numpy as np
import rich.box
import rich.table

from anp_tf.layers import BayesianMask, BayesLayer, mask_layers
from anp_tf.pruning.graph import graph_of
from anp_tf.tables import as_text


@dataclasses.dataclass(frozen=True)
class LayerCost:
    """The cost of one layer; the fields mean what they mean in `Cost`."""

    name: str
    kind: str
    multiply_adds: int
    parameters: int
    parameter_bytes: int
    memory: int

    @property
    def flops(self):
        """Two floating-point operations per multiply-add."""
        return 2 * self.multiply_adds


@dataclasses.dataclass(frozen=True)
class Cost:
    """The cost of a network, per image.

    Attributes:
        layers: Tuple of `LayerCost`, the layers that have weights, in the order of the graph, but
            for masks. Layers of a nested model are listed like others.
        multiply_adds: Multiplications in the kernels of convolutions and dense layers. Positions
            that padding adds count; biases, normalisations, activations and poolings do not.
        flops: `2 * multiply_adds`.
        parameters: Numbers in the weights, those that are not trained included, masks' not.
        parameter_bytes: Bytes of these weights.
        memory: The count of the ANP paper, in numbers: a convolution
            `k * k * c_in * (h_out * w_out + c_out)`, and `2 * c_out` more with batch normalisation;
            a dense layer `inputs * outputs + outputs`, and `2 * inputs` more with it. A random
            weight counts as two numbers.
    """

    layers: tuple[LayerCost, ...]

    @property
    def multiply_adds(self):
        return self._sum("multiply_adds")

    @property
    def flops(self):
        return self._sum("flops")

    @property
    def parameters(self):
        return self._sum("parameters")

    @property
    def parameter_bytes(self):
        return self._sum("parameter_bytes")

    @property
    def memory(self):
        return self._sum("memory")

    def _sum(self, field):
        return sum(getattr(layer, field) for layer in self.layers)

    def table(self):
        """The costs as a text table with a row per layer and one for the whole network."""
        table = rich.table.Table(box=rich.box.SIMPLE, show_edge=False)
        fields = ("flops", "parameters", "parameter_bytes", "memory")
        for column in ("layer", "kind", *fields):
            table.add_column(column, justify="right" if column in fields else "left")
        for layer in self.layers:
            figures = (f"{getattr(layer, field):,}" for field in fields)
            table.add_row(layer.name, layer.kind, *figures)
        table.add_row("all", "", *(f"{getattr(self, field):,}" for field in fields))
        return as_text(table)


def cost(model):
    """The cost of a network, from the shapes in its graph.

    Masks cost nothing, so that the cost of a masked network is the one of the dense network, and
    `cost(slim(network))` what remains. A layer that is called more than once counts its
    multiply-adds each time, and the rest once.

    Args:
        model: Built functional or Sequential `keras.Model`, whose images have a known size.

    Returns:
        `Cost`.

    Raises:
        ValueError: if a layer other than Conv2D and Dense has a kernel, since its multiply-adds are
            not known, or if the size of an output is not known.
    """
    multiply_adds, memory = collections.Counter(), {}
    layers, normalised = {}, {}
    for node, origin in _calls(model):
        layer = node.layer
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense):
            positions = _positions(node)
            multiply_adds[layer] += math.prod(layer.kernel.shape) * positions
            # A random weight is stored as a mean and a deviation.
            numbers = 2 if isinstance(layer, BayesLayer) else 1
            memory.setdefault(layer, numbers * _paper_memory(layer, positions))
        elif any("kernel" in weight.name for weight in getattr(layer, "weights", ())):
            raise ValueError(
                "`cost` knows the multiply-adds of Conv2D and Dense layers only. Received: layer "
                f"`{layer.name}` ({type(layer).__name__})"
            )
        elif isinstance(layer, keras.layers.BatchNormalization) and origin is not None:
            normalised[origin] = 2 if isinstance(layer, BayesLayer) else 1
        if getattr(layer, "weights", ()) and not isinstance(layer, BayesianMask):
            layers[layer] = None  # a set that keeps the order
    for layer, numbers in normalised.items():
        is_dense = isinstance(layer, keras.layers.Dense)
        memory[layer] += numbers * 2 * layer.kernel.shape[-2 if is_dense else -1]
    return Cost(
        tuple(
            LayerCost(
                name=layer.name,
                kind=type(layer).__name__,
                multiply_adds=multiply_adds[layer],
                parameters=sum(math.prod(weight.shape) for weight in layer.weights),
                parameter_bytes=sum(np.asarray(weight).nbytes for weight in layer.weights),
                memory=memory.get(layer, 0),
            )
            for layer in layers
        )
    )


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
    """For each call of a mask, the mask and the Conv2D or Dense whose output it gets.

    On the way there may be normalisations, activations, poolings and the like. Yields (mask, layer
    or None).
    """
    for node, origin in _calls(model):
        if isinstance(node.layer, BayesianMask):
            yield node.layer, origin


def _calls(model):
    """The calls in a model and, per call, the Conv2D or Dense that its one input goes back to.

    The way back passes masks, normalisations, activations, poolings and the like. Yields (`Node`,
    layer or None); a nested model's calls take the place of its own.
    """
    origins = {}  # by the tensor's id
    for node in graph_of(model).nodes:
        origin = origins.get(id(node.inputs[0])) if len(node.inputs) == 1 else None
        yield node, origin
        if isinstance(node.layer, keras.layers.Conv2D | keras.layers.Dense):
            origin = node.layer
        origins.update((id(tensor), origin) for tensor in node.outputs)


def _positions(node):
    """How often the kernel of a Conv2D or Dense is applied to an image."""
    shape = node.outputs[0].shape
    is_first = getattr(node.layer, "data_format", "channels_last") == "channels_first"
    sizes = shape[2:] if is_first else shape[1:-1]
    if None in sizes:
        raise ValueError(
            f"`cost` needs the size of the images, but the output of layer `{node.layer.name}` has "
            f"the shape {shape}."
        )
    return math.prod(sizes)


def _paper_memory(layer, positions):
    """The paper's count for a Conv2D or Dense without batch normalisation."""
    *inputs, outputs = layer.kernel.shape
    if isinstance(layer, keras.layers.Dense):
        return inputs[0] * outputs + outputs
    return math.prod(inputs) * (positions + outputs)
