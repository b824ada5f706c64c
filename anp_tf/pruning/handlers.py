"""How each kind of layer is made smaller: a table from the layer's class to a handler.

To add a kind, write its handler, a class like those below, and put it into `_HANDLERS`.
"""

import dataclasses
import math

import keras
import numpy as np

from anp_tf.layers import BayesianMask
from anp_tf.pruning.activations import ELEMENTWISE, is_any, is_not_negative, is_one, passes


@dataclasses.dataclass(frozen=True)
class Slimmed:
    """How a tensor of the slim network stands for one of the masked network.

    `masked[..., kept] == tensor * factor`, and the other channels are 0 or nothing reads them.

    Attributes:
        tensor: Symbolic tensor [batch, ..., len(kept)].
        kept: Integer array, the channels of the masked network's tensor that are there.
        factor: Float array [len(kept)], not yet folded into any weights.
        mask: Name of the mask that `factor` comes from, or None.
        foldable: The new layer whose weights can take the factor of a mask that comes next; or
            None.
    """

    tensor: keras.KerasTensor
    kept: np.ndarray
    factor: np.ndarray
    mask: str | None = None
    foldable: keras.layers.Layer | None = None


class _PerChannel:
    """A layer without weights that works on each channel by itself and leaves 0 at 0.

    Args:
        passes: Predicate of factors: whether f(factor * x) = factor * f(x) for all x.
    """

    def __init__(self, passes):
        self._passes = passes

    def knows(self, node):
        """Whether the layer, of this class, is of this kind with its settings."""
        return getattr(node.layer, "data_format", "channels_last") == "channels_last"

    def live(self, node, live):
        """Which output channels can differ from 0, given which input channels can."""
        return live

    def needs(self, node, live, needed):
        """Which channels of an input are read, given its live ones and the needed outputs."""
        return needed

    def keeps(self, node, *kept):
        """The channels of the inputs and the output, more of them where they do not match yet."""
        return [np.logical_or.reduce(kept)] * len(kept)

    def build(self, node, call, kept, source):
        """The output as `Slimmed`, with the kept channels, given the inputs as `Slimmed`."""
        require(self._passes, source, describe(node.layer))
        return dataclasses.replace(source, tensor=call(copy_layer(node.layer), node), foldable=None)


class _Dropout(_PerChannel):
    def build(self, node, call, kept, source):
        result = super().build(node, call, kept, source)
        return dataclasses.replace(result, foldable=source.foldable)


class _Activation(_PerChannel):
    def __init__(self):
        super().__init__(None)

    def knows(self, node):
        return passes(node.layer) is not None

    def build(self, node, call, kept, source):
        handler = _PerChannel(passes(node.layer))
        return handler.build(node, call, kept, source)


class _Mask(_PerChannel):
    def __init__(self):
        super().__init__(is_any)

    def live(self, node, live):
        return live & np.asarray(node.layer.active_units())

    def build(self, node, call, kept, source):
        factor = np.asarray(node.layer.inference_mask(), np.float64)[source.kept]
        if source.foldable is None:
            return dataclasses.replace(source, factor=source.factor * factor, mask=node.layer.name)
        is_norm = isinstance(source.foldable, keras.layers.BatchNormalization)
        for name in ("gamma", "beta") if is_norm else ("kernel", "bias"):
            variable = getattr(source.foldable, name, None)
            if variable is not None:
                variable.assign(np.asarray(variable, np.float64) * factor)
        return source


class _Linear(_PerChannel):
    """A convolution or dense layer: each output reads all live inputs."""

    def __init__(self, width):
        super().__init__(is_any)
        self._width = width  # the name of the argument for the number of outputs

    def knows(self, node):
        layer = node.layer
        plain = getattr(layer, "groups", 1) == 1 and len(layer.weights) == 1 + layer.use_bias
        return super().knows(node) and plain

    def live(self, node, live):
        return np.ones(getattr(node.layer, self._width), bool)

    def needs(self, node, live, needed):
        return live & needed.any()

    def keeps(self, node, source, kept):
        if node.layer.activation not in ELEMENTWISE:
            kept = np.ones_like(kept)
        elif not kept.any():
            kept = np.arange(len(kept)) == 0
        return source, kept

    def build(self, node, call, kept, source):
        layer, kept = node.layer, np.flatnonzero(kept)
        kernel, *bias = (np.asarray(weight, np.float64) for weight in layer.get_weights())
        kernel = kernel[..., source.kept, :][..., kept] * source.factor[:, np.newaxis]
        copy = copy_layer(layer, **{self._width: len(kept)})
        tensor = call(copy, node)
        copy.set_weights([kernel, *(value[kept] for value in bias)])
        foldable = copy if layer.activation is keras.activations.linear else None
        return Slimmed(tensor, kept, np.ones(len(kept)), foldable=foldable)


