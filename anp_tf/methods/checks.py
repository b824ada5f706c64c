"""What a training model expects of its network, of `compile` and of its gradients."""

import logging
from collections.abc import Iterable

import keras
import tensorflow as tf

from anp_tf.arguments import check, check_count, check_kind, check_number, check_seed
from anp_tf.layers import bayes_layers, mask_layers
from anp_tf.losses import l2_decay
from anp_tf.methods.bound_loss import Bound
from anp_tf.methods.distillation import Distillation
from anp_tf.methods.schedule import Schedule
from anp_tf.models.classifier import check_classifier
from anp_tf.pruning.groups import unmasked_layers

ATTACKED_ARE = "The images of an attack must be in [0, 1]"
NOT_FINITE = "The loss or its gradient is not finite"
# The arguments of `keras.Model.compile` that a method's own losses take the place of.
NOT_SUPPORTED = ("loss", "loss_weights", "auto_scale_loss")

log = logging.getLogger(__name__)


def check_network(method, network, attack):
    """Checks that a network and an attack are what a method trains; logs what has no mask.

    Args:
        method: Class of a `TrainingModel`.
        network: Functional `keras.Model`.
        attack: The attack for training, or None.

    Raises:
        ValueError: as described at `TrainingModel`.
    """
    check_classifier(network)
    masks, random_weights = mask_layers(network), bayes_layers(network)
    for kind, layers, used in (
        ("masks", masks, method.uses_masks),
        ("random weights", random_weights, method.uses_random_weights),
    ):
        if used and not layers and not (kind == "masks" and method.masks_are_optional):
            raise ValueError(
                f"Method {method.__name__} trains {kind}, but `{network.name}` has no {kind}."
            )
        if layers and not used:
            raise ValueError(
                f"Method {method.__name__} trains no {kind}, but `{network.name}` has {kind}."
            )
    for mask in () if method.learns_masks else masks:
        if mask.trainable_variables:
            raise ValueError(
                f"Method {method.__name__} does not learn masks. Expected `UnitMask`, as of "
                "insert_masks(network, mask=UnitMask). "
                f"Received: `{mask.name}` of type {type(mask).__name__}"
            )
    for layer in masks + random_weights:
        if layer.kl_weight > 0:
            raise ValueError(
                f"Method {method.__name__} weighs the divergence by beta / num_examples, but layer "
                f"`{layer.name}` has kl_weight={layer.kl_weight}. Expected 0."
            )
    if method.uses_attack and attack is None:
        raise ValueError(f"Method {method.__name__} trains on an attack. Received: attack=None")
    check("attack", attack, attack is None or callable(attack), "an attack or None")
    for row in unmasked_layers(network) if masks else ():
        log.warning("no mask for %s", row)


def check_weights(adversarial_weight, beta, vulnerability_weight, weight_decay):
    """Raises a ValueError if one of the weights of a loss's parts is out of its range."""
    for name, value in (
        ("adversarial_weight", adversarial_weight),
        ("beta", beta),
        ("vulnerability_weight", vulnerability_weight),
        ("weight_decay", weight_decay),
    ):
        infinite = name == "adversarial_weight"
        check_number(name, value, lambda v: v >= 0, "a number of at least 0", infinite)


def check_shares(label_smoothing, average_decay, vulnerability_share):
    """Raises a ValueError if one of the shares among a method's arguments is out of its range."""
    for name, value in (("label_smoothing", label_smoothing), ("average_decay", average_decay)):
        check_number(name, value, lambda v: 0 <= v < 1, "a number in [0, 1)")
    expected = "a number in (0, 1]"
    check_number("vulnerability_share", vulnerability_share, lambda v: 0 < v <= 1, expected)


def check_options(num_examples, validation_attack, decayed, seed):
    """Raises a ValueError if one of the other arguments of a method is none that it can take."""
    check_count("num_examples", num_examples)
    known = validation_attack in (None, "auto") or callable(validation_attack)
    check("validation_attack", validation_attack, known, "an attack, 'auto' or None")
    check("decayed", decayed, decayed in ("all", "kernels"), "'all' or 'kernels'")
    check_seed("seed", seed)


def check_records(schedule, bound, distillation):
    """Raises a ValueError if one of the records among a method's arguments is something else."""
    check_kind("schedule", schedule, Schedule)
    check_kind("bound", bound, Bound)
    check_kind("distillation", distillation, Distillation)


def checked_images(images):
    """What an attack returned as a tensor, or None; an error at run time if not all in [0, 1]."""
    if images is None:
        return None
    images = tf.convert_to_tensor(images)
    inside = tf.reduce_all((images >= 0) & (images <= 1))
    told = [ATTACKED_ARE, tf.reduce_min(images), tf.reduce_max(images)]
    with tf.control_dependencies([tf.raw_ops.Assert(condition=inside, data=told)]):
        return tf.identity(images)


