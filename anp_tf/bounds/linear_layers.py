"""The rules of layers with weights, and of others that are linear but for a constant."""

import math

import keras
import numpy as np
import tensorflow as tf

from anp_tf.bounds.affine import Affine


def dense(node):
    layer = node.layer

    def apply(x, absolute):
        return tf.tensordot(x, _weight(layer.kernel, x.dtype, absolute), 1)

    return None if _quantized(layer) else Affine(apply, node.inputs[0].shape[-1] + 1, _bias(layer))


def convolution(node):
    layer = node.layer
    if layer.padding == "causal" or _quantized(layer):
        return None

    def apply(x, absolute):
        kernel = _weight(layer.kernel, x.dtype, absolute)
        return keras.ops.conv(x, kernel, **_geometry(layer))

    return Affine(apply, math.prod(layer.kernel.shape[:-1]) + 1, _bias(layer))


def transposed_convolution(node):
    layer = node.layer
    if _quantized(layer):
        return None

    def apply(x, absolute):
        kernel = _weight(layer.kernel, x.dtype, absolute)
        padding = {"output_padding": layer.output_padding}
        return keras.ops.conv_transpose(x, kernel, **_geometry(layer), **padding)

    terms = math.prod(layer.kernel_size) * layer.kernel.shape[-1] + 1
    return Affine(apply, terms, _bias(layer))


def depthwise(node):
    layer = node.layer
    if layer.padding == "causal":
        return None

    def apply(x, absolute):
        kernel = _weight(layer.kernel, x.dtype, absolute)
        return keras.ops.depthwise_conv(x, kernel, **_geometry(layer))

    return Affine(apply, math.prod(layer.kernel_size) + 1, _bias(layer))


def separable(node):
    layer = node.layer
    if layer.padding == "causal":
        return None

    def along(x, absolute):
        kernel = _weight(layer.depthwise_kernel, x.dtype, absolute)
        return keras.ops.depthwise_conv(x, kernel, **_geometry(layer))

    def across(x, absolute):
        kernel = _weight(layer.pointwise_kernel, x.dtype, absolute)
        return keras.ops.conv(x, kernel, data_format=layer.data_format)

    channels = layer.pointwise_kernel.shape[-2]
    first = Affine(along, math.prod(layer.kernel_size))
    return [first, Affine(across, channels + 1, _bias(layer))]


def batch_normalization(node):
    layer, rank = node.layer, len(node.inputs[0].shape)

    def numbers(dtype):
        gamma, beta, mean, variance = (
            None if weight is None else tf.cast(tf.convert_to_tensor(weight), dtype)
            for weight in (layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance)
        )
        scale = tf.math.rsqrt(variance + layer.epsilon)
        return scale if gamma is None else scale * gamma, mean, beta

    def shaped(tensor):
        shape = [1] * rank
        shape[layer.axis] = -1
        return tf.reshape(tensor, shape)

    def apply(x, absolute):
        scale, _, _ = numbers(x.dtype)
        return x * shaped(tf.abs(scale) if absolute else scale)

    def bias(dtype, absolute):
        scale, mean, beta = numbers(dtype)
        beta = tf.zeros_like(mean) if beta is None else beta
        offset = tf.abs(scale * mean) + tf.abs(beta) if absolute else beta - scale * mean
        return shaped(offset)

    return Affine(apply, 16, bias)


def normalization(node):
    layer = node.layer
    if layer.invert:
        return None

    def scale(dtype):
        deviation = tf.sqrt(tf.cast(layer.variance, dtype))
        return 1.0 / tf.maximum(deviation, keras.config.epsilon())

    def apply(x, absolute):
        return x * scale(x.dtype)

    def bias(dtype, absolute):
        mean = tf.cast(layer.mean, dtype)
        return scale(dtype) * (tf.abs(mean) if absolute else -mean)

    return Affine(apply, 8, bias)


def rescaling(node):
    layer = node.layer
    first = keras.config.image_data_format() == "channels_first"
    if first and (np.ndim(layer.scale) or np.ndim(layer.offset)):  # they are of the first axis
        return None
    return scaling(layer.scale, layer.offset)


def scaling(factor, offset=0.0):
    """The rule of x * factor + offset, numbers or arrays of the last axes."""

    def apply(x, absolute):
        return x * _magnitude(tf.cast(factor, x.dtype), absolute)

    def bias(dtype, absolute):
        return _magnitude(tf.cast(offset, dtype), absolute)

    return Affine(apply, 4, bias)


def mask(node):
    layer = node.layer

    def apply(x, absolute):
        factors = _magnitude(tf.cast(layer.present_mask(), x.dtype), absolute)
        if factors.shape.rank == 2:  # a mask per example, each of which may have several rows
            factors = tf.repeat(factors, tf.shape(x)[0] // tf.shape(factors)[0], axis=0)
            shape = [-1, *([1] * (x.shape.rank - 2)), layer.units]
            factors = tf.reshape(factors, shape)
        return x * factors

    return Affine(apply, 1)


def averaging(node):
    layer = node.layer
    extents = getattr(layer, "pool_size", None) or node.inputs[0].shape[1:-1]
    if None in extents or layer.data_format != "channels_last":
        return None
    return Affine(lambda x, absolute: layer.call(x), math.prod(extents) + 2)


def adding(node):
    if not _of_one_rank(node):
        return None
    return Affine(lambda *xs, absolute: tf.add_n(_broadcast(xs)), len(node.inputs))


def average(node):
    if not _of_one_rank(node):
        return None
    count = len(node.inputs)
    return Affine(lambda *xs, absolute: tf.add_n(_broadcast(xs)) / count, count + 2)


def subtracting(node):
    if not _of_one_rank(node):
        return None
    return Affine(lambda x, y, absolute: x + y if absolute else x - y, 1)


def _of_one_rank(node):
    """Whether no axis is put in before tensors are broadcast: Keras's layers do so after the
    batch's, its operations before it.
    """
    return len({len(tensor.shape) for tensor in node.inputs}) == 1


def _broadcast(tensors):
    shape = tf.shape(tensors[0])
    for tensor in tensors[1:]:
        shape = tf.broadcast_dynamic_shape(shape, tf.shape(tensor))
    return [tf.broadcast_to(tensor, shape) for tensor in tensors]


def _geometry(layer):
    """The keyword arguments of `keras.ops.conv` and its like."""
    return {
        "strides": layer.strides,
        "padding": layer.padding,
        "data_format": layer.data_format,
        "dilation_rate": layer.dilation_rate,
    }


def _weight(weight, dtype, absolute):
    return _magnitude(tf.cast(tf.convert_to_tensor(weight), dtype), absolute)


def _magnitude(tensor, absolute):
    return tf.abs(tensor) if absolute else tensor


def _quantized(layer):
    return getattr(layer, "quantization_mode", None) is not None


def _bias(layer):
    if not layer.use_bias:
        return None
    first = getattr(layer, "data_format", None) == "channels_first"

    def bias(dtype, absolute):
        value = _weight(layer.bias, dtype, absolute)
        return tf.reshape(value, [-1, *([1] * layer.rank)]) if first else value

    return bias
