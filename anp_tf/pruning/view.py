"""The slimmed network as a function of the masked network's weights and masks."""

import contextlib
import dataclasses
import math

import keras
import numpy as np
import tensorflow as tf

from anp_tf.layers import given_masks, mask_layers, seed_states
from anp_tf.layers.many_masks import inference_masks
from anp_tf.models.comparison import alike, computes_in_half, example_inputs
from anp_tf.pruning.probe import Probe, names_of, no_view_error, places_of, units_of_masks

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
        probe = Probe(network, cut)
        self.network = probe.network
        weights = {
            name: weight
            for layer in self.network.layers
            for name, weight in zip(names_of(layer), layer.weights, strict=True)
        }
        # Every weight of the slimmed network is one of the masked network's, times a number, times
        # factors of masks. Which is read off by slimming networks that hold known numbers.
        factors = probe.slimmed()
        if _shifts(self.network, network) or not _alike(weights, factors):
            raise no_view_error(network)
        if not factors.keys() <= probe.sources.keys():  # slimming has added a bias
            raise no_view_error(network)
        units, places = units_of_masks(probe, factors), places_of(probe, factors)
        self._sources = {
            name: _source(weight, probe.sources[name], places[name], factors[name], units[name])
            for name, weight in weights.items()
        }
        if None in self._sources.values():
            raise no_view_error(network)
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
            masks = inference_masks(self.cut)
        masks = {mask: tf.stop_gradient(value) for mask, value in masks.items()}
        sources = self._sources.values()
        mapping = [(source.weight, source.value(masks)) for source in sources]
        mapping += [(seed, tf.convert_to_tensor(dense)) for seed, dense in self._seeds]
        with keras.StatelessScope(state_mapping=mapping) as scope:
            before = [scope.get_current_value(variable) for variable, _ in mapping]
            yield
        if not training:
            return
        after = [scope.get_current_value(variable) for variable, _ in mapping]
        changed = [new is not old for new, old in zip(after, before, strict=True)]
        count = len(sources)
        for source, value, differs in zip(sources, after, changed[:count], strict=False):
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
        values = [random.uniform(0.5, 1.5, w.shape) for w in probe.weights]
        masks = {mask: random.uniform(0.5, 1.5, mask.units) for mask in self.cut}
        expected = probe.slimmed(values, masks)
        masks = {mask: value.astype(np.float32) for mask, value in masks.items()}
        given = {id(weight): value for weight, value in zip(probe.weights, values, strict=True)}
        for name, source in self._sources.items():
            value = source.value(masks, given[id(source.dense)].astype(np.float32))
            if not np.allclose(value, expected[name], rtol=1e-4):
                raise no_view_error(network)

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
        inputs = example_inputs(network.inputs)
        inputs = inputs[0] if len(inputs) == 1 else inputs
        with given_masks(masks):
            expected = network(inputs, training=False)
        with self.weights(masks):
            actual = self.network(inputs, training=False)
        tolerance = SAME_IN_HALF if computes_in_half(network) else SAME
        for value, other in zip(*map(keras.tree.flatten, (actual, expected)), strict=True):
            # Of weights that are not finite training says so, and in other words.
            is_finite = np.isfinite(tf.cast(other, tf.float32)).all()
            if is_finite and not alike(value, other, tolerance):
                raise no_view_error(network)


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


def _source(weight, dense, index, factor, units):
    """The `_Source` from what was read off for every single number of a weight; None: none is."""
    if np.any((index < 0) | (index >= np.prod(dense.shape))):
        return None
    # What training changes must be the network's own numbers, to be given back.
    averages = dense.name.startswith("moving_")
    if len(dense.shape) != index.ndim or (averages and (units or np.any(factor != 1))):
        return None
    # The index along each axis is that of any line of places; numbers of one dimension, as NumPy's
    # `unravel_index` is wrong for some arrays of more than 8,192 numbers.
    places = []
    for axis in range(index.ndim):
        along = np.moveaxis(index, axis, 0)
        line = along.reshape(len(along), -1)[:, 0]
        places.append(line // math.prod(dense.shape[axis + 1 :]) % dense.shape[axis])
    units = {mask: _compact(index) for mask, index in units.items()}
    return _Source(weight, dense, places, _compact(factor), units)


def _compact(array):
    """The array without the axes along which it is constant: they have length 1."""
    for axis in range(array.ndim):
        first = array.take([0], axis)
        if np.all(array == first):
            array = first
    return array


def _seeds(view, network):
    """Pairs of the states of random layers, of the view and of the network."""
    states = {layer.name: seed_states(layer) for layer in network.layers}
    return [
        pair
        for layer in view.layers
        for pair in zip(seed_states(layer), states.get(layer.name, ()), strict=False)
    ]


def _alike(weights, values):
    """Whether weights have the names and shapes of these values."""
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    return shapes == {name: value.shape for name, value in values.items()}


def _shifts(slimmed, network):
    """Whether constants are added between the layers of a network's slimmed form."""
    names = {layer.name for layer in network.layers}
    added = [layer for layer in slimmed.layers if layer.name not in names]
    return any(np.any(getattr(layer, "offset", 0)) for layer in added)
