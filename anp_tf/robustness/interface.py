"""The entrance of networks: any function of pixels becomes one of float32 logits, checked once."""

import copy
import dataclasses
import inspect

import keras
import numpy as np
import tensorflow as tf

from anp_tf.attacks import straight_through

PROBE_IMAGES = 100  # images that a network is looked at with


@dataclasses.dataclass(frozen=True)
class Interface:
    """What cannot always be seen of a network: how it takes pixels and gives logits.

    Attributes:
        pixels: Pair of floats, the values that it takes for black and white; None: 0 and 1. The
            radius of a ball stays in units of [0, 1].
        output_name: Name or index of the logits among several outputs.
        binary: Boolean, whether the one number it returns is the logit of class 1, and that of
            class 0 is 0.
        channels_first: Boolean, whether it takes images [batch, channels, height, width].
        straight_through: Boolean, whether gradients pass what has none before its first weights,
            and the rounding of integer pixels (`anp_tf.attacks.straight_through`).

    Raises:
        ValueError: if the pixels are not two numbers, the first below the second.
    """

    pixels: tuple[float, float] | None = None
    output_name: str | int | None = None
    binary: bool = False
    channels_first: bool = False
    straight_through: bool = False

    def __post_init__(self):
        if self.pixels is not None and not (
            len(self.pixels) == 2 and -np.inf < self.pixels[0] < self.pixels[1] < np.inf
        ):
            received = ",".join(f"{value:g}" for value in self.pixels)
            raise ValueError(
                f"pixels: expected two numbers such as 0,255 or -1,1, received {received}"
            )

    def record(self):
        """What is not as usual, a JSON object."""
        options = dataclasses.asdict(self)
        return {name: value for name, value in options.items() if value not in (None, False)}


def entered(network, x, interface=None, name="the network"):
    """A network as attacks and judges take it.

    It is called once, on some images, and what it takes and returns is checked: one input of the
    images' shape; logits [batch, classes], finite or not, of at least two classes.

    Args:
        network: Keras model of any kind, or any function of pixels [batch, ...] (and perhaps
            `training`) that returns one tensor, or a dict or list of several; its shape may be
            unknown to TensorFlow.
        x: Float tensor [batch, ...], some images, in [0, 1].
        interface: `Interface`; None: the usual one.
        name: What errors call the network.

    Returns:
        Function `(pixels, training=False) -> logits`, float32 [batch, classes]; a functional Keras
        model where it is one that needs nothing but its logits picked and cast.

    Raises:
        ValueError: one line, if the network takes other images or returns no logits.
    """
    interface, x = interface or Interface(), tf.convert_to_tensor(x)
    taken = _taken(network, name)
    if taken is not None and taken.shape.rank is not None:
        _check_shape(taken.shape, x.shape, interface.channels_first, name)
    if interface.straight_through:
        network = straight_through(network, interface.pixels)
    adapter = _Adapter(network, taken, interface, name)
    logits = adapter(x[:PROBE_IMAGES])
    _check_logits(network, logits.shape, interface, name)
    adapter.classes = logits.shape[-1] + interface.binary
    if interface.binary:
        _check_binary(network, logits, name)
    pixels = taken is not None and taken.dtype == tf.float32 and taken.shape[0] is None
    usual = dataclasses.replace(interface, output_name=None) == Interface()
    if usual and pixels and isinstance(network, keras.Model):
        return _keras_model(network, interface.output_name, name)
    return adapter


