"""A Keras network in PyTorch, with the same weights."""

import keras
import numpy as np
import torch
from torch.nn import functional

from anp_tf.models.graph import graph_of


class TorchNetwork(torch.nn.Module):
    """Computes in inference what a network of plain layers computes.

    Args:
        network: Functional `keras.Model` whose layers form a chain, of the kinds in `STEPS`.

    Call arguments:
        pixels: Tensor [batch, channels, height, width], best in memory format channels_last.

    Raises:
        ValueError: if a layer is of another kind.
    """

    def __init__(self, network):
        super().__init__()
        self._steps = []
        for node in graph_of(network).nodes:
            make = STEPS.get(type(node.layer).__name__.removeprefix("Fused"))
            if make is None or not _is_plain(node.layer):
                raise ValueError(f"Layer `{node.layer.name}` is of a kind that is not known here.")
            self._steps.append(make(node.layer))

    def forward(self, pixels):
        for step in self._steps:
            pixels = step(pixels)
        return pixels


def as_torch(array):
    """A NumPy array of images [batch, height, width, channels] as PyTorch wants it."""
    tensor = torch.from_numpy(np.ascontiguousarray(array)).permute(0, 3, 1, 2)
    return tensor.contiguous(memory_format=torch.channels_last)


def _is_plain(layer):
    """Whether the options that `STEPS` do not know have their usual values."""
    usual = {"activation": keras.activations.linear, "groups": 1, "dilation_rate": (1, 1)}
    if isinstance(layer, keras.layers.MaxPooling2D):
        usual = {"strides": layer.pool_size, "padding": "valid"}
    return all(getattr(layer, name, value) == value for name, value in usual.items())


def _convolution(layer):
    kernel = _tensor(layer.kernel).permute(3, 2, 0, 1)
    kernel = kernel.contiguous(memory_format=torch.channels_last)
    bias = _tensor(layer.bias) if layer.use_bias else None
    return lambda x: functional.conv2d(x, kernel, bias, layer.strides, layer.padding)


def _dense(layer):
    kernel = _tensor(layer.kernel).T.contiguous()
    bias = _tensor(layer.bias) if layer.use_bias else None
    return lambda x: functional.linear(x, kernel, bias)


def _normalization(layer):
    mean, variance, gamma, beta = map(
        _tensor, (layer.moving_mean, layer.moving_variance, layer.gamma, layer.beta)
    )
    return lambda x: functional.batch_norm(x, mean, variance, gamma, beta, eps=layer.epsilon)


def _tensor(variable):
    return torch.from_numpy(np.array(keras.ops.convert_to_numpy(variable)))


STEPS = {
    "BatchNormalization": _normalization,
    "Conv2D": _convolution,
    "Dense": _dense,
    "Dropout": lambda layer: lambda x: x,
    "Flatten": lambda layer: lambda x: x.permute(0, 2, 3, 1).flatten(1),
    "MaxPooling2D": lambda layer: lambda x: functional.max_pool2d(x, layer.pool_size),
    "ReLU": lambda layer: functional.relu,
    "Rescaling": lambda layer: lambda x: x * layer.scale + layer.offset,
}
