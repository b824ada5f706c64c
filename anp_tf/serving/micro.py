"""Networks for microcontrollers: int8 files, as C arrays, measured in TensorFlow Lite Micro."""

import collections
import contextlib
import dataclasses
import os
import pathlib
import re
import tempfile

import numpy as np
import tensorflow as tf

from anp_tf.files import atomic_directory
from anp_tf.serving import signatures
from anp_tf.serving.litert import converted
from anp_tf.serving.saved_model import write

NAME = "network"
METHODS = {  # of a `MicroMutableOpResolver`, that are not named by the rule in `_method`
    "BATCH_MATMUL": "BatchMatMul",
    "CUMSUM": "CumSum",
    "PADV2": "PadV2",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "UnidirectionalSequenceLSTM",
}
PER_LINE = 12  # bytes of the C array
HEADER = """\
// {name}: int8 in and out, {size:,} bytes; it ran in an arena of {arena:,} bytes.
//
//   pixel in [0, 1] = {input_scale:.9g} * (value - ({input_zero}))
//   logit = {output_scale:.9g} * (value - ({output_zero}))
//
// The operators that it needs:
//
//   tflite::MicroMutableOpResolver<{count}> resolver;
{operators}
#ifndef ANP_TF_NETWORK_H_
#define ANP_TF_NETWORK_H_

extern const unsigned char network_tflite[];
extern const unsigned int network_tflite_size;

#endif
"""


@dataclasses.dataclass(frozen=True)
class Micro:
    """What was measured of a network in TensorFlow Lite Micro.

    Attributes:
        path: Folder with `network.tflite`, `network.h` and `network.cc`.
        size: Bytes of the `.tflite` file.
        arena: Bytes of memory that it ran in.
        operators: Names of the operators that it needs, sorted.
        examples: Number of images that its outputs were compared on.
        difference: The largest difference from what LiteRT returns for them, in steps of int8.
        agreement: Share of the images that both give the same class.
    """

    path: pathlib.Path
    size: int
    arena: int
    operators: tuple[str, ...]
    examples: int
    difference: int
    agreement: float


def export_micro(network, path, representative, images):
    """Writes a network as a folder for a microcontroller, whole or not at all.

    The folder holds the int8 file `network.tflite`, whose input and output, too, are int8 and whose
    batch is one image, and the same as a C array in `network.cc`; `network.h` says what the numbers
    mean and which operators a `MicroMutableOpResolver` has to have. The file is run in TensorFlow
    Lite Micro's own interpreter.

    Args:
        network: Built `keras.Model` from pixels to logits, exported as it is.
        path: The folder; it must not exist.
        representative: Float array [images, *image shape] in [0, 1], some hundred training images,
            which give int8 its ranges.
        images: Float array like `representative`, at least one image, on which the outputs are
            compared with LiteRT's.

    Returns:
        `Micro`.

    Raises:
        FileExistsError: if the folder exists.
        ImportError: if `tflite-micro` or `ai-edge-litert` is not installed.
        ValueError: if the network is not one from images of a known size to logits, if the images
            are not as described, or if it needs an operator that LiteRT or TensorFlow Lite Micro
            lacks, or a loop, such as that of a recurrent layer without `unroll=True`.
    """
    signatures.check_network(network)
    representative = signatures.checked_images("representative", representative, network)
    images = signatures.checked_images("images", images, network)
    path = pathlib.Path(path)
    with atomic_directory(path) as temporary:
        content = micro_content(network, representative)
        operators = operators_of(content)
        micro = _MicroNetwork(content, operators)
        values = [micro(image) for image in images]
        reference = _LiteRTNetwork(content)
        others = [reference(image) for image in images]
        differences = [np.abs(a.astype(int) - b).max() for a, b in zip(values, others, strict=True)]
        same = [np.argmax(a) == np.argmax(b) for a, b in zip(values, others, strict=True)]
        measured = Micro(
            path,
            len(content),
            micro.arena(),
            tuple(sorted(operators)),
            len(values),
            int(max(differences)),
            float(np.mean(same)),
        )
        (temporary / f"{NAME}.tflite").write_bytes(content)
        (temporary / f"{NAME}.h").write_text(_header(measured, reference))
        (temporary / f"{NAME}.cc").write_text(_array(content))
    return measured


def micro_content(network, representative):
    """The bytes of the int8 file of a network: one image in, its logits out, both int8."""
    spec = tf.TensorSpec((1, *network.inputs[0].shape[1:]), tf.float32, name="pixels")

    def serve(pixels):
        return {"logits": tf.cast(network(pixels, training=False), tf.float32)}

    with tempfile.TemporaryDirectory() as directory:
        write({signatures.PREDICT: (serve, [spec])}, directory)
        converter = tf.lite.TFLiteConverter.from_saved_model(
            directory, signature_keys=[signatures.PREDICT]
        )
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ({"pixels": x[None]} for x in representative)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
        return converted(converter, directory)