def picked(outputs, output_name, name="the network", names=None):
    """The logits among what a network returns.

    Args:
        outputs: A tensor, or a dict or list of several.
        output_name: Name or index; None: the only one, or that called `logits`.
        name: What errors call the network.
        names: Names of the outputs in a list; None: their indices.

    Raises:
        ValueError: if it cannot be told which they are.
    """
    if isinstance(outputs, list | tuple):
        indices = [str(index) for index in range(len(outputs))]
        outputs = dict(zip(names or indices, outputs, strict=True))
        if str(output_name) in indices and str(output_name) not in outputs:
            output_name = list(outputs)[int(output_name)]
    if not isinstance(outputs, dict):
        if output_name is None:
            return outputs
        raise ValueError(f"output_name: {name} returns one tensor, received {output_name}")
    key = None if output_name is None else str(output_name)
    if key is None:
        key = "logits" if len(outputs) != 1 else next(iter(outputs))
    if key not in outputs:
        raise ValueError(
            f"output_name: expected one of {', '.join(sorted(outputs))}, which {name} returns, "
            f"received {output_name}"
        )
    return outputs[key]


def ending(network):
    """`"softmax"` or `"sigmoid"` where a Keras model is known to end in one, else None."""
    while isinstance(network, keras.Model):
        outputs = getattr(network, "outputs", None) or []
        if len(outputs) == 1 and hasattr(outputs[0], "_keras_history"):
            network = outputs[0]._keras_history.operation
        elif network.layers:
            network = network.layers[-1]
        else:
            return None
    kind = getattr(getattr(network, "activation", None), "__name__", type(network).__name__).lower()
    return kind if kind in ("softmax", "sigmoid") else None


def why_probabilities(outputs, ending=None):
    """What says that outputs [images, classes] are probabilities, a text; None if nothing does.

    Args:
        outputs: Float array.
        ending: As of `ending(network)`.
    """
    if outputs.min() < 0 or outputs.max() > 1:
        return None
    if ending:
        return f"the network ends in {ending}"
    return "which sum to 1" if np.allclose(outputs.sum(-1), 1, atol=1e-3) else None


class _Adapter:
    """Gives a network the pixels that it takes, and float32 logits to whoever calls it."""

    def __init__(self, network, taken, interface, name):
        self.network, self.interface, self.name = network, interface, name
        self.classes = None  # until they are known
        self._dtype = tf.float32 if taken is None else taken.dtype
        self._batch = None if taken is None or taken.shape.rank is None else taken.shape[0]
        self._options = {"training": False} if _takes_training(network) else {}

    def __call__(self, pixels, training=False):
        x = tf.convert_to_tensor(pixels)
        if self.interface.channels_first:
            x = tf.transpose(x, [0, 3, 1, 2])
        low, high = self.interface.pixels or ((0, 255) if self._dtype.is_integer else (0, 1))
        if (low, high) != (0, 1):
            x = low + (high - low) * x
        if self._dtype.is_integer:
            rounded = tf.clip_by_value(tf.round(x), self._dtype.min, self._dtype.max)
            x = x + tf.stop_gradient(rounded - x)
        if not self.interface.straight_through:  # else the network casts them, and has a gradient
            x = tf.cast(x, self._dtype)
        logits = self._in_batches(x)
        logits = tf.cast(logits, tf.float32)
        if self.classes is None:
            return logits
        if self.interface.binary:
            logits = tf.concat([tf.zeros_like(logits), logits], -1)
        return tf.ensure_shape(logits, [None, self.classes])

    def inference_form(self):
        """As this, with the inference form of a network that has one of its own."""
        other = copy.copy(self)
        if hasattr(self.network, "inference_form"):
            other.network = self.network.inference_form()
            other.interface = dataclasses.replace(self.interface, output_name=None)
        return other

    def _ask(self, x):
        outputs = self.network(x, **self._options)
        names = getattr(self.network, "output_names", None)
        logits = picked(outputs, self.interface.output_name, self.name, names)
        logits = tf.convert_to_tensor(logits)
        is_flat = self.interface.binary and logits.shape.rank in (1, None)
        return tf.reshape(logits, [-1, 1]) if is_flat else logits

    def _in_batches(self, x):
        """The answers; of a network that takes only so many images at a time, some are padding."""
        if self._batch is None:
            return self._ask(x)
        count = tf.shape(x)[0]
        padded = tf.pad(x, [[0, -count % self._batch], *([[0, 0]] * (x.shape.rank - 1))])
        chunks = tf.reshape(padded, [-1, self._batch, *x.shape[1:]])
        width = None if self.classes is None else self.classes - self.interface.binary
        spec = tf.TensorSpec([self._batch, width], tf.float32)
        if tf.executing_eagerly():
            answers = [tf.cast(self._ask(chunk), tf.float32) for chunk in chunks]
            return tf.concat(answers, 0)[:count]
        answers = tf.map_fn(
            lambda chunk: tf.ensure_shape(tf.cast(self._ask(chunk), tf.float32), spec.shape),
            chunks,
            fn_output_signature=spec,
            parallel_iterations=1,
        )
        return tf.reshape(answers, [-1, width])[:count]