class _BatchNormalization(_PerChannel):
    """A pruned channel before it comes out as a constant, and stays for that reason."""

    def __init__(self):
        super().__init__(is_one)

    def knows(self, node):
        return node.layer.axis in (-1, len(node.inputs[0].shape) - 1)

    def live(self, node, live):
        layer = node.layer
        gamma = np.asarray(layer.gamma) if layer.scale else 1.0
        beta = np.asarray(layer.beta) if layer.center else 0.0
        deviation = np.sqrt(np.asarray(layer.moving_variance) + layer.epsilon)
        return live | (beta != gamma * np.asarray(layer.moving_mean) / deviation)

    def build(self, node, call, kept, source):
        require(self._passes, source, describe(node.layer))
        copy = copy_layer(node.layer)
        tensor = call(copy, node)
        copy.set_weights([weight[source.kept] for weight in node.layer.get_weights()])
        foldable = copy if node.layer.scale else None
        return dataclasses.replace(source, tensor=tensor, foldable=foldable)


class _Flatten(_PerChannel):
    """Channel c at position p becomes channel p * channels + c."""

    def __init__(self):
        super().__init__(is_any)

    def knows(self, node):
        return super().knows(node) and None not in node.inputs[0].shape[1:]

    def live(self, node, live):
        return np.tile(live, _positions(node))

    def needs(self, node, live, needed):
        return needed.reshape(_positions(node), -1).any(axis=0)

    def keeps(self, node, source, kept):
        if not kept.any():
            kept = np.tile(source, _positions(node))
        return source | self.needs(node, source, kept), kept

    def build(self, node, call, kept, source):
        result = super().build(node, call, kept, source)
        starts = np.arange(_positions(node)) * width(node.inputs[0])
        there = (starts[:, np.newaxis] + source.kept).ravel()
        factor = np.tile(source.factor, len(starts))
        chosen = np.flatnonzero(kept[there])
        if len(chosen) == len(there):
            return dataclasses.replace(result, kept=there, factor=factor)
        tensor = keras.ops.take(result.tensor, chosen.astype(np.int32), axis=-1)
        return dataclasses.replace(result, tensor=tensor, kept=there[chosen], factor=factor[chosen])


class _Add(_PerChannel):
    """The sum of tensors that have the same channels."""

    def __init__(self):
        super().__init__(is_any)

    def knows(self, node):
        return len({width(tensor) for tensor in node.inputs}) == 1

    def live(self, node, *live):
        return np.logical_or.reduce(live)

    def build(self, node, call, kept, source, *others):
        if any(not np.array_equal(source.factor, other.factor) for other in others):
            for summand in (source, *others):
                require(is_one, summand, f"{describe(node.layer)}, a sum of unequal factors")
        return super().build(node, call, kept, source)


_HANDLERS = {
    keras.layers.Activation: _Activation(),
    keras.layers.Add: _Add(),
    keras.layers.AveragePooling2D: _PerChannel(is_any),
    keras.layers.BatchNormalization: _BatchNormalization(),
    keras.layers.Conv2D: _Linear("filters"),
    keras.layers.Dense: _Linear("units"),
    keras.layers.Dropout: _Dropout(is_any),
    keras.layers.Flatten: _Flatten(),
    keras.layers.GlobalAveragePooling2D: _PerChannel(is_any),
    keras.layers.GlobalMaxPooling2D: _PerChannel(is_not_negative),
    keras.layers.LeakyReLU: _PerChannel(is_not_negative),
    keras.layers.MaxPooling2D: _PerChannel(is_not_negative),
    keras.layers.ReLU: _Activation(),
    keras.layers.SpatialDropout2D: _Dropout(is_any),
}
_MASK = _Mask()


def handler_of(node):
    """The handler of the node's layer, or None: a subclass may compute something else."""
    if isinstance(node.layer, BayesianMask):
        return _MASK
    handler = _HANDLERS.get(type(node.layer))
    if handler is None or (len(node.inputs) > 1 and not isinstance(handler, _Add)):
        return None
    return handler if handler.knows(node) else None


def require(passing, source, place):
    """Raises a `ValueError` if the factor of `source` cannot pass; `place` says where it is."""
    if not passing(source.factor):
        raise ValueError(
            f"The factors of mask `{source.mask}` can be folded neither into the layer before the "
            "mask nor into one after it: expected a convolution or dense layer, reached through "
            f"layers that factors can pass, but they reach {place}."
        )


def copy_layer(layer, **changes):
    """A layer with the same configuration, but for the changes, and weights of its own."""
    return type(layer).from_config({**layer.get_config(), **changes})


def whole(tensor):
    """A tensor of the slim network that is equal to the masked network's."""
    return Slimmed(tensor, np.arange(width(tensor)), np.ones(width(tensor)))


def width(tensor):
    """The number of channels; 1 stands for an unknown one, which only unknown layers have."""
    return (tensor.shape[-1] if tensor.shape else 1) or 1


def _positions(node):
    return math.prod(node.inputs[0].shape[1:-1])


def describe(layer):
    """The layer's name and class, for messages."""
    return f"layer `{layer.name}` ({type(layer).__name__})"
