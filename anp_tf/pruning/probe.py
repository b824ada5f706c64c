"""Where the numbers of a slimmed network's weights come from, read off by slimming known ones.

What a handler does to weights stands in its `build` alone. Were it to say in other words, too,
which numbers it takes and which masks are factors of them, it would say everything twice, and those
of users that do not say it would get no view. So `build` is run on numbers that tell what became of
them: indices for the weights, and for the masks primes, then the numbers of their units.
"""

import collections
import contextlib
import dataclasses

import keras
import numpy as np
import tensorflow as tf

from anp_tf.layers import BayesianMask, FusedBatchNormalization
from anp_tf.models.graph import Graph, graph_of
from anp_tf.pruning.handlers.base import weights_of
from anp_tf.pruning.slim import Plan, check_masks

BASE = 1024  # of the digits of an index, small enough to survive a product in float32


class Probe:
    """The slimmed form of a masked network, and its weights for whatever weights and masks.

    The network is slimmed once. For other numbers the same is done with arrays alone.

    Args:
        network: Functional `keras.Model` with masks.
        cut: Dict from mask layer to Boolean array [units], the units to cut out.

    Attributes:
        network: The slimmed network.
        masks: List of the mask layers.
        weights: List of the variables of the masked network's other layers.
        sources: Dict from the name of a weight of the slimmed network to the variable among
            `weights` that it comes from; those that slimming has added are missing.
    """

    def __init__(self, network, cut):
        graph = graph_of(network)
        check_masks(network, graph)
        self.masks = list(cut)
        self._cut = cut
        self._given = {mask: _GivenMask(name=mask.name) for mask in cut}
        nodes = [
            dataclasses.replace(node, layer=self._given.get(node.layer, node.layer))
            for node in graph.nodes
        ]
        self._graph = Graph(nodes, graph.input, graph.output)
        layers = {node.layer: None for node in nodes if not isinstance(node.layer, BayesianMask)}
        weights = [weight for layer in layers for weight in getattr(layer, "weights", ())]
        self.weights = list({id(weight): weight for weight in weights}.values())
        self._no_view_error = no_view_error(network)
        if any(getattr(layer, "renorm", False) for layer in layers):  # what slimming drops
            raise self._no_view_error
        random = np.random.default_rng(1)
        with self._numbers([random.uniform(0.5, 1.5, w.shape) for w in self.weights], {}):
            self._plan = Plan(self._graph)
        self._calls = []  # of layers that are made: the layer, the tensor, and the copy
        self.network = self._graph.rebuild(
            self._plan.rebuilder(self._making(self._plan.maker(FusedBatchNormalization))),
            name=network.name,
            begin=self._plan.unchanged,
            end=lambda output: output.plain().tensor,
        )
        self.sources = {}
        for layer, _, copy in self._calls:
            variables = {name[len(layer.name) :]: v for name, v in _named(layer)}
            for name, _ in _named(copy):
                if name[len(copy.name) :] in variables:
                    self.sources[name] = variables[name[len(copy.name) :]]

    def slimmed(self, weights=None, masks=None):
        """The weights of the slimmed network, by name, with these weights and masks; default 1.

        Args:
            weights: List of arrays, or None.
            masks: Dict from mask layer to a number or an array [units], or None.

        Raises:
            ValueError: if the network that they slim to is another one.
        """
        weights = [np.ones(w.shape) for w in self.weights] if weights is None else weights
        found = {}
        with self._numbers(weights, masks or {}):
            self._plan.update_constants()
            call = self._plan.rebuilder(self._replay(found))
            self._graph.compute([self._plan.unchanged(x) for x in self.network.inputs], call)
        named = {}
        for copy, arrays in found.items():
            names = names_of(copy)
            if len(names) != len(arrays):
                raise self._no_view_error
            named |= {
                name: np.asarray(a, np.float64) for name, a in zip(names, arrays, strict=True)
            }
        return named

    @contextlib.contextmanager
    def _numbers(self, weights, masks):
        for mask, given in self._given.items():
            given.value = np.where(self._cut[mask], 0.0, masks.get(mask, 1.0)).astype(np.float32)
        values = [
            (variable, tf.constant(value, variable.dtype))
            for variable, value in zip(self.weights, weights, strict=True)
        ]
        with keras.StatelessScope(state_mapping=values):
            yield

    def _making(self, maker):
        """A maker's `make` that keeps what it makes."""

        def make(node, tensors, weights=None, **changes):
            tensor, copy = maker(node, tensors, weights, **changes)
            self._calls.append((node.layer, tensor, maker.copies[node.layer]))
            return tensor, copy

        return make

    def _replay(self, found):
        """The same without making anything: fills a dict from the copy to its weights."""
        calls = iter(self._calls)

        def make(node, tensors, weights=None, **changes):
            layer, tensor, copy = next(calls, (None, None, None))
            if layer is not node.layer:
                raise self._no_view_error
            if copy in found or not getattr(copy, "weights", ()):
                return tensor, None
            found[copy] = weights_of(layer) if weights is None else weights
            return tensor, _Weights(found, copy)

        return make