def operators_of(content):
    """The operators of a LiteRT file: a dict from the name to the tensors that they make."""
    from tflite_micro.tensorflow.lite.micro.python import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))
    kinds = vars(schema.BuiltinOperator).items()
    names = {code: name for name, code in kinds if isinstance(code, int)}
    found = collections.defaultdict(list)
    for graph in model.subgraphs:
        for operator in graph.operators:
            code = model.operatorCodes[operator.opcodeIndex]
            name = names[max(code.builtinCode, code.deprecatedBuiltinCode)]
            found[name].append(graph.tensors[operator.outputs[0]].name.decode())
    return dict(found)


class _MicroNetwork:
    """A file in TensorFlow Lite Micro's interpreter: from pixels of an image to int8 logits."""

    def __init__(self, content, operators):
        from tflite_micro import runtime

        with _said() as said:
            try:
                self._interpreter = runtime.Interpreter.from_bytes(content)
            except Exception as error:
                raise _lacking(said, operators, error) from error
        details = self._interpreter.get_input_details(0)
        self._quantization = _quantization(details)

    def __call__(self, image):
        self._interpreter.set_input(_quantized(image, *self._quantization), 0)
        with _said() as said:
            try:
                self._interpreter.invoke()
            except Exception as error:
                raise ValueError(f"TensorFlow Lite Micro does not run it: {said}") from error
        return np.array(self._interpreter.get_output(0))[0]

    def arena(self):
        """The bytes of memory that the network takes."""
        with _said() as said:
            self._interpreter.print_allocations()
        return int(re.search(r"Arena allocation total (\d+) bytes", "".join(said))[1])


class _LiteRTNetwork:
    """A file in LiteRT's interpreter, likewise.

    Attributes:
        input, output: Pairs of scale and zero point.
    """

    def __init__(self, content):
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(model_content=content)
        self._interpreter.allocate_tensors()
        (into,), (out,) = (
            self._interpreter.get_input_details(),
            self._interpreter.get_output_details(),
        )
        self._indices = into["index"], out["index"]
        self.input, self.output = into["quantization"], out["quantization"]

    def __call__(self, image):
        into, out = self._indices
        self._interpreter.set_tensor(into, _quantized(image, *self.input))
        self._interpreter.invoke()
        return self._interpreter.get_tensor(out)[0]


def _quantization(details):
    parameters = details["quantization_parameters"]
    return float(parameters["scales"][0]), int(parameters["zero_points"][0])


def _quantized(image, scale, zero):
    values = np.rint(np.asarray(image, np.float32) / scale) + zero
    return np.clip(values, -128, 127).astype(np.int8)[None]


def _lacking(said, operators, error):
    """The error for an operator that the interpreter did not find."""
    name = re.search(r"Didn't find op for builtin opcode '(\w+)'", "".join(said))
    if name is None:
        return ValueError(f"TensorFlow Lite Micro does not take the file: {error} {''.join(said)}")
    places = ", ".join(f"`{place}`" for place in operators.get(name[1], ()))
    return ValueError(
        f"Argument `network` needs an operator that TensorFlow Lite Micro does not have. "
        f"Received: {name[1]} at {places or 'an unknown layer'}"
    )


@contextlib.contextmanager
def _said():
    """Yields a list that has the text that C code writes to the standard error in the block."""
    said = []
    with tempfile.TemporaryFile() as file:
        before = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield said
        except Exception:
            _read(file, said)
            raise
        else:
            _read(file, said)
        finally:
            os.dup2(before, 2)
            os.close(before)


def _read(file, said):
    file.seek(0)
    said.append(file.read().decode(errors="replace"))


def _header(measured, reference):
    adds = (f"//   resolver.Add{_method(name)}();" for name in measured.operators)
    (input_scale, input_zero), (output_scale, output_zero) = reference.input, reference.output
    return HEADER.format(
        name=f"{NAME}.tflite",
        size=measured.size,
        arena=measured.arena,
        count=len(measured.operators),
        operators="\n".join(adds),
        input_scale=input_scale,
        input_zero=input_zero,
        output_scale=output_scale,
        output_zero=output_zero,
    )


def _method(name):
    """The name of an operator's method: `CONV_2D` is added by `AddConv2D`."""
    words = "".join(word.capitalize() for word in name.split("_"))
    return METHODS.get(name) or re.sub(r"(\d)d\b", r"\1D", words)


def _array(content):
    lines = [
        "  " + ", ".join(f"0x{byte:02x}" for byte in content[start : start + PER_LINE]) + ","
        for start in range(0, len(content), PER_LINE)
    ]
    return "\n".join(
        [
            f'#include "{NAME}.h"',
            "",
            "alignas(16) extern const unsigned char network_tflite[] = {",
            *lines,
            "};",
            f"extern const unsigned int network_tflite_size = {len(content)};",
            "",
        ]
    )
