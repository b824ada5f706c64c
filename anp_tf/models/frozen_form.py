"""What a function of a SavedModel computes, arranged so that its gradient is cheap."""

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from anp_tf.models.pooled_convolution import FEW, kernel_of_blocks, pooled_convolution

ADDITIONS = ("Add", "AddV2", "BiasAdd")
# Operations of tensors alone, without state, that are made again as they are.
KNOWN = {
    *ADDITIONS,
    *("AvgPool", "Cast", "ConcatV2", "Conv2D", "DepthwiseConv2dNative", "Div", "Elu", "Exp"),
    *("ExpandDims", "FloorMod", "GatherV2", "Identity", "LeakyRelu", "Less", "MatMul", "Max"),
    *("MaxPool", "Maximum", "Mean", "Minimum", "Mul", "Neg", "Pack", "Pad", "PadV2", "Prod"),
    *("RealDiv", "Relu", "Relu6", "Reshape", "Round", "Rsqrt", "SelectV2", "Selu", "Shape"),
    *("Sigmoid", "Softmax", "Softplus", "Sqrt", "Square", "SquaredDifference", "Squeeze"),
    *("StridedSlice", "Sub", "Sum", "Tanh", "Transpose", "EnsureShape"),
}

LOOPS = {"While", "StatelessWhile"}
# By TensorFlow's Python, of what an operation reads, and of its options.
RENAMED = {"squeeze_dims": "axis", "reduction_indices": "axis", "dim": "axis"}


def frozen_form(function, output):
    """A function of pixels that computes one of a concrete function's outputs, at less cost.

    The variables are constants, of the time of this call. What comes after a convolution or a
    matrix product and is linear in its channels (biases, normalization) is folded into its weights,
    and the features that are taken of it before a matrix product are those of a kernel with rows of
    0. Where a ReLU alone is between these and a max-pooling, pooling comes first, and for the few
    channels of pixels it is part of the convolution. Checks of the pixels are left out.

    Args:
        function: Concrete function of one tensor, the pixels.
        output: Name of the output in `structured_outputs`.

    Returns:
        Function of the pixels; None if there are operations in it of other kinds than `KNOWN`.
    """
    if _operations(function) & LOOPS:  # which cannot be frozen
        return None
    with tf.init_scope():
        frozen = convert_variables_to_constants_v2(function)
    logits = frozen.outputs[sorted(function.structured_outputs).index(output)]
    needed, waiting = {}, [logits.op]
    while waiting:
        op = waiting.pop()
        if op.name not in needed:
            needed[op.name] = op
            waiting += [tensor.op for tensor in op.inputs]
    if len(frozen.inputs) != 1 or not {op.type for op in needed.values()} <= {
        *KNOWN,
        "Const",
        "Placeholder",
    }:
        return None
    ordered = [op for op in frozen.graph.get_operations() if op.name in needed]
    return _FrozenForm(ordered, frozen.inputs[0], logits)


def _operations(function):
    """The kinds of the operations in a concrete function, and in those that it calls."""
    graph = function.graph.as_graph_def()
    called = [node for each in graph.library.function for node in each.node_def]
    return {node.op for node in (*graph.node, *called)}