def checked_losses(model, losses):
    """What `objective` returned; a ValueError unless it is a pair of the losses that are needed."""
    pair = losses if isinstance(losses, tuple | list) else ()
    needed = pair if model.mask_variables else pair[:1]
    if len(pair) != 2 or not all(
        loss is not None and tf.convert_to_tensor(loss).shape.rank == 0 for loss in needed
    ):
        raise ValueError(
            f"Method `objective` of {type(model).__name__} must return a pair of scalars: the loss "
            "of the weights, and that of the masks, None where no mask is learned. "
            f"Received: {losses}"
        )
    return losses


def checked_kl_weights(kl_weights, masks):
    """List of a factor for each mask; 1 for None. A ValueError if they are no such factors."""
    if kl_weights is None:
        return [1.0] * len(masks)
    factors = list(kl_weights) if isinstance(kl_weights, Iterable) else []
    if len(factors) != len(masks):
        raise ValueError(
            "Argument `kl_weights` must have a factor for each mask. "
            f"Received: kl_weights={kl_weights} for {len(masks)} masks"
        )
    for factor in factors:
        check_number("kl_weights", factor, lambda v: v >= 0, "factors of at least 0")
    return factors


def checked_target_units(target_units, masks, fixed):
    """List of the number of units of each mask, or None.

    A ValueError if masks have not so many, or, as the Boolean `fixed` says, are never fixed.
    """
    units = [mask.units for mask in masks]
    if target_units is None:
        return None
    expected = "None without a `mask_freeze_step` in the schedule, at which units are cut"
    check("target_units", target_units, fixed, expected)
    counts = list(target_units) if isinstance(target_units, Iterable) else []
    counts = [check_count("target_units", count) for count in counts]
    if len(counts) != len(units) or any(
        count > most for count, most in zip(counts, units, strict=True)
    ):
        raise ValueError(
            f"Argument `target_units` must have a number for each of the masks, of {units} "
            f"units. Received: target_units={target_units}"
        )
    return counts


def check_compile_arguments(arguments):
    """Raises a ValueError for arguments of `compile` that are not supported."""
    for name in NOT_SUPPORTED:
        if arguments.get(name):
            raise ValueError(
                f"Argument `{name}` is not supported: a method has its own losses, which are "
                f"not scaled. Received: {name}={arguments[name]}"
            )


def check_optimizer(name, optimizer):
    """Raises a ValueError for an optimizer that needs more of a step than its gradients.

    Args:
        name: The argument of `compile`.
        optimizer: Keras optimizer.
    """
    kind = type(optimizer).__name__
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        raise ValueError(
            f"Argument `{name}`: a method's losses are not scaled. Expected the optimizer that "
            f"the {kind} is made of. Received: {kind}"
        )
    for option in ("use_ema", "gradient_accumulation_steps", "loss_scale_factor"):
        if value := getattr(optimizer, option):
            instead = "; averages of the weights are a method's `average_decay`"
            raise ValueError(
                f"Argument `{name}`: expected an optimizer without {option}"
                f"{instead if option == 'use_ema' else ''}. Received: {kind} with {option}={value}"
            )


def check_own_weights(model):
    """Raises a ValueError while averages are in the place of a `NetworkTrainer`'s weights."""
    if model.averages is not None:
        model.averages.check_out_of_place()


def check_trained(model):
    """Raises a ValueError if other variables are trainable now than when the method was made."""
    network = model.network
    known = {id(v) for v in [*model.weight_variables, *model.mask_variables]}
    if known != {id(v) for v in network.trainable_variables}:
        raise ValueError(
            f"`trainable` of layers of `{network.name}` has changed since the method was made of "
            f"it, which trains what was trainable then. Expected a new {type(model).__name__} of "
            "the network"
        )


def check_own_losses(network):
    """Raises a ValueError if a layer of a network, which has just run, adds a loss to it."""
    adding = [
        layer.name
        for layer in network._flatten_layers(include_self=False)
        if len(layer.losses) > sum(v.regularizer is not None for v in layer.trainable_weights)
    ]
    if adding:  # layers come after those that they are in
        raise ValueError(
            f"A method has its own losses, to which layer `{adding[-1]}` adds one, by add_loss or "
            "activity_regularizer. Expected a network of layers without them; regularizers of "
            "weights count"
        )


def check_finite(gradients, loss):
    """A tensor whose evaluation is an error unless the loss and all gradients are finite."""
    norm = l2_decay(keras.tree.flatten(gradients))
    return tf.debugging.check_numerics(norm + loss, NOT_FINITE)


class EndNotFinite(keras.callbacks.Callback):
    """Ends `fit` after an epoch of which steps were left out, by a FloatingPointError."""

    def on_epoch_begin(self, epoch, logs=None):
        self.model.left_out.reset_state()

    def on_epoch_end(self, epoch, logs=None):
        if count := int(self.model.left_out.result()):
            raise FloatingPointError(
                f"{NOT_FINITE} in epoch {epoch + 1}, at {count} of its steps. A lower learning "
                "rate may help"
            )
