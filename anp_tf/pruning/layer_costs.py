"""What one call of a layer takes, per image, by the kind of layer."""

import math

import keras
import tensorflow as tf

from anp_tf.layers import BayesianMask
from anp_tf.models.kinds import APPLIED, DENSE, TRANSPOSED

# Layers and operations of Keras that multiply tensors with one another.
PRODUCTS = (
    *("AdditiveAttention", "Attention", "Conv", "ConvTranspose", "Cross", "DepthwiseConv", "Dot"),
    *("DotProductAttention", "Einsum", "Inner", "Kron", "Matmul", "Outer", "SeparableConv"),
    *("Tensordot", "Vdot"),
)
BATCH = 1009  # images; a prime, so that sizes of other axes are no multiples of it


def is_known(layer):
    """Whether the multiply-adds of a layer or an operation can be counted; most have none."""
    if isinstance(layer, (BayesianMask, *APPLIED, *TRANSPOSED)):
        return True
    parts = layer._flatten_layers() if isinstance(layer, keras.Layer) else [layer]
    return not any(_multiplies(part) for part in parts)  # the cell of an RNN, say


def _multiplies(layer):
    is_named = type(layer).__module__.split(".")[0] in ("keras", "anp_tf")
    weights = kernels(layer) if is_named else getattr(layer, "weights", ())
    return bool(weights) or type(layer).__name__ in PRODUCTS


def kernels(layer):
    """The kernels among the weights of a layer, without the deviations of random ones."""
    weights = getattr(layer, "weights", ())
    return [weight for weight in weights if weight.name.endswith("kernel")]


def multiply_adds(node):
    """The multiplications in the kernels of a call of a known layer, per row of its first axis."""
    numbers = sum(math.prod(kernel.shape) for kernel in kernels(node.layer))
    return numbers * _positions(node) if numbers else 0


def paper_memory(node, rows):
    """The ANP paper's count of a call of a layer with kernels, without batch normalization."""
    layer = node.layer
    if isinstance(layer, DENSE):
        inputs, outputs = layer.kernel.shape
        return inputs * outputs + outputs
    # Of groups, all of whose patches are read, the kernel has the channels of one.
    groups = getattr(layer, "groups", 1)
    positions = rows * _positions(node)
    return sum(
        math.prod(kernel.shape[:-1]) * (groups * positions + kernel.shape[-1])
        for kernel in kernels(layer)
    )


def tensor_bytes(name, tensor):
    """The bytes of a row of a tensor that the layer of this name reads or makes."""
    return math.prod(known_sizes(name, tensor.shape[1:])) * tf.as_dtype(tensor.dtype).size


def rows_per_image(graph):
    """How many rows of its first axis each tensor of a graph has per image, by the tensor's id.

    They are more than 1 where positions are merged into the batch, as by windowed attention. A
    layer that does not tell the size of its batch is taken to have as many as what it reads.
    """
    inputs = keras.tree.flatten(graph.input)
    batch = next((x.shape[0] for x in inputs if x.shape[0] is not None), BATCH)
    rows = {id(x): 1 for x in inputs}

    def call(node, tensors):
        args, kwargs = node.arguments(tensors)
        outputs = keras.tree.flatten(node.layer.compute_output_spec(*args, **kwargs))
        same = max((rows.get(id(tensor), 1) for tensor in node.inputs), default=1)
        for tensor, output in zip(node.outputs, outputs, strict=True):
            (size,) = output.shape[:1] or (1,)
            size = same * batch if size is None else size
            if size != 1 and size % batch:
                raise ValueError(
                    "`cost` needs to know how many rows of a tensor belong to one image, but it "
                    f"does not at layer `{node.layer.name}`: {tensor.shape}."
                )
            rows[id(tensor)] = max(1, size // batch)
        return outputs

    graph.compute([keras.KerasTensor((batch, *x.shape[1:]), x.dtype) for x in inputs], call)
    return rows


def _positions(node):
    """How often the kernels of a call are applied to a row of its first axis."""
    layer = node.layer
    shape = (node.inputs if isinstance(layer, TRANSPOSED) else node.outputs)[0].shape
    is_first = getattr(layer, "data_format", "channels_last") == "channels_first"
    return math.prod(known_sizes(layer.name, shape[2:] if is_first else shape[1:-1]))


def known_sizes(name, sizes):
    """The sizes of axes of a tensor of the layer of this name; an error if one is not known."""
    if None in sizes:
        raise ValueError(
            "`cost` needs the size of the images, but it is not known at layer "
            f"`{name}`: {tuple(sizes)}."
        )
    return sizes
