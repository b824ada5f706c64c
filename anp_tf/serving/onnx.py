"""Networks as ONNX files."""

import pathlib

import tensorflow as tf

from anp_tf.files import atomic_file
from anp_tf.serving import signatures

OPSET = 18


def export_onnx(network, path):
    """Writes a network as an ONNX file, whole or not at all.

    It takes `pixels`, float32 [batch, *image shape] in [0, 1], which are not checked, and returns
    `logits` and `probabilities`, float32.

    Args:
        network: Built `keras.Model` from pixels to logits, exported as it is.
        path: The file, `*.onnx`; it must not exist.

    Raises:
        FileExistsError: if the file exists.
        ImportError: if `tf2onnx` is not installed.
        ValueError: if the network has not exactly one input and one output.
    """
    import tf2onnx

    signatures.check_network(network)
    path = pathlib.Path(path)
    if path.exists():
        raise FileExistsError(f"{path} exists already and is not overwritten")
    function, specs = signatures.predict(network, check=False)
    serve = tf.function(function, input_signature=specs)
    model, _ = tf2onnx.convert.from_function(serve, input_signature=specs, opset=OPSET)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as temporary:
        temporary.write_bytes(model.SerializeToString())
