"""What a network computes in inference, arranged so that its gradient in the pixels is cheap."""

import dataclasses
import inspect
from collections.abc import Callable

import keras
import tensorflow as tf

from anp_tf.models.graph import graph_of
from anp_tf.models.normalization import is_normalization, scale_and_shift
from anp_tf.models.pooled_convolution import FEW, kernel_of_blocks, pooled_convolution

RELU, LINEAR = keras.activations.relu, keras.activations.linear


def inference_form(network):
    """A function that computes what a network does in inference, at less cost.

    Batch normalization is folded into the convolution or the dense layer before it, once. Where
    ReLUs alone are between these and a max-pooling, pooling comes first, and for the few channels
    of pixels it is part of the convolution (`pooled_convolution`). Weights are those of the time of
    this call.

    It is meant for CPUs, where it was measured; where there is a GPU, networks stay as they are.

    Args:
        network: Keras model, or any function `(pixels, training) -> logits`. One that has such a
            form of its own gives it by a method `inference_form()`.

    Returns:
        Function `(pixels, training=False) -> logits`: `network` itself if it has no such method
        and is neither a functional nor a Sequential model.
    """
    if tf.config.list_physical_devices("GPU"):
        return network
    if not isinstance(network, keras.Model):
        return network.inference_form() if hasattr(network, "inference_form") else network
    try:
        graph = graph_of(network)
    except ValueError:  # it is neither
        return network
    return _InferenceForm(network, graph)


class _InferenceForm:
    """Runs the calls of a graph, some of them by other functions.

    Args:
        network: `keras.Model`, which is called for pixels of another rank than its input's.
        graph: `Graph` of the network.
    """

    def __init__(self, network, graph):
        self._network = network
        self._graph = graph
        self._functions = {}  # by the nodes that are not computed by their own layers
        readers = graph.readers()
        for node in graph.nodes:
            if _is_linear_map(node):
                self._arrange(node, readers)

    def __call__(self, pixels, training=False):
        if training:
            raise ValueError("This form of a network is for inference. Received: training=True")
        start, *others = keras.tree.flatten(self._graph.input)
        pixels = tf.convert_to_tensor(pixels)
        if others or pixels.shape.rank != len(start.shape):
            return self._network(pixels, training=False)
        outputs = self._graph.compute([tf.cast(pixels, start.dtype)], self._call)
        # Keras, too, returns the one output of a list.
        return outputs[0] if isinstance(outputs, list) and len(outputs) == 1 else outputs

    def _call(self, node, values):
        args, kwargs = node.arguments(values)
        if node in self._functions:
            return self._functions[node](*args)
        return node.layer(*args, **{**kwargs, **in_inference(node.layer)})

    def _arrange(self, node, readers):
        """Has a convolution or dense layer do what comes after it, as far as it can."""
        layer, last = node.layer, node
        kernel, bias = layer.kernel, layer.bias if layer.use_bias else None
        after = _only(readers, node)
        if layer.activation is LINEAR and after is not None and _can_fold(after, layer):
            kernel, bias = _folded(kernel, bias, after.layer)
            self._functions[after] = _identity
            last = after
        pooling = _pooling_after(last, readers) if type(layer) is keras.layers.Conv2D else None
        if pooling is not None:
            self._functions[pooling] = _identity
        kernel, bias = (
            None if weight is None else tf.cast(weight, layer.compute_dtype)
            for weight in (kernel, bias)
        )
        of_blocks = None
        if pooling is not None and _pools_at_once(layer, pooling.layer, node.inputs[0].shape):
            size = node.inputs[0].shape[1:3]
            if layer.padding == "same":
                size = [each + extent - 1 for each, extent in zip(size, kernel.shape, strict=False)]
            of_blocks = kernel_of_blocks(kernel, size)
        pooling = pooling and pooling.layer
        self._functions[node] = _LinearMap(layer, kernel, bias, pooling, of_blocks)


