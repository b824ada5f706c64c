"""The slimmed network as a function of the masked network's weights and masks."""

import contextlib
import dataclasses

import keras
import numpy as np
import tensorflow as tf

from anp_tf.layers import BayesianMask, given_masks, mask_layers, with_fused
from anp_tf.pruning.slim import slim

BASE = 1024  # of the digits of an index, small enough to survive a product in float32
EXACT = ("float32", "float64")
SAME, SAME_IN_HALF = 1e-4, 0.1  # of the largest output, where layers compute exactly and where not


class SlimView:
    """Lets a masked network compute, and learn, at the cost of the slimmed one.

    Within `weights()`, `network` computes with the masked network's present weights and masks, so
    what it returns is what the masked network returns in inference, as long as the units that were
    cut here are pruned. Gradients go to the masked network's weights.

    Args:
        network: Functional `keras.Model` with masks that `slim` knows; it is not changed.
        cut: Dict from mask layer to Boolean array [units], the units to cut out; None: those that
            are pruned now. Units that are pruned later on count 0, but are computed.

    Attributes:
        network: The slimmed network.
        cut: Dict like the argument.

    Raises:
        ValueError: if `slim` cannot slim it, or if the slimmed network's weights are more than the
            masked network's times factors, since pruned units have come to be constants.
    """

    def __init__(self, network, cut=None):
        masks = mask_layers(network)
        if cut is None:
            cut = {mask: ~np.asarray(mask.active_units()) for mask in masks}
        self.cut = cut
        if len(_weights(network)) != sum(len(layer.weights) for layer in _plain_layers(network)):
            raise _no_view(network)  # two weights of a layer have one name
        probe = _Probe(network, cut)
        self.network = with_fused(slim(probe.network))
        # Every weight of the slimmed network is one of the masked network's, times a number, times
        # factors of masks. Which is read off by slimming networks that hold known numbers.
        factors = probe.slimmed()
        if _shifts(self.network, network) or not _alike(self.network, factors):
            raise _no_view(network)
        dense = _weights(network)
        if not factors.keys() <= dense.keys():  # slimming has added a bias
            raise _no_view(network)
        units = _units_of_masks(probe, factors)
        places = _places(probe, factors)
        self._sources = [
            _source(
                weight,
                dense[name],
                places[name],
                factors[name],
                {mask: units[name][mask.name] for mask in masks if mask.name in units[name]},
                network,
            )
            for name, weight in _weights(self.network).items()
        ]
        self._seeds = _seeds(self.network, network)
        self._check_weights(probe, network)
        self._check_outputs(network)

    @contextlib.contextmanager
    def weights(self, masks=None, training=False):
        """Within the block `network` has the weights and masks of the masked network.

        Args:
            masks: Dict from mask layer to its mask [units], 0 for the units that were cut; None:
                those of inference. No gradient goes to them.
            training: Boolean; hand what the block does to the moving averages back.
        """
        if masks is None:
            masks = {mask: mask.inference_mask() for mask in self.cut}
        masks = {mask: tf.stop_gradient(value) for mask, value in masks.items()}
        mapping = [(source.weight, source.value(masks)) for source in self._sources]
        mapping += [(seed, tf.convert_to_tensor(dense)) for seed, dense in self._seeds]
        with keras.StatelessScope(state_mapping=mapping) as scope:
            before = [scope.get_current_value(variable) for variable, _ in mapping]
            yield
        if not training:
            return
        after = [scope.get_current_value(variable) for variable, _ in mapping]
        changed = [new is not old for new, old in zip(after, before, strict=True)]
        count = len(self._sources)
        for source, value, differs in zip(self._sources, after, changed[:count], strict=False):
            if differs:
                source.give_back(value)
        for (_, dense), value, differs in zip(
            self._seeds, after[count:], changed[count:], strict=True
        ):
            if differs:
                dense.assign(value)

    def _check_weights(self, probe, network):
        """Slims random weights under random masks, and compares with what the view makes."""
        random = np.random.default_rng(0)
        values = {name: random.uniform(0.5, 1.5, w.shape) for name, w in probe.weights.items()}
        masks = {mask: random.uniform(0.5, 1.5, mask.units) for mask in self.cut}
        expected = probe.slimmed(values, {mask.name: value for mask, value in masks.items()})
        masks = {mask: value.astype(np.float32) for mask, value in masks.items()}
        names = {id(weight): name for name, weight in _weights(network).items()}
        for name, source in zip(_weights(self.network), self._sources, strict=True):
            given = values[names[id(source.dense)]].astype(np.float32)
            if not np.allclose(source.value(masks, given), expected[name], rtol=1e-4):
                raise _no_view(network)

    def _check_outputs(self, network):
        """Compares the view with the network on random images, under random masks.

        What the weights do not show, such as a rescaling that factors of masks would need, shows in
        the outputs.
        """
        random = np.random.default_rng(0)
        masks = {}
        for mask, cut in self.cut.items():
            values = random.uniform(0.5, 1.5, mask.units)
            if mask.may_be_negative:
                values *= random.choice([-1, 1], mask.units)
            masks[mask] = tf.constant(np.where(cut, 0.0, values).astype(np.float32))
        images = [
            random.random([2, *(size or 32 for size in tensor.shape[1:])]).astype(np.float32)
            for tensor in network.inputs
        ]
        images = images[0] if len(images) == 1 else images
        with given_masks(masks):
            expected = network(images, training=False)
        with self.weights(masks):
            actual = self.network(images, training=False)
        for value, other in zip(*map(keras.tree.flatten, (actual, expected)), strict=True):
            value, other = (np.asarray(tf.cast(tensor, tf.float32)) for tensor in (value, other))
            exact = all(layer.compute_dtype in EXACT for layer in network.layers)
            tolerance = np.abs(other).max() * (SAME if exact else SAME_IN_HALF)
            if not np.allclose(value, other, rtol=0, atol=tolerance):
                raise _no_view(network)


