"""Networks in files that need not have been made here: SavedModels, LiteRT and ONNX."""

import abc
import functools
import pathlib
import threading

import numpy as np
import tensorflow as tf

from anp_tf.errors import WorkdirError, sentence
from anp_tf.models.frozen_form import frozen_form
from anp_tf.robustness.interface import picked

SIGNATURE = "serving_default"


class SavedModelNetwork:
    """The `serving_default` signature of a SavedModel, or its only one, as a network.

    Args:
        path: The folder of the SavedModel. Its signature takes one tensor, the pixels, of any name.
        output_name: Name of the logits; None: the only output, or that called `logits`.

    Call arguments:
        pixels: Tensor [batch, ...].
        training: Not used.

    Raises:
        WorkdirError: if it cannot be loaded, or has no such signature or output.
    """

    def __init__(self, path, output_name=None):
        if not (pathlib.Path(path) / "saved_model.pb").is_file():
            raise WorkdirError(
                f"{path} is neither a .keras file nor a SavedModel, and no .tflite or .onnx file"
            )
        try:
            self._model = tf.saved_model.load(str(path))
        except (OSError, ValueError, tf.errors.OpError) as error:
            raise _cannot_load(path, error) from error
        signatures = dict(self._model.signatures)
        if SIGNATURE not in signatures and len(signatures) != 1:
            raise WorkdirError(f"the SavedModel {path} has no signature {SIGNATURE}")
        self._signature = signatures.get(SIGNATURE) or next(iter(signatures.values()))
        inputs = self._signature.structured_input_signature[1]
        outputs = self._signature.structured_outputs
        self._input = _only(inputs, path)
        self.inputs, self.outputs = [inputs[self._input]], [_output(path, outputs, output_name)]
        self._path, self._output_name = path, output_name

    def __call__(self, pixels, training=False):
        outputs = self._signature(**{self._input: tf.cast(pixels, self.inputs[0].dtype)})
        return picked(outputs, self._output_name, str(self._path))

    def inference_form(self):
        """A function that computes the same logits at less cost; or this."""
        return self._form

    @functools.cached_property
    def _form(self):
        outputs = self._signature.structured_outputs
        name = next(name for name, spec in outputs.items() if spec is self.outputs[0])
        form = frozen_form(self._signature, name)
        if form is None:
            return self
        return lambda pixels, training=False: form(tf.cast(pixels, self.inputs[0].dtype))


class _Deployed(abc.ABC):
    """A network that is run outside of TensorFlow, so that it has no gradients.

    Call arguments:
        pixels: Tensor [batch, ...].
        training: Not used.
    """

    def __init__(self):
        self._lock = threading.Lock()  # they are not made for several calls at once

    @abc.abstractmethod
    def run(self, pixels):
        """The logits of some pixels, NumPy arrays."""

    def __call__(self, pixels, training=False):
        def run(pixels):
            with self._lock:
                return np.asarray(self.run(pixels), np.float32)

        return tf.numpy_function(run, [tf.cast(pixels, self.inputs[0].dtype)], tf.float32)