@dataclasses.dataclass(frozen=True)
class _LinearMap:
    """A convolution or dense layer with other weights, and the pooling that comes after its ReLU.

    Attributes:
        layer: The `Conv2D` or `Dense` layer.
        kernel: Tensor, in the place of the layer's.
        bias: Tensor [units], or None.
        pooling: `MaxPooling2D` layer, or None.
        of_blocks: The kernel for `pooled_convolution` where the two are one, or None.
    """

    layer: Callable
    kernel: tf.Tensor
    bias: tf.Tensor | None
    pooling: Callable | None
    of_blocks: tf.Tensor | None

    def __call__(self, x):
        layer, x = self.layer, tf.cast(x, self.layer.compute_dtype)
        if isinstance(layer, keras.layers.Dense):
            outputs = tf.linalg.matmul(x, self.kernel)
        elif self.of_blocks is not None:
            given = self._padded(x), self.kernel, self.bias, self.of_blocks
            return layer.activation(pooled_convolution(*given))
        else:
            padding = layer.padding.upper()
            outputs = tf.nn.conv2d(x, self.kernel, layer.strides, padding, "NHWC")
        if self.pooling is not None:
            outputs = self.pooling(outputs)
        if self.bias is not None:
            outputs = tf.nn.bias_add(outputs, self.bias)
        return layer.activation(outputs)

    def _padded(self, x):
        if self.layer.padding == "valid":
            return x
        around = [[(size - 1) // 2, size // 2] for size in self.layer.kernel_size]
        return tf.pad(x, [[0, 0], *around, [0, 0]])


def _identity(x):
    return x


def _pools_at_once(layer, pooling, shape):
    """Whether `pooled_convolution` is for a convolution of images of this shape and a pooling."""
    if shape[-1] > FEW or None in shape[1:]:
        return False
    less = 0 if layer.padding == "same" else 1
    sizes = [
        size - less * (extent - 1)
        for size, extent in zip(shape[1:3], layer.kernel_size, strict=True)
    ]
    windows = (pooling.pool_size, pooling.strides) == ((2, 2), (2, 2))
    return windows and layer.strides == (1, 1) and all(size % 2 == 0 for size in sizes)


def _only(readers, node):
    """The only node that reads a node's output, or None."""
    found = readers[id(node.outputs[0])]
    return found[0] if len(found) == 1 else None


def _pooling_after(node, readers):
    """The max-pooling that reads a node's output through ReLUs alone, or None."""
    activation = getattr(node.layer, "activation", LINEAR)
    after = _only(readers, node) if activation in (LINEAR, RELU) else None
    while after is not None and _is_relu(after.layer):
        after = _only(readers, after)
    return after if after is not None and _is_pooling(after.layer) else None


def _is_linear_map(node):
    layer = node.layer
    if type(layer) not in (keras.layers.Conv2D, keras.layers.Dense):
        return False
    if layer.quantization_mode or node.kwargs or len(node.args) != 1:
        return False
    if type(layer) is keras.layers.Dense:
        return len(node.inputs[0].shape) == 2
    return (
        layer.data_format == "channels_last" and layer.groups == 1 and layer.dilation_rate == (1, 1)
    )


def _can_fold(node, layer):
    normalization = node.layer
    return (
        is_normalization(node)
        and normalization.compute_dtype == layer.compute_dtype
        and normalization.variable_dtype == layer.variable_dtype
    )


def _is_relu(layer):
    if type(layer) is keras.layers.ReLU:
        return layer.threshold == 0 and layer.negative_slope >= 0
    return type(layer) is keras.layers.Activation and layer.activation is RELU


def _is_pooling(layer):
    return type(layer) is keras.layers.MaxPooling2D and layer.data_format == "channels_last"


def _folded(kernel, bias, normalization):
    """The kernel and the bias of a layer and the batch normalization after it."""
    scale, shift = scale_and_shift(normalization, tf.convert_to_tensor)
    if bias is not None:
        shift += tf.convert_to_tensor(bias) * scale
    return tf.convert_to_tensor(kernel) * scale, shift


def in_inference(layer):
    """The keyword argument that has a layer infer, whatever it is called from."""
    if isinstance(layer, keras.Layer) and "training" in inspect.signature(layer.call).parameters:
        return {"training": False}
    return {}