@dataclasses.dataclass(frozen=True)
class _Source:
    """Where the values of a weight of the slimmed network come from.

    Attributes:
        weight: Variable of the slimmed network.
        dense: Variable of the masked network.
        places: For each axis of `dense` the integer array of the places that are taken.
        factor: Float array that broadcasts with the weight.
        units: Dict from mask layer to the units that are factors, an integer array that broadcasts
            with the weight; `mask.units` stands for no unit, a factor of 1.
    """

    weight: keras.Variable
    dense: keras.Variable
    places: list
    factor: np.ndarray
    units: dict

    def value(self, masks, dense=None):
        # Through a reshape the gradient of a gather comes out as a plain tensor.
        dense = tf.reshape(self.dense if dense is None else dense, self.dense.shape)
        for axis, places in enumerate(self.places):
            if not np.array_equal(places, np.arange(dense.shape[axis])):
                dense = tf.gather(dense, places, axis=axis)
        value = dense * tf.cast(self.factor, dense.dtype)
        for mask, units in self.units.items():
            factors = tf.concat([masks[mask], tf.ones([1])], 0)
            value *= tf.cast(tf.gather(factors, units), dense.dtype)
        return value

    def give_back(self, value):
        (places,) = self.places  # of moving averages, which are vectors
        dense = tf.convert_to_tensor(self.dense)
        self.dense.assign(tf.tensor_scatter_nd_update(dense, places[:, None], value))


def _source(weight, dense, index, factor, units, network):
    """The `_Source` from what was read off for every single number of a weight."""
    if np.any((index < 0) | (index >= np.prod(dense.shape))):
        raise _no_view(network)
    coordinates = np.unravel_index(index, dense.shape)
    # What training changes must be the network's own numbers, to be given back.
    averages = dense.name.startswith("moving_")
    if len(coordinates) != index.ndim or (averages and (units or np.any(factor != 1))):
        raise _no_view(network)
    places = []
    for axis, coordinate in enumerate(coordinates):
        along = np.moveaxis(coordinate, axis, 0)
        places.append(along.reshape(len(along), -1)[:, 0])
    return _Source(
        weight,
        dense,
        places,
        _compact(factor),
        {mask: _compact(index) for mask, index in units.items()},
    )


class _Probe:
    """A copy of a masked network whose weights and masks are whatever is asked for."""

    def __init__(self, network, cut):
        def copy(layer):
            if isinstance(layer, BayesianMask):
                return _GivenMask(name=layer.name)
            return type(layer).from_config(layer.get_config())

        try:
            self.network = keras.models.clone_model(network, clone_function=copy)
        except (NotImplementedError, TypeError) as error:  # a layer without a configuration
            raise _no_view(network) from error
        self.masks = {mask.name: mask for mask in mask_layers(self.network)}
        self.cut = {mask.name: np.asarray(units) for mask, units in cut.items()}
        if self.masks.keys() != self.cut.keys():
            raise _no_view(network)
        self.weights = _weights(self.network)
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
        return {name: np.asarray(w, np.float64) for name, w in _weights(slimmed).items()}


class _GivenMask(BayesianMask):
    def expected(self):
        return tf.constant(self.value)


def _places(probe, factors):
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


def _units_of_masks(probe, factors):
    """For each weight, the masks whose factors are in it, and for each number the unit."""
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


def _compact(array):
    """The array without the axes along which it is constant: they have length 1."""
    for axis in range(array.ndim):
        first = array.take([0], axis)
        if np.all(array == first):
            array = first
    return array


def _weights(network):
    """The weights of a network but for masks, by the names of layer and weight."""
    return {
        f"{layer.name}/{weight.name}": weight
        for layer in _plain_layers(network)
        for weight in layer.weights
    }


def _plain_layers(network):
    return [layer for layer in network.layers if not isinstance(layer, BayesianMask)]


def _seeds(view, network):
    """Pairs of the states of random layers, of the view and of the network."""
    layers = {layer.name: layer for layer in network.layers}
    return [
        (layer.seed_generator.state, layers[layer.name].seed_generator.state)
        for layer in view.layers
        if hasattr(layer, "seed_generator") and hasattr(layers.get(layer.name), "seed_generator")
    ]


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
        "factors, because pruned units have come to be constants or for another reason."
    )
