"""Networks as LiteRT files, for phones and small devices."""

import importlib.util
import pathlib
import re
import tempfile
import warnings

import numpy as np
import tensorflow as tf

from anp_tf.files import atomic_file
from anp_tf.models.comparison import example_inputs
from anp_tf.names import PRECISIONS
from anp_tf.serving import signatures
from anp_tf.serving.saved_model import write

TOLERANCES = {"float32": 1e-4, "float16": 2e-2}  # of the largest logit; int8 has none

# Operations in TensorFlow's error: one by one, and in the list of a kind.
LACKING = r"(?:^|\s)tf\.(\w+)\{|(?:Flex|Select) ops: ([\w, ]+)"
LOOPS = ("While", "StatelessWhile")
LISTS = "tf.TensorList"  # of a loop's outputs, in TensorFlow's error


def export_litert(network, path, precision="float32", representative=None):
    """Writes a network as a LiteRT file, whole or not at all.

    Its signature `serving_default` takes `pixels`, float32 [batch, *image shape] in [0, 1], which
    are not checked, and returns `logits` and `probabilities`, float32, at all precisions. Where
    `ai-edge-litert` is installed, the file is run before it takes its place, and the logits of a
    float32 or float16 one are compared with the network's.

    Args:
        network: Built `keras.Model` from pixels to logits, exported as it is.
        path: The file, `*.tflite`; it must not exist.
        precision: `"float32"`; `"float16"`, that of the weights; or `"int8"`, that of weights and
            features, whose ranges are taken from `representative`.
        representative: Float array [images, *image shape] in [0, 1], for `"int8"`: some hundred
            training images.

    Raises:
        FileExistsError: if the file exists.
        ValueError: if an argument is not as described, if the network is not one from images of a
            known size to logits, if LiteRT lacks an operation that it needs or a loop, such as that
            of a recurrent layer without `unroll=True`, or if the file does not compute the same.
    """
    signatures.check_network(network)
    path = pathlib.Path(path)
    if precision not in PRECISIONS:
        raise ValueError(
            f"Argument `precision` must be one of {', '.join(PRECISIONS)}. "
            f"Received: precision={precision!r}"
        )
    if precision == "int8":
        if representative is None:
            raise ValueError(
                "Argument `representative` must be some images where precision='int8'. "
                "Received: None"
            )
        representative = signatures.checked_images("representative", representative, network)
    signatures.check_absent(path)
    with tempfile.TemporaryDirectory() as directory:
        write({signatures.PREDICT: signatures.predict(network, check=False)}, directory)
        content = litert_content(directory, precision, representative)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)
        if importlib.util.find_spec("ai_edge_litert") is not None:
            pixels = np.asarray(example_inputs(network.inputs[0]), np.float32)
            logits = litert_network(temporary)(pixels)
            if precision in TOLERANCES:
                signatures.check_logits("LiteRT", logits, network, pixels, TOLERANCES[precision])
        signatures.check_absent(path)  # it may have been made meanwhile


def litert_content(directory, precision="float32", representative=None):
    """The bytes of the LiteRT file of a SavedModel's `serving_default`, without its checks.

    Args:
        directory: Folder of the SavedModel.
        precision, representative: As in `export_litert`.
    """
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(directory), signature_keys=[signatures.PREDICT]
    )
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if precision == "int8":
        images = np.asarray(representative, np.float32)
        converter.representative_dataset = lambda: ({"pixels": x[None]} for x in images)
    return converted(converter, directory)


def converted(converter, directory):
    """What a `tf.lite.TFLiteConverter` makes of a SavedModel, with one line on what LiteRT lacks.

    Args:
        converter: Of the SavedModel. With a `representative_dataset`, loops are refused: the
            process would end by a segmentation fault where it is run.
        directory: Folder of the SavedModel.

    Raises:
        ValueError: if LiteRT lacks an operation or a loop.
    """
    if converter.representative_dataset is not None:
        _refuse_loops(directory)
    with warnings.catch_warnings():
        # Of TensorFlow's own use of a class that it has moved to another package.
        warnings.filterwarnings("ignore", r"\s*Warning: tf.lite.Interpreter is deprecated")
        try:
            return converter.convert()
        except Exception as error:  # TensorFlow exports no class of its own for it
            if LISTS in str(error):
                _refuse_loops(directory)
            found = re.findall(LACKING, str(error))
            names = sorted({name.strip() for pair in found for name in ",".join(pair).split(",")})
            lacking = ", ".join(filter(None, names)) or str(error).strip().splitlines()[0]
            raise ValueError(
                f"Argument `network` needs what LiteRT does not have. Received: {lacking}"
            ) from error


def _refuse_loops(directory):
    """Raises a ValueError if `serving_default` of a SavedModel has loops, which are named."""
    graph = tf.saved_model.load(str(directory)).signatures[signatures.PREDICT].graph.as_graph_def()
    nodes = (node for function in graph.library.function for node in function.node_def)
    loops = sorted({f"`{node.name}`" for node in nodes if node.op in LOOPS})
    if loops:
        raise ValueError(
            "Argument `network` has loops that LiteRT does not take: give recurrent layers "
            "`unroll=True`, or export a SavedModel or an ONNX file. "
            f"Received: {', '.join(loops)}"
        )


def litert_network(path, threads=None):
    """A LiteRT file as a function from pixels [batch, ...] to logits, NumPy arrays.

    Args:
        path: The file.
        threads: Integer, at least 1, threads that compute; None: LiteRT's choice.

    Raises:
        ImportError: if `ai-edge-litert` is not installed.
    """
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=threads)
    runner = interpreter.get_signature_runner(signatures.PREDICT)
    return lambda pixels: runner(pixels=np.asarray(pixels, np.float32))["logits"]