class _FrozenForm:
    """Makes the operations of a frozen graph again, some of them by other functions."""

    def __init__(self, ops, pixels, logits):
        self._pixels, self._logits = pixels.name, logits
        self._constants, self._rules, self._readers = {}, {}, {}
        for op in ops:
            for tensor in op.inputs:
                self._readers.setdefault(tensor.name, []).append(op)
            with tf.init_scope():
                if op.type == "Const":
                    value = tf.constant(tf.make_ndarray(op.get_attr("value")))
                elif op.inputs and all(tensor.name in self._constants for tensor in op.inputs):
                    value = _again(op, [self._constants[tensor.name] for tensor in op.inputs])
                else:
                    continue
            self._constants[op.outputs[0].name] = value
        with tf.init_scope():
            for op in ops:
                if op.type in ("Conv2D", "MatMul") and self._is_linear_map(op):
                    self._arrange(op)

    def __call__(self, pixels, training=False):
        values = {**self._constants, self._pixels: pixels}

        def value(tensor):
            if tensor.name not in values:
                start, rule = self._rules.get(tensor.name, (None, None))
                if rule:
                    values[tensor.name] = rule(value(start))
                else:
                    given = [value(each) for each in tensor.op.inputs]
                    values[tensor.name] = _again(tensor.op, given)
            return values[tensor.name]

        return value(self._logits)

    def _is_linear_map(self, op):
        start, kernel = op.inputs
        if start.name in self._constants or kernel.name not in self._constants:
            return False
        if op.type == "MatMul":
            return not op.get_attr("transpose_a") and not op.get_attr("transpose_b")
        usual = op.get_attr("data_format") == b"NHWC" and set(op.get_attr("dilations")) == {1}
        return (
            usual and start.shape[-1] == kernel.shape[2] and op.get_attr("padding") != b"EXPLICIT"
        )

    def _arrange(self, op):
        """Has a convolution or matrix product do what comes after it, as far as it can."""
        start, kernel = op.inputs[0], self._constants[op.inputs[1].name]
        bias, relu, pooling, last = tf.zeros(kernel.shape[-1:], kernel.dtype), False, None, op
        if op.type == "MatMul":
            start, kernel = self._without_gather(start, kernel)
        while pooling is None and last.outputs[0] is not self._logits:
            after = self._readers[last.outputs[0].name]
            if len(after) > 1:
                break
            vector = None if relu else self._vector(after[0], last.outputs[0], kernel.shape[-1])
            if vector is not None and after[0].type == "Mul":
                kernel, bias = kernel * vector, bias * vector
            elif vector is not None:
                bias = bias - vector if after[0].type == "Sub" else bias + vector
            elif after[0].type == "Relu":
                relu = True
            elif _is_pooling(after[0]) and op.type == "Conv2D":
                pooling = after[0]
            elif after[0].type != "Identity":
                break
            last = after[0]

        def rule(x):
            if op.type == "MatMul":
                outputs = tf.linalg.matmul(x, kernel)
            elif self._pools_at_once(op, x, kernel, pooling):
                with tf.init_scope():  # once, not in each step of a loop
                    of_blocks = kernel_of_blocks(kernel, x.shape[1:3])
                outputs = pooled_convolution(x, kernel, None, of_blocks)
            else:
                padding = op.get_attr("padding").decode()
                outputs = tf.nn.conv2d(x, kernel, op.get_attr("strides"), padding)
                if pooling is not None:
                    outputs = _again(pooling, [outputs])
            outputs = tf.nn.bias_add(outputs, bias)
            return tf.nn.relu(outputs) if relu else outputs

        self._rules[last.outputs[0].name] = start, rule

    def _without_gather(self, start, kernel):
        """Where features are taken before a matrix product: all of them, and its rows for them."""
        op = start.op
        if op.type != "GatherV2" or len(self._readers[start.name]) > 1:
            return start, kernel
        features, indices, axis = op.inputs
        places = self._constants.get(indices.name)
        known = places is not None and places.shape.rank == 1 and axis.name in self._constants
        if not known or features.shape.rank != 2 or not features.shape[1]:
            return start, kernel
        if int(self._constants[axis.name]) not in (1, -1) or op.get_attr("batch_dims"):
            return start, kernel
        shape = [features.shape[1], kernel.shape[1]]
        places = tf.cast(places, tf.int32)[:, None]
        return features, tf.scatter_nd(places, kernel, shape)

    def _vector(self, op, tensor, channels):
        """The constant [channels] that an operation adds, takes away or multiplies by, or None."""
        if op.type not in (*ADDITIONS, "Sub", "Mul"):
            return None
        first, second = op.inputs
        constant = self._constants.get((second if first is tensor else first).name)
        if constant is None or (op.type == "Sub" and first is not tensor):
            return None
        size = constant.shape.num_elements()
        in_channels = size == 1 or (size == channels and constant.shape[-1] == channels)
        if not in_channels or constant.shape.rank > tensor.shape.rank:
            return None
        return tf.broadcast_to(tf.reshape(constant, [-1]), [channels])

    def _pools_at_once(self, op, x, kernel, pooling):
        if pooling is None or op.get_attr("padding") != b"VALID" or None in x.shape[1:]:
            return False
        sizes = [x.shape[axis] - kernel.shape[axis - 1] + 1 for axis in (1, 2)]
        few = x.shape[3] <= FEW and all(size % 2 == 0 for size in sizes)
        attributes = (op.get_attr("strides"), *map(pooling.get_attr, ("ksize", "strides")))
        return few and attributes == ([1] * 4, [1, 2, 2, 1], [1, 2, 2, 1])


def _is_pooling(op):
    return op.type == "MaxPool" and op.get_attr("data_format") == b"NHWC"


def _again(op, inputs):
    """An operation of a graph with other inputs: its output, or a list of several."""
    definition, given, inferred = op.op_def, {}, set()
    inputs = list(inputs)
    for argument in definition.input_arg:
        inferred |= {argument.type_attr, argument.number_attr}
        name = RENAMED.get(argument.name, argument.name)
        if argument.number_attr:
            count = op.get_attr(argument.number_attr)
            given[name], inputs = inputs[:count], inputs[count:]
        else:
            given[name] = inputs.pop(0)
    attributes = {a.name: op.get_attr(a.name) for a in definition.attr if a.name not in inferred}
    attributes = {
        RENAMED.get(name, name): tf.TensorShape(value) if name == "shape" else value
        for name, value in attributes.items()
        if not name.startswith("_")
    }
    return getattr(tf.raw_ops, op.type)(**given, **attributes)
