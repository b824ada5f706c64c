"""Networks as ONNX files."""

import collections
import importlib.util
import logging
import pathlib

import numpy as np
import tensorflow as tf

from anp_tf.files import atomic_file
from anp_tf.models.comparison import example_inputs
from anp_tf.models.ungrouped import without_groups
from anp_tf.serving import signatures

OPSET = 18
TOLERANCE = 1e-4  # of the largest output
OUTPUTS = ("logits", "probabilities")


def export_onnx(network, path):
    """Writes a network as an ONNX file, whole or not at all.

    It takes `pixels`, float32 [batch, *image shape] in [0, 1], which are not checked, and returns
    `logits` and `probabilities`, float32. Before it takes its place the file is checked by `onnx`,
    and where `onnxruntime` is installed it is run, and its logits compared with the network's.

    Args:
        network: Built `keras.Model` from pixels to logits, exported as it is.
        path: The file, `*.onnx`; it must not exist.

    Raises:
        FileExistsError: if the file exists.
        ImportError: if `tf2onnx` is not installed.
        ValueError: if the network is not one from images of a known size to logits, if ONNX lacks
            an operation that it needs, or if the file does not compute the same.
    """
    import onnx

    signatures.check_network(network)
    path = pathlib.Path(path)
    signatures.check_absent(path)
    model = _converted(network)
    _check_operations(model)
    onnx.checker.check_model(model)
    content = model.SerializeToString()
    if importlib.util.find_spec("onnxruntime") is not None:
        _check_outputs(content, network)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)
        signatures.check_absent(path)  # it may have been made meanwhile


def _converted(network):
    """The network as an ONNX model; what `tf2onnx.convert.from_function` does, but for a step."""
    import tf2onnx
    from tf2onnx import optimizer, tf_loader, tfonnx

    function, specs = signatures.predict(without_groups(network), check=False)
    serve = tf.function(function, input_signature=specs).get_concrete_function(*specs)
    captures = serve.graph.captures
    constants = {inner.name: outer for outer, inner in captures if outer.dtype != tf.resource}
    inputs, outputs = (
        [tensor.name for tensor in tensors if tensor.dtype != tf.resource]
        for tensors in (serve.inputs, serve.outputs)
    )
    # What it says of operations that it does not know, `_check_operations` says too.
    logging.getLogger("tf2onnx.tfonnx").setLevel(logging.CRITICAL)
    # Where images are of one pixel it makes transpositions to reshapes of a wrong shape, so that a
    # layer normalization after a convolution comes out wrong. ONNX Runtime moves them by itself.
    steps = {
        name: step
        for name, step in optimizer._optimizers.items()
        if step is not optimizer.TransposeOptimizer
    }
    with tf.device("/cpu:0"):
        frozen = tf_loader.from_function(serve, inputs, outputs)
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(frozen, name="")
        graph = tfonnx.process_tf_graph(
            graph,
            continue_on_error=True,
            opset=OPSET,
            input_names=inputs,
            output_names=outputs,
            tensors_to_rename=tf2onnx.convert.tensor_names_from_structed(serve, inputs, outputs),
        )
        model = optimizer.optimize_graph(graph, optimizers=steps).make_model(network.name)
    _freeze(model.graph, constants)
    _rewrite(model.graph)
    return model


def _freeze(graph, constants):
    """Makes the inputs that stand for a network's constants these constants."""
    import onnx

    for value in [value for value in graph.input if value.name in constants]:
        array = np.asarray(constants[value.name])
        graph.initializer.append(onnx.numpy_helper.from_array(array, value.name))
        graph.input.remove(value)


def _rewrite(graph):
    """Writes TensorFlow's operations that ONNX lacks by those it has: erfc and expm1."""
    import onnx

    one = "anp_tf/one"
    instead = {"Erfc": ("Erf", lambda x, f: (x, f)), "Expm1": ("Exp", lambda x, f: (f, x))}
    nodes = []
    for node in graph.node:
        if node.op_type not in instead:
            nodes.append(node)
            continue
        # erfc(x) = 1 - erf(x), expm1(x) = exp(x) - 1
        operation, order = instead[node.op_type]
        (x,), (output,) = node.input, node.output
        inner, unit = f"{output}/inner", f"{output}/one"
        nodes += [
            onnx.helper.make_node(operation, [x], [inner], f"{node.name}/inner"),
            onnx.helper.make_node("CastLike", [one, x], [unit], f"{node.name}/one"),
            onnx.helper.make_node("Sub", [*order(unit, inner)], [output], node.name),
        ]
    if len(nodes) > len(graph.node):
        graph.initializer.append(onnx.numpy_helper.from_array(np.float32(1.0), one))
        del graph.node[:]
        graph.node.extend(nodes)


def _check_operations(model):
    import onnx

    unknown = collections.defaultdict(list)
    for node in model.graph.node:
        if not node.domain and not onnx.defs.has(node.op_type):
            unknown[node.op_type].append(f"`{node.name}`")
    found = (
        f"{kind} ({names[0]}" + (f" and {len(names) - 1} more" if len(names) > 1 else "") + ")"
        for kind, names in sorted(unknown.items())
    )
    if unknown:
        raise ValueError(
            "Argument `network` needs operations that ONNX does not have. "
            f"Received: {', '.join(found)}"
        )
    names = [value.name for value in model.graph.input]
    others = [value.name for value in model.graph.output]
    if names != ["pixels"] or sorted(others) != sorted(OUTPUTS):
        raise ValueError(
            f"The ONNX file would take {names} and return {others}. Expected pixels to logits and "
            "probabilities"
        )


def _check_outputs(content, network):
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ValueError(f"ONNX Runtime does not take the file: {error}") from error
    pixels = np.asarray(example_inputs(network.inputs[0]), np.float32)
    (logits,) = session.run(["logits"], {"pixels": pixels})
    signatures.check_logits("ONNX", logits, network, pixels, TOLERANCE)