@dataclasses.dataclass(frozen=True)
class _Weights:
    """Stands in for a copy of a layer whose weights a handler sets."""

    found: dict
    copy: keras.Layer

    def set_weights(self, weights):
        self.found[self.copy] = weights


class _GivenMask(BayesianMask):
    def inference_mask(self):
        return tf.constant(self.value)


def names_of(layer):
    """A name for each weight of a layer; of those of one name, in layers inside, by the order."""
    counts, names = collections.Counter(), []
    for weight in getattr(layer, "weights", ()):
        count = counts[weight.name]
        names.append(f"{layer.name}/{weight.name}" + (f":{count}" if count else ""))
        counts[weight.name] += 1
    return names


def _named(layer):
    return list(zip(names_of(layer), getattr(layer, "weights", ()), strict=True))


def places_of(probe, factors):
    """For each number of the slimmed weights, where it is in the flat weight it comes from."""
    index = [np.arange(np.prod(w.shape)).reshape(w.shape) for w in probe.weights]
    largest = max(array.size for array in index)
    places = dict.fromkeys(factors, 0)
    for power in range(1 + int(np.log(largest) // np.log(BASE))):
        digits = [array // BASE**power % BASE for array in index]
        for name, value in probe.slimmed(digits).items():
            places[name] = places[name] + _broadcast(value, factors[name]) * BASE**power
    return places


def units_of_masks(probe, factors):
    """Which units of which masks are factors of the slimmed network's weights.

    Each mask's factor is a prime number first, so that the products tell which masks are in them,
    then each unit's is its number.

    Returns:
        Dict from a weight's name to a dict from a mask to the integer array, of the weight's
        shape, of the units; the number of the mask's units stands for none.
    """
    primes = dict(zip(probe.masks, _primes(len(probe.masks)), strict=True))
    marked = probe.slimmed(masks={mask: float(prime) for mask, prime in primes.items()})
    touched = {
        name: {
            mask: touches
            for mask, prime in primes.items()
            if np.any(
                touches := (factors[name] != 0) & (_broadcast(value, factors[name]) % prime == 0)
            )
        }
        for name, value in marked.items()
    }
    units = {name: {} for name in factors}
    for group in _groups_apart(probe.masks, [set(masks) for masks in touched.values()]):
        numbered = probe.slimmed(masks={mask: 2.0 + np.arange(mask.units) for mask in group})
        for name, value in numbered.items():
            for mask in touched[name].keys() & group:
                index = _broadcast(value, factors[name]).astype(np.int64) - 2
                units[name][mask] = np.where(touched[name][mask], index, mask.units)
    return units


def _groups_apart(masks, together):
    """Groups of masks such that no two of a group are in the same set of `together`."""
    groups = []
    for mask in masks:
        others = set().union(*(others for others in together if mask in others)) - {mask}
        free = next((group for group in groups if not group & others), None)
        if free is None:
            groups.append({mask})
        else:
            free.add(mask)
    return groups


def _primes(count):
    found = []
    number = 2
    while len(found) < count:
        if all(number % prime for prime in found):
            found.append(number)
        number += 1
    return found


def _broadcast(value, factor):
    """A product of whole numbers and a factor, without the factor."""
    return np.rint(value / np.where(factor == 0, 1.0, factor)).astype(np.int64)


def no_view_error(network):
    return ValueError(
        f"The slimmed form of `{network.name}` has weights that are not those of the network times "
        "factors, because pruned units have come to be constants or for another reason."
    )
