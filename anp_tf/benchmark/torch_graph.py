"""A TensorFlow function's network in PyTorch, operation by operation, with the same weights."""

import numpy as np
import tensorflow as tf
import torch
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
from torch.nn import functional

PASSED_ON = ("EnsureShape", "Identity", "Placeholder", "PreventGradient", "StopGradient")


class TorchGraph(torch.nn.Module):
    """Computes the logits that a signature of a SavedModel does, or a Keras network in inference.

    Args:
        signature: Concrete function of `pixels` that returns a dict with `logits`, of a network
            whose operations are all in `OPERATIONS`, with a flattening before its dense layers.

    Call arguments:
        pixels: Tensor [batch, channels, height, width], best in memory format channels_last.

    Raises:
        ValueError: if an operation is of another kind, when it is called.
    """

    def __init__(self, signature):
        super().__init__()
        frozen = convert_variables_to_constants_v2(signature)
        self._nodes = {node.name: node for node in frozen.graph.as_graph_def().node}
        names = sorted(signature.structured_outputs)  # in the order of the outputs
        self._logits = frozen.outputs[names.index("logits")].op.name
        self._input = frozen.inputs[0].op.name
        self._constants = {}

    def forward(self, pixels):
        values = {self._input: pixels}
        return self._value(self._logits, values)

    def _value(self, name, values):
        name = name.split(":")[0]
        if name not in values:
            node = self._nodes[name]
            inputs = [each for each in node.input if not each.startswith("^")]
            if node.op == "Const":
                values[name] = self._constant(node)
            elif node.op in PASSED_ON:
                values[name] = self._value(inputs[0], values)
            elif node.op == "SelectV2":  # of indices, which are not negative: as they are
                values[name] = self._value(inputs[2], values)
            elif node.op == "Reshape":
                values[name] = _flat(self._value(inputs[0], values))
            elif node.op in OPERATIONS:
                given = [self._value(each, values) for each in inputs]
                values[name] = OPERATIONS[node.op](node.attr, *given)
            else:
                raise ValueError(f"Operation `{name}` is of a kind not known here: {node.op}.")
        return values[name]

    def _constant(self, node):
        if node.name not in self._constants:
            array = tf.make_ndarray(node.attr["value"].tensor)
            if array.ndim == 4:  # a kernel
                kernel = torch.from_numpy(np.array(array)).permute(3, 2, 0, 1)
                tensor = kernel.contiguous(memory_format=torch.channels_last)
            else:
                tensor = torch.from_numpy(np.array(array))
            self._constants[node.name] = tensor
        return self._constants[node.name]


def signature_of(network):
    """The signature, for `TorchGraph`, of a Keras network in inference."""
    pixels = tf.TensorSpec((None, *network.input_shape[1:]), tf.float32)
    run = tf.function(lambda pixels: {"logits": network(pixels, training=False)})
    return run.get_concrete_function(pixels)


def as_torch(array):
    """A NumPy array of images [batch, height, width, channels] as PyTorch wants it."""
    tensor = torch.from_numpy(np.ascontiguousarray(array)).permute(0, 3, 1, 2)
    return tensor.contiguous(memory_format=torch.channels_last)


def _flat(x):
    """The features [batch, channels, height, width] in TensorFlow's order; vectors as they are."""
    return x.permute(0, 2, 3, 1).flatten(1) if x.dim() == 4 else x


def _convolution(attributes, x, kernel):
    strides = list(attributes["strides"].list.i)[1:3]
    padding = attributes["padding"].s.decode().lower()
    if padding == "explicit" or (padding == "same" and strides != [1, 1]):
        raise ValueError(f"A convolution with {padding} padding and strides {strides}.")
    return functional.conv2d(x, kernel, None, strides, padding)


def _normalization(attributes, x, gamma, beta, mean, variance):
    return functional.batch_norm(x, mean, variance, gamma, beta, eps=attributes["epsilon"].f)


def _pooling(attributes, x):
    size, strides = (list(attributes[name].list.i)[1:3] for name in ("ksize", "strides"))
    return functional.max_pool2d(x, size, strides)


def _along_channels(x, vector):
    return vector.reshape(-1, 1, 1) if x.dim() == 4 and vector.dim() == 1 else vector


OPERATIONS = {
    "AddV2": lambda _, x, y: x + _along_channels(x, y),
    "BiasAdd": lambda _, x, y: x + _along_channels(x, y),
    "Conv2D": _convolution,
    "FusedBatchNormV3": _normalization,
    "GatherV2": lambda _, x, indices, axis: x.index_select(int(axis), indices.flatten()),
    "MatMul": lambda _, x, y: x @ y,
    "MaxPool": _pooling,
    "Mul": lambda _, x, y: x * _along_channels(x, y),
    "Relu": lambda _, x: functional.relu(x),
    "Rsqrt": lambda _, x: x.rsqrt(),
    "Squeeze": lambda _, x: x.flatten(),
    "Sub": lambda _, x, y: x - _along_channels(x, y),
}
