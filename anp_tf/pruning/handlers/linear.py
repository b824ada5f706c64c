"""Dense layers and convolutions: each output is a weighted sum of inputs, and a bias."""

import keras
import numpy as np

from anp_tf.models.elementwise import elementwise
from anp_tf.pruning.handlers.base import Handler, channels
from anp_tf.pruning.slimmed import slimmed


class _Weighted(Handler):
    """What all of them have in common: constants go into the bias, factors into the kernel."""

    is_source = is_site = single_input = True
    needs_all = False

    def knows(self, node):
        layer = node.layer
        plain = len(layer.weights) == len(self.kernels(layer)) + layer.use_bias
        return plain and getattr(layer, "data_format", "channels_last") == "channels_last"

    def kernels(self, layer):
        """The weights of the layer but for the bias, as float64 arrays."""
        return [np.asarray(layer.kernel, np.float64)]

    def response(self, node, inputs):
        """The outputs [channels] to inputs [channels] that are the same everywhere, no bias."""
        raise NotImplementedError(f"{type(self).__name__} must implement `response`.")

    def unpadded(self, layer):
        """Whether a constant input gives a constant output, since no zeros are padded."""
        ones = all(size == 1 for size in getattr(layer, "kernel_size", ()))
        return getattr(layer, "padding", "valid") == "valid" or ones

    def foldable(self, node, constants):
        """Which inputs the bias can account for."""
        if self.unpadded(node.layer):
            return ~np.isnan(constants)
        return constants == 0

    def constants(self, node, *inputs):
        if elementwise(node.layer.activation) is None or not self.foldable(node, inputs[0]).all():
            return super().constants(node, *inputs)
        return self.activated(node.layer, self.response(node, inputs[0]) + self.bias(node))

    def activated(self, layer, values):
        x = keras.ops.convert_to_tensor(values.astype(np.float32))
        return np.asarray(layer.activation(x), np.float64)

    def bias(self, node):
        layer = node.layer
        if layer.use_bias:
            return np.asarray(layer.bias, np.float64)
        return np.zeros(channels(node.outputs[0]))

    def folded_bias(self, node, constants, source):
        """The bias with all that the slim layer does not get, and the source it then gets."""
        absent = np.nan_to_num(constants)
        absent[source.kept] = 0
        if self.unpadded(node.layer):
            absent[source.kept] = source.offset
        elif np.any(source.offset):
            source = source.plain()
        return self.bias(node) + self.response(node, absent), source

    def made(self, node, make, kept, source, kernels, bias, **changes):
        """The copy with its weights, and the function that multiplies a mask into them."""
        layer = node.layer
        bias = bias[kept]
        use_bias = bool(layer.use_bias or np.any(bias))
        weights = [*kernels, *([bias] if use_bias else [])]
        tensor, copy = make(node, [source.tensor], weights, use_bias=use_bias, **changes)
        fold = None
        if copy is not None and is_linear(layer):

            def fold(factor):
                *scaled, last = kernels
                scaled.append(self.scaled(last, factor))
                copy.set_weights([*scaled, *([bias * factor] if use_bias else [])])

        return slimmed(tensor, kept, fold)

    def scaled(self, kernel, factor):
        """The last kernel with its outputs multiplied."""
        return kernel * factor


