"""What a handler of a kind of layer answers, and the handler of layers that work per channel."""

import keras
import numpy as np

from anp_tf.models.comparison import of_first
from anp_tf.pruning.slimmed import slimmed

CONSTANT = 1e-6  # a relative spread up to this is rounding
SIZES = 16, 32, 64, 128, 256  # that unknown sizes may have, and twice that


class Handler:
    """How `slim` treats a kind of layer: a base class for handlers.

    A channel is an index of the last axis of a tensor. One that a mask prunes is a constant, 0, and
    so may be what layers below make of it. Arrays of constants are float64 [channels], NaN where a
    channel is not a constant. Arrays of kept channels are Boolean [channels].

    The default is a layer that needs all channels of its inputs and whose outputs are no constants:
    pruned units before it stay, with weights of 0.

    Attributes:
        is_source: Boolean, whether the channels of the output come from weights of the layer,
            whatever channels its inputs have.
        is_site: Boolean, whether a mask of the output's channels comes after the layer; one that is
            a source and no site keeps them all.
        needs_all: Boolean, whether the layer needs all channels of its inputs.
        single_input, single_output: Booleans, whether the handler knows no other calls.
    """

    is_source = False
    is_site = False
    needs_all = True
    single_input = False
    single_output = True

    def knows(self, node):
        """Whether the handler can treat this call of a layer; else the layer is unknown."""
        return True

    def tied(self, node):
        """The inputs whose channels are those of the outputs, one by one."""
        return []

    def whole(self, node):
        """The inputs that the layer needs all channels of."""
        return node.inputs if self.needs_all else []

    def constants(self, node, *inputs):
        """The constants of the output, given those of the inputs; of several outputs, a list."""
        return np.full(channels(node.outputs[0]), np.nan)

    def keeps(self, node, constants, *kept):
        """Which channels must be kept, given which are already.

        Args:
            node: The call.
            constants: List of the constants of each input.
            *kept: The kept channels of each input, and last those of each output.

        Returns:
            List of the same length, with at least these channels.
        """
        *inputs, output = kept
        if not output.any():
            return list(kept)
        return [*(np.ones_like(source) for source in inputs), np.ones_like(output)]

    def multiply_adds(self, node):
        """The multiplications of a call; None: those in its kernels, if it is known.

        They are those per row of the output's first axis, the batch: per image, but where positions
        are merged into the batch.
        """

    def build(self, node, make, kept, constants, *sources):
        """The output, as `Slimmed`; of several outputs, a list.

        Args:
            node: The call.
            make: Function `(node, tensors, weights=None, **changes) -> (tensor, layer)`, which
                calls a copy of the node's layer, with some of its configuration changed, and sets
                the copy's weights.
            kept: Integer array, the channels of the output that are kept; not empty. Of several
                outputs, a list of such arrays, one of which is not empty.
            constants: List of the constants of each input; those of channels that are not kept
                must be accounted for here.
            *sources: The inputs, as `Slimmed`.
        """
        tensors = [source.plain().tensor for source in sources]
        tensor, _ = make(node, tensors)
        return slimmed(tensor, kept)


WHOLE = Handler()


class PerChannel(Handler):
    """A layer without weights that works on each channel by itself.

    Args:
        passes: Predicate of factors: whether f(factor * x) = factor * f(x) for all x.
        shifts: Boolean, whether f(x + offset) = f(x) + offset.
        linear: Boolean, whether f(x) = x in inference.
    """

    single_input = True
    needs_all = False

    def __init__(self, passes, shifts=False, linear=False):
        self._passes = passes
        self._shifts = shifts
        self._linear = linear

    def knows(self, node):
        return getattr(node.layer, "data_format", "channels_last") == "channels_last"

    def tied(self, node):
        return alike(node)

    def constants(self, node, *inputs):
        return probe(node, *inputs)

    def keeps(self, node, constants, *kept):
        both = np.logical_or.reduce(kept)
        return [both, both]

    def build(self, node, make, kept, constants, *sources):
        (source,) = sources
        if not self._passes(source.factor) or (np.any(source.offset) and not self._shifts):
            source = source.plain()
        tensor, _ = make(node, [source.tensor])
        return source.passed(tensor, fold=source.fold if self._linear else None)


def probe(node, *constants):
    """What a layer that works on each channel by itself makes of constants, by calling it."""
    known = ~np.logical_or.reduce(np.broadcast_arrays(*(np.isnan(array) for array in constants)))
    if not known.any():
        return np.full(channels(node.outputs[0]), np.nan)
    result = _called(node, constants)
    with np.errstate(invalid="ignore"):  # of an infinite spread
        spread = np.ptp(result, axis=0) > CONSTANT * np.abs(result).max(axis=0)
    known = np.broadcast_to(known & ~spread & np.isfinite(result[0]), result.shape[-1])
    return np.where(known, result[0], np.nan)


def _called(node, constants):
    """What comes out of constants at all places [places, channels], of two sizes if unknown."""
    if not any(None in tensor.shape[1:-1] for tensor in node.inputs):
        return _called_on(node, constants)

    def called(size):
        return np.concatenate([_called_on(node, constants, n) for n in (size, 2 * size)])

    return of_first(called, SIZES)  # a cropping or a pooling may need more than the smaller ones


def _called_on(node, constants, unknown=None):
    """What comes out of constants [places, channels] where unknown sizes are this one."""
    tensors = []
    for tensor, array in zip(node.inputs, constants, strict=True):
        shape = [1, *(size or unknown for size in tensor.shape[1:-1]), len(array)]
        values = np.broadcast_to(np.nan_to_num(array), shape).astype(np.float32)
        tensors.append(keras.ops.cast(keras.ops.convert_to_tensor(values), tensor.dtype))
    args, kwargs = node.arguments(tensors)
    result = np.asarray(keras.ops.cast(node.layer(*args, **kwargs), "float32"), np.float64)
    if not result.size:
        raise ValueError(f"Layer `{node.layer.name}` makes nothing of {unknown} positions.")
    return result.reshape(-1, result.shape[-1])


def alike(node):
    """The inputs of a call that have as many channels as its output."""
    return [x for x in node.inputs if channels(x) == channels(node.outputs[0])]


def weights_of(layer):
    """The weights of a layer as arrays; None if it has none."""
    return layer.get_weights() if getattr(layer, "weights", None) else None


def channels(tensor):
    """The number of channels; 1 stands for an unknown one, which only unknown layers have."""
    return (tensor.shape[-1] if len(tensor.shape) > 1 else 1) or 1


def is_any(factor):
    return True


def is_not_negative(factor):
    return bool(np.all(factor >= 0))


def is_zero_or_one(factor):
    return bool(np.all((factor == 0) | (factor == 1)))


def is_one(factor):
    return bool(np.all(factor == 1))


# Poolings and moves: some pass any factor, others those that keep the order.
AVERAGE = PerChannel(is_any, shifts=True)
MAXIMUM = PerChannel(is_not_negative, shifts=True)
