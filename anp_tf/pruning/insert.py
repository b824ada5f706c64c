"""Masks for a network that has none."""

import logging
import typing
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from anp_tf.layers import (
    BayesianMask,
    BetaBernoulliDropout,
    FusedBatchNormalization,
    given_masks,
)
from anp_tf.layers.mask import made_mask
from anp_tf.models.comparison import alike, example_outputs
from anp_tf.models.copies import copy_layer
from anp_tf.models.copying import Copying
from anp_tf.models.graph import graph_of
from anp_tf.pruning.channels_last import channels_last
from anp_tf.pruning.groups import Groups, UnmaskedLayer
from anp_tf.pruning.handlers.linear import is_linear

MakeMask = Callable[[str], keras.layers.Layer]
Chosen = Sequence[str] | Callable[[keras.layers.Layer], bool] | None

log = logging.getLogger(__name__)


def beta_bernoulli(name):
    """The default mask: Beta-Bernoulli dropout that keeps two thirds of the units at first."""
    return BetaBernoulliDropout(initial_a=2.0, name=name)


@typing.overload
def insert_masks(
    model: keras.Model,
    mask: MakeMask = beta_bernoulli,
    layers: Chosen = None,
    report: typing.Literal[False] = False,
) -> keras.Model: ...


@typing.overload
def insert_masks(
    model: keras.Model,
    mask: MakeMask = beta_bernoulli,
    layers: Chosen = None,
    *,
    report: typing.Literal[True],
) -> tuple[keras.Model, list[UnmaskedLayer]]: ...


def insert_masks(model, mask=beta_bernoulli, layers=None, report=False):
    """A copy of a network with masks after its convolutions and dense layers.

    A mask comes after a batch normalization that follows, also one behind the activation or a
    pooling, and else before the activation, so that a pruned unit is 0. Channels that are joined by
    elements (Add, Multiply and so on) or by a depthwise convolution share one mask, which is called
    after each of the layers they come from.
    The units of the outputs have no mask, nor have those that are joined with the network's inputs
    or that reach a layer or an activation that needs all channels, such as a layer normalization or
    softmax.

    Args:
        model: Built functional or Sequential `keras.Model`; it is not changed. The calls in nested
            models take the place of the nested models' own, and those in layers that are made of
            layers alone that of these. Where channels come first, the layers of the copy have them
            last, between permutations of the inputs and, where need be, of others.
        mask: Function `name -> mask layer`, called once per mask.
        layers: Which convolutions and dense layers to mask: sequence of names, or function
            `layer -> Boolean`. None: all. Where channels share a mask, all the layers they come
            from must be among them.
        report: Boolean; return a pair of the network and the list of `UnmaskedLayer`: which layers
            not be masked, and why. They are logged as warnings anyway.

    Returns:
        A functional `keras.Model` with the same weights and names of layers; batch normalizations
        are `FusedBatchNormalization`s, which `slim` makes plain again. With masks of 1 it computes
        what `model` does: that is checked on random inputs.

    Raises:
        ValueError: if `model` is not functional or has masks, if a name in `layers` is not that of
            a layer that can have a mask, or if a layer cannot be copied or the copy does not
            compute the same.
    """
    graph = graph_of(channels_last(model))
    if any(isinstance(node.layer, BayesianMask) for node in graph.nodes):
        raise ValueError("Argument `model` has masks already.")
    groups = Groups(graph)
    chosen = _chosen(groups, layers)
    copying, activations, masks = Copying(graph), {}, {}
    copies = copying.copies

    def masked(x, group, caller):
        if group not in masks:
            # A depthwise convolution may come before the layers that its channels are joined with.
            first = next((layer for layer in groups.layers[group] if layer in copies), caller)
            masks[group] = made_mask(mask, copying.names.new(f"{copies[first].name}_mask"))
            masks[group].dtype_policy = caller.dtype_policy
        return masks[group](x)

    def split(layer):
        """The activation of a layer whose mask is to come before it."""
        if layer not in activations:
            name = copying.names.new(f"{copies[layer].name}_activation")
            activation = layer.activation
            if isinstance(activation, keras.Layer):
                activations[layer] = copy_layer(activation, name)
            else:
                policy = layer.dtype_policy
                activations[layer] = keras.layers.Activation(activation, name=name, dtype=policy)
        return activations[layer]

    def call(node, tensors):
        layer, group = node.layer, groups.of(node.outputs[0])
        gets_mask = node in groups.sites and group in chosen
        splits = gets_mask and not is_linear(layer)
        changes = {"activation": "linear"} if splits else {}
        if type(layer) is keras.layers.BatchNormalization:
            changes["kind"] = FusedBatchNormalization
        outputs = copying(node, tensors, **changes)
        if gets_mask:
            outputs = masked(outputs, group, layer)
        return split(layer)(outputs) if splits else outputs

    network = graph.rebuild(call, name=model.name)
    _check_outputs(model, network, masks.values(), graph.input)
    missing = groups.unmasked_layers()
    for layer in missing:
        log.warning("no mask for %s", layer)
    return (network, missing) if report else network


def _check_outputs(model, network, masks, inputs):
    """Raises a ValueError unless a network computes what the model does, with masks of 1."""
    pixels, expected = example_outputs(model, inputs)
    ones = {mask: tf.ones([mask.units]) for mask in masks}
    with given_masks(ones), keras.StatelessScope():
        actual = network(pixels, training=False)
    for value, other in zip(*map(keras.tree.flatten, (actual, expected)), strict=True):
        if not alike(value, other):
            raise ValueError(
                f"The copy of `{model.name}` does not compute the same with masks of 1: the "
                "outputs for random inputs differ. A layer has a state that Keras does not save."
            )


def _chosen(groups, layers):
    """The groups that get a mask."""
    possible = {
        group: sources for group, sources in groups.layers.items() if group not in groups.fixed
    }
    if layers is None:
        return set(possible)
    if not callable(layers):
        names = set(layers)
        known = {layer.name for sources in possible.values() for layer in sources}
        if names - known:
            possible_names = ", ".join(sorted(known)) or "there is none"
            raise ValueError(
                "Argument `layers` must name convolutions and dense layers that can have a mask: "
                f"{possible_names}. Received: {', '.join(sorted(names - known))}"
            )

        def layers(layer):
            return layer.name in names

    return {group for group, sources in possible.items() if all(map(layers, sources))}
