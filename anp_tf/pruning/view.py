"""The slimmed network as a function of the masked network's weights."""

import contextlib

import keras
import numpy as np
import tensorflow as tf

from anp_tf.layers import BayesianMask, with_fused
from anp_tf.pruning.slim import slim

BASE = 1024  # of the digits of an index, small enough to survive a product in float32


class SlimView:
    """Lets a masked network with fixed masks compute, and learn, at the cost of the slimmed one.

    Within `weights()`, `network` computes with the masked network's present weights, so what it
    returns is what the masked network returns in inference, and gradients go to the masked
    network's variables.

    Args:
        network: Functional `keras.Model` with masks that `slim` knows. Which units its masks prune,
            and their factors, are those of the time of this call.

    Attributes:
        network: The slimmed network.

    Raises:
        ValueError: if `slim` cannot slim it, or if the slimmed network's weights are more than the
            masked network's times a factor, since pruned units have come to be constants.
    """

    def __init__(self, network):
        self.network = with_fused(slim(network))
        probe = keras.models.clone_model(network)
        for copy, layer in zip(_masks(probe), _masks(network), strict=True):
            copy.set_weights(layer.get_weights())
        random = np.random.default_rng(0)
        values = {name: random.uniform(0.5, 1.5, w.shape) for name, w in _weights(probe).items()}
        expected = _slim_values(probe, values)
        if not _alike(self.network, expected) or _shifts(slim(probe), network):
            raise _no_view(network)
        # Every weight of the slimmed network is one of the masked network's times a factor. Which,
        # and which factor, is read off by slimming networks that hold known numbers.
        factors = _slim_values(probe, {name: np.ones(w.shape) for name, w in values.items()})
        largest = max(value.size for value in values.values())
        digits = [
            _slim_values(probe, {name: _indices(w) // BASE**k % BASE for name, w in values.items()})
            for k in range(1 + int(np.log(largest) // np.log(BASE)))
        ]
        dense = _weights(network)
        self._sources = []
        for name, weight in _weights(self.network).items():
            factor = factors[name]
            divisor = np.where(factor == 0, 1.0, factor)
            index = sum(
                np.rint(digit[name] / divisor).astype(np.int64) * BASE**k
                for k, digit in enumerate(digits)
            )
            given = np.append(values[name].ravel(), np.nan)  # for an index that does not exist
            read = given[np.where((index >= 0) & (index < values[name].size), index, -1)]
            if not np.allclose(read * factor, expected[name], rtol=1e-4):
                raise _no_view(network)
            self._sources.append((weight, dense[name], tf.constant(index), tf.constant(factor)))

    @contextlib.contextmanager
    def weights(self, training=False):
        """Within the block `network` has the weights of the masked network.

        Args:
            training: Boolean; hand what the block does to the moving averages back.
        """
        mapping = [
            (weight, tf.gather(tf.reshape(dense, [-1]), index) * tf.cast(factor, dense.dtype))
            for weight, dense, index, factor in self._sources
        ]
        with keras.StatelessScope(state_mapping=mapping) as scope:
            yield
        for weight, dense, index, _ in self._sources if training else ():
            if not weight.trainable:
                value = tf.reshape(scope.get_current_value(weight), [-1])
                indices = tf.reshape(index, [-1, 1])
                flat = tf.tensor_scatter_nd_update(tf.reshape(dense, [-1]), indices, value)
                dense.assign(tf.reshape(flat, dense.shape))


def _masks(network):
    return [layer for layer in network.layers if isinstance(layer, BayesianMask)]


def _weights(network):
    """The weights of a network but for masks, by the names of layer and weight."""
    return {
        f"{layer.name}/{weight.name}": weight
        for layer in network.layers
        if not isinstance(layer, BayesianMask)
        for weight in layer.weights
    }


def _indices(weight):
    return np.arange(weight.size).reshape(weight.shape)


def _slim_values(network, values):
    """The weights of the slimmed network when those of the network have these values."""
    for name, weight in _weights(network).items():
        weight.assign(values[name])
    return {name: np.asarray(weight) for name, weight in _weights(slim(network)).items()}


def _alike(network, values):
    """Whether the weights of a network have the names and shapes of these values."""
    shapes = {name: tuple(weight.shape) for name, weight in _weights(network).items()}
    return shapes == {name: value.shape for name, value in values.items()}


def _shifts(slimmed, network):
    """Whether constants are added between the layers of a network's slimmed form."""
    names = {layer.name for layer in network.layers}
    added = [layer for layer in slimmed.layers if layer.name not in names]
    return any(np.any(getattr(layer, "offset", 0)) for layer in added)


def _no_view(network):
    return ValueError(
        f"The slimmed form of `{network.name}` has weights that are not those of the network times "
        "a factor, since pruned units have come to be constants."
    )