class Linear(_Weighted):
    """A dense layer or a convolution, also transposed.

    Args:
        width: Name of the argument for the number of outputs.
        transposed: Boolean, whether the kernel is [..., outputs, inputs].
    """

    def __init__(self, width, transposed=False):
        self._width = width
        self._transposed = transposed

    def _kernel(self, layer):
        """The kernel as [..., inputs of a group, outputs]."""
        kernel = np.asarray(layer.kernel, np.float64)
        return np.swapaxes(kernel, -1, -2) if self._transposed else kernel

    def unpadded(self, layer):
        return not self._transposed and super().unpadded(layer)

    def response(self, node, inputs):
        kernel = self._kernel(node.layer)
        sums = kernel.reshape(-1, *kernel.shape[-2:]).sum(axis=0)  # [inputs of a group, outputs]
        groups = _groups(node.layer)
        each = np.split(sums, groups, axis=1)
        return np.concatenate(
            [x @ block for x, block in zip(np.split(inputs, groups), each, strict=True)]
        )

    def keeps(self, node, constants, *kept):
        source, output = (array.copy() for array in kept)
        if output.any() and elementwise(node.layer.activation) is None:
            output[:] = True
        needed = ~self.foldable(node, constants[0])
        groups = _groups(node.layer)
        ins, outs = np.split(source, groups), np.split(output, groups)  # views
        active = [b.any() or (a.any() and groups > 1) for a, b in zip(ins, outs, strict=True)]
        for into, reads, on in zip(ins, np.split(needed, groups), active, strict=True):
            into |= reads & on
        for sets in (ins, outs):
            most = max([1, *(s.sum() for s, on in zip(sets, active, strict=True) if on)])
            for chosen, on in zip(sets, active, strict=True):
                if on:
                    chosen[np.flatnonzero(~chosen)[: max(0, most - chosen.sum())]] = True
        return [source, output]

    def build(self, node, make, kept, constants, *sources):
        layer = node.layer
        bias, source = self.folded_bias(node, constants[0], sources[0])
        kernel, groups = self._kernel(layer), _groups(layer)
        per_in, per_out = kernel.shape[-2], kernel.shape[-1] // groups
        blocks = []
        for group in range(groups):
            chosen = source.kept // per_in == group
            rows = source.kept[chosen] - group * per_in
            columns = kept[kept // per_out == group]
            if len(columns):
                blocks.append(
                    kernel[..., rows, :][..., columns] * source.factor[chosen, np.newaxis]
                )
        kernel = np.concatenate(blocks, axis=-1)
        kernel = np.swapaxes(kernel, -1, -2) if self._transposed else kernel
        changes = {self._width: len(kept)}
        if groups > 1:
            changes["groups"] = len(blocks)
        return self.made(node, make, kept, source, [kernel], bias, **changes)

    def scaled(self, kernel, factor):
        return kernel * (factor[:, np.newaxis] if self._transposed else factor)


class Depthwise(_Weighted):
    """A depthwise convolution: channel c becomes the channels c * multiplier + j."""

    is_source = False

    def multiplier(self, layer):
        return layer.depth_multiplier

    def tied(self, node):
        return node.inputs if self.multiplier(node.layer) == 1 else []

    def response(self, node, inputs):
        (kernel,) = self.kernels(node.layer)  # [..., inputs, multiplier]
        sums = kernel.reshape(-1, *kernel.shape[-2:]).sum(axis=0)
        return (sums * inputs[:, np.newaxis]).ravel()

    def constants(self, node, *inputs):
        if elementwise(node.layer.activation) is None:
            return Handler.constants(self, node, *inputs)
        known = np.repeat(self.foldable(node, inputs[0]), self.multiplier(node.layer))
        values = self.response(node, np.nan_to_num(inputs[0])) + self.bias(node)
        return np.where(known, self.activated(node.layer, values), np.nan)

    def keeps(self, node, constants, *kept):
        source, output = kept
        if output.any() and elementwise(node.layer.activation) is None:
            output = np.ones_like(output)
        multiplier = self.multiplier(node.layer)
        source = source | output.reshape(-1, multiplier).any(axis=1)
        return [source, np.repeat(source, multiplier)]

    def build(self, node, make, kept, constants, *sources):
        (source,) = sources
        offset = np.zeros(len(constants[0]))
        if self.unpadded(node.layer):
            offset[source.kept] = source.offset
        elif np.any(source.offset):
            source = source.plain()
        bias = self.bias(node) + self.response(node, offset)
        (kernel,) = self.kernels(node.layer)
        kernel = kernel[..., source.kept, :] * source.factor[:, np.newaxis]
        return self.made_of(node, make, kept, source, kernel, bias)

    def made_of(self, node, make, kept, source, kernel, bias):
        return self.made(node, make, kept, source, [kernel], bias)

    def scaled(self, kernel, factor):
        return kernel * factor.reshape(kernel.shape[-2:])


class Grouped(Depthwise):
    """A convolution with a group for each input, which is a depthwise one."""

    def multiplier(self, layer):
        return layer.filters // layer.groups

    def kernels(self, layer):
        kernel = np.asarray(layer.kernel, np.float64)  # [..., 1, inputs * multiplier]
        return [kernel.reshape(*kernel.shape[:-2], layer.groups, -1)]

    def made_of(self, node, make, kept, source, kernel, bias):
        kernel = kernel.reshape(*kernel.shape[:-2], 1, -1)
        changes = {"filters": len(kept), "groups": len(source.kept)}
        return self.made(node, make, kept, source, [kernel], bias, **changes)

    def scaled(self, kernel, factor):
        return kernel * factor


class Separable(_Weighted):
    """A depthwise convolution and then a 1x1 convolution, in one layer."""

    def kernels(self, layer):
        kernels = (layer.depthwise_kernel, layer.pointwise_kernel)
        return [np.asarray(kernel, np.float64) for kernel in kernels]

    def response(self, node, inputs):
        depthwise, pointwise = self.kernels(node.layer)
        sums = depthwise.reshape(-1, *depthwise.shape[-2:]).sum(axis=0)
        return (sums * inputs[:, np.newaxis]).ravel() @ pointwise.reshape(pointwise.shape[-2:])

    def keeps(self, node, constants, *kept):
        source, output = (array.copy() for array in kept)
        if output.any():
            source |= ~self.foldable(node, constants[0])
            source[0] |= not source.any()
            if elementwise(node.layer.activation) is None:
                output[:] = True
        elif source.any():
            output[0] = True
        return [source, output]

    def build(self, node, make, kept, constants, *sources):
        bias, source = self.folded_bias(node, constants[0], sources[0])
        depthwise, pointwise = self.kernels(node.layer)
        rows = source.kept[:, np.newaxis] * depthwise.shape[-1] + np.arange(depthwise.shape[-1])
        depthwise = depthwise[..., source.kept, :] * source.factor[:, np.newaxis]
        pointwise = pointwise[..., rows.ravel(), :][..., kept]
        kernels = [depthwise, pointwise]
        return self.made(node, make, kept, source, kernels, bias, filters=len(kept))


def is_linear(layer):
    """Whether a layer has no activation, or one that changes nothing."""
    found = elementwise(getattr(layer, "activation", None))
    return found is not None and found.is_linear


_CONVOLUTION, _GROUPED = Linear("filters"), Grouped()


def of_convolution(node):
    """The handler of a convolution."""
    is_depthwise = 1 < node.layer.groups == channels(node.inputs[0])
    return _GROUPED if is_depthwise else _CONVOLUTION


def _groups(layer):
    return getattr(layer, "groups", 1)