def _taken(network, name):
    """The `tf.TensorSpec` of the pixels that a network takes, or None if it is not known."""
    inputs = getattr(network, "inputs", None)
    if not inputs:
        return None
    if len(inputs) != 1:
        raise ValueError(f"{name} takes {len(inputs)} inputs: expected one, the pixels")
    return tf.TensorSpec(inputs[0].shape, inputs[0].dtype)


def _takes_training(network):
    if isinstance(network, keras.Model):
        return True
    try:
        parameters = inspect.signature(network).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(p.name == "training" or p.kind is p.VAR_KEYWORD for p in parameters)


def _check_shape(taken, given, channels_first, name):
    """That a network takes images of this shape, [batch, ...]."""
    first = given[:1] + given[-1:] + given[1:-1]
    expected = first if channels_first else given
    if taken[1:].is_compatible_with(expected[1:]):
        return
    hint = ""
    if given.rank == 4 and taken[1:].is_compatible_with((given if channels_first else first)[1:]):
        hint = f": expected channels_first={'False' if channels_first else 'True'}"
    kinds = {2: "rows ", 4: "images "}
    kind = kinds.get(given.rank, "examples ")
    named = kinds if taken.rank != given.rank else {}  # images where rows are given, or the reverse
    raise ValueError(
        f"{name} must take the {kind}of the data set: it takes "
        f"{named.get(taken.rank, '')}{list(taken[1:])}, they are "
        f"{named.get(given.rank, '')}{list(expected[1:])}{hint}"
    )


def _check_logits(network, shape, interface, name):
    wanted = "logits [batch, classes] of at least two classes"
    if shape.rank != 2:
        raise ValueError(f"{name} must return {wanted}, it returns {list(shape)}")
    if shape[-1] == 1 and not interface.binary:
        raise ValueError(
            f"{name} must return {wanted}, it returns one number an image: expected binary if that "
            "is the logit of class 1"
        )
    if interface.binary and shape[-1] != 1:
        raise ValueError(
            f"binary: expected a network of one output, {name} returns {shape[-1]} logits"
        )


def _check_binary(network, logits, name):
    inside = bool(tf.reduce_all((logits >= 0) & (logits <= 1)))
    if ending(network) or (inside and len(logits) > 1):
        raise ValueError(
            f"{name} returns probabilities, whose gradients vanish: expected the logit of class 1, "
            "without the sigmoid"
        )


def _keras_model(network, output_name, name):
    """A functional model whose only output is the logits in float32."""
    outputs = only = network.outputs[0]
    if len(network.outputs) > 1 or output_name is not None:
        returned = network.compute_output_spec(network.inputs[0])
        several = network.outputs
        if isinstance(returned, dict):  # flattened in the order of its keys
            several = dict(zip(sorted(returned), several, strict=True))
        outputs = picked(several, output_name, name, network.output_names)
    if outputs is only and len(network.outputs) == 1 and outputs.dtype == "float32":
        return network
    if outputs.dtype != "float32":
        outputs = keras.layers.Activation("linear", dtype="float32")(outputs)
    return keras.Model(network.inputs[0], outputs, name=network.name)
