"""Where the numbers of a slimmed network's weights come from, read off a copy of the network."""

import keras
import numpy as np
import tensorflow as tf

from anp_tf.layers import BayesianMask, mask_layers
from anp_tf.models.copies import copy_layer, copy_state
from anp_tf.pruning.slim import named_weights, slim

BASE = 1024  # of the digits of an index, small enough to survive a product in float32


class Probe:
    """A copy of a masked network whose weights and masks are whatever is asked for."""

    def __init__(self, network, cut):
        def copy(layer):
            if isinstance(layer, BayesianMask):
                return _GivenMask(name=layer.name)
            return copy_layer(layer)

        try:
            self.network = keras.models.clone_model(network, clone_function=copy)
        except ValueError as error:  # a layer without a configuration
            raise no_view(network) from error
        # What is no weight, too, such as the mean of a Normalization.
        for layer, other in zip(network.layers, self.network.layers, strict=True):
            if not isinstance(layer, BayesianMask):
                copy_state(layer, other)
        self.masks = {mask.name: mask for mask in mask_layers(self.network)}
        self.cut = {mask.name: np.asarray(units) for mask, units in cut.items()}
        if self.masks.keys() != self.cut.keys():
            raise no_view(network)
        self.weights = named_weights(self.network)
        random = np.random.default_rng(1)
        self.set({name: random.uniform(0.5, 1.5, w.shape) for name, w in self.weights.items()}, {})

    def set(self, weights, masks):
        for name, weight in self.weights.items():
            weight.assign(weights.get(name, np.ones(weight.shape)))
        for name, mask in self.masks.items():
            mask.value = np.where(self.cut[name], 0.0, masks.get(name, 1.0)).astype(np.float32)

    def slimmed(self, weights=None, masks=None):
        """The weights of the slimmed network, by name, with these weights and masks; default 1."""
        self.set(weights or {}, masks or {})
        slimmed = slim(self.network)
        return {name: np.asarray(w, np.float64) for name, w in named_weights(slimmed).items()}


class _GivenMask(BayesianMask):
    def expected(self):
        return tf.constant(self.value)


def places_of(probe, factors):
    """For each number of the slimmed weights, where it is in the flat weight it comes from."""
    index = {
        name: np.arange(np.prod(w.shape)).reshape(w.shape) for name, w in probe.weights.items()
    }
    largest = max(array.size for array in index.values())
    places = dict.fromkeys(factors, 0)
    for power in range(1 + int(np.log(largest) // np.log(BASE))):
        digits = {name: array // BASE**power % BASE for name, array in index.items()}
        for name, value in probe.slimmed(digits).items():
            places[name] = places[name] + _over(value, factors[name]) * BASE**power
    return places


def units_of_masks(probe, factors):
    """Which units of which masks are factors of the slimmed network's weights.

    Each mask's factor is a prime number first, so that the products tell which masks are in them,
    then each unit's is its number.

    Returns:
        Dict from a weight's name to a dict from a mask's name to the integer array, of the weight's
        shape, of the units; the number of the mask's units stands for none.
    """
    primes = _primes(len(probe.masks))
    marked = probe.slimmed(
        masks={name: float(p) for name, p in zip(probe.masks, primes, strict=True)}
    )
    touched = {
        name: {
            mask: touches
            for mask, prime in zip(probe.masks, primes, strict=True)
            if np.any(touches := (factors[name] != 0) & (_over(value, factors[name]) % prime == 0))
        }
        for name, value in marked.items()
    }
    units = {name: {} for name in factors}
    for group in _apart(probe.masks, [set(masks) for masks in touched.values()]):
        numbered = probe.slimmed(
            masks={name: 2.0 + np.arange(probe.masks[name].units) for name in group}
        )
        for name, value in numbered.items():
            for mask in touched[name].keys() & group:
                index = _over(value, factors[name]).astype(np.int64) - 2
                no_unit = probe.masks[mask].units
                units[name][mask] = np.where(touched[name][mask], index, no_unit)
    return units


def _apart(names, together):
    """Groups of names such that no two of a group are in the same set of `together`."""
    groups = []
    for name in names:
        others = set().union(*(others for others in together if name in others)) - {name}
        free = next((group for group in groups if not group & others), None)
        if free is None:
            groups.append({name})
        else:
            free.add(name)
    return groups


def _primes(count):
    found = []
    number = 2
    while len(found) < count:
        if all(number % prime for prime in found):
            found.append(number)
        number += 1
    return found


def _over(value, factor):
    """A product of whole numbers and a factor, without the factor."""
    return np.rint(value / np.where(factor == 0, 1.0, factor)).astype(np.int64)


def no_view(network):
    return ValueError(
        f"The slimmed form of `{network.name}` has weights that are not those of the network times "
        "factors, because pruned units have come to be constants or for another reason."
    )