class LiteRtNetwork(_Deployed):
    """A LiteRT (TensorFlow Lite) file as a network, of any precision.

    Integers that it takes or returns are those of its own scales.

    Args:
        path: The `.tflite` file, with a signature or without.
        output_name: As for `SavedModelNetwork`.

    Raises:
        ImportError: if `ai-edge-litert` is not installed.
        WorkdirError: if it cannot be loaded, or has no such output.
    """

    def __init__(self, path, output_name=None):
        from ai_edge_litert.interpreter import Interpreter

        super().__init__()
        try:
            self._interpreter = Interpreter(model_path=str(path))
        except (OSError, ValueError, RuntimeError) as error:
            raise _cannot_load(path, error) from error
        names = list(self._interpreter.get_signature_list())
        if names:
            key = SIGNATURE if SIGNATURE in names else names[0]
            self._runner = self._interpreter.get_signature_runner(key)
            taken, given = self._runner.get_input_details(), self._runner.get_output_details()
        else:
            self._runner = None
            taken, given = (
                {detail["name"]: detail for detail in details}
                for details in (
                    self._interpreter.get_input_details(),
                    self._interpreter.get_output_details(),
                )
            )
        self._input = _only(taken, path)
        self._taken = taken[self._input]
        self._given = _output(path, given, output_name)
        self._output = next(name for name, detail in given.items() if detail is self._given)
        shape = [None if size == -1 else int(size) for size in self._taken["shape_signature"]]
        dtype = self._taken["dtype"]
        self._scaled = np.issubdtype(dtype, np.integer) and self._taken["quantization"][0] > 0
        self.inputs = [tf.TensorSpec(shape, tf.float32 if self._scaled else dtype)]

    def run(self, pixels):
        if self._scaled:
            scale, zero = self._taken["quantization"]
            limits = np.iinfo(self._taken["dtype"])
            pixels = np.clip(np.round(pixels / scale) + zero, limits.min, limits.max)
        outputs = self._ask(pixels.astype(self._taken["dtype"]))
        scale, zero = self._given["quantization"]
        integers = np.issubdtype(outputs.dtype, np.integer) and scale > 0
        return (outputs.astype(np.float32) - zero) * scale if integers else outputs

    def _ask(self, pixels):
        if self._runner:
            return self._runner(**{self._input: pixels})[self._output]
        index, interpreter = self._taken["index"], self._interpreter
        if interpreter.get_input_details()[0]["shape"][0] != len(pixels):
            interpreter.resize_tensor_input(index, pixels.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(index, pixels)
        interpreter.invoke()
        return interpreter.get_tensor(self._given["index"])


class OnnxNetwork(_Deployed):
    """An ONNX file as a network.

    Args:
        path: The `.onnx` file.
        output_name: As for `SavedModelNetwork`.

    Raises:
        ImportError: if `onnxruntime` is not installed.
        WorkdirError: if it cannot be loaded, or has no such output.
    """

    def __init__(self, path, output_name=None):
        import onnxruntime

        super().__init__()
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # of types that onnxruntime does not export
            raise _cannot_load(path, error) from error
        taken, given = self._session.get_inputs(), self._session.get_outputs()
        self._input = _only([each.name for each in taken], path)
        self._output = _output(path, {output.name: output for output in given}, output_name).name
        shape = [size if isinstance(size, int) else None for size in taken[0].shape]
        dtype = taken[0].type.removeprefix("tensor(").removesuffix(")")
        dtype = {"float": "float32", "double": "float64"}.get(dtype, dtype)
        self.inputs = [tf.TensorSpec(shape, dtype)]

    def run(self, pixels):
        return self._session.run([self._output], {self._input: pixels})[0]


def network_file(path, output_name=None):
    """The network in a `.tflite` or `.onnx` file, or in the folder of a SavedModel.

    Raises:
        WorkdirError: if there is none.
        ValueError: if a package that runs it is missing.
    """
    path = pathlib.Path(path)
    kinds = {".tflite": (LiteRtNetwork, "ai-edge-litert"), ".onnx": (OnnxNetwork, "onnxruntime")}
    if path.suffix not in kinds:
        return SavedModelNetwork(path, output_name)
    if not path.is_file():
        raise WorkdirError(f"there is no network at {path}")
    kind, package = kinds[path.suffix]
    try:
        return kind(path, output_name)
    except ImportError as error:
        raise ValueError(f"{path} needs the package {package}: pip install {package}") from error


def _only(inputs, path):
    """The name of the only input."""
    if len(inputs) != 1:
        raise WorkdirError(
            f"{path} must take one tensor, the pixels; it takes {', '.join(sorted(inputs))}"
        )
    (name,) = inputs
    return name


def _output(path, outputs, output_name):
    try:
        return picked(outputs, output_name, str(path))
    except ValueError as error:
        raise WorkdirError(str(error)) from error


def _cannot_load(path, error):
    return WorkdirError(f"cannot load a network from {path}: {sentence(error)}")
