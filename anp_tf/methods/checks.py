"""What a training model expects of its network, of `compile` and of its gradients."""

import logging

import keras
import tensorflow as tf

from anp_tf.arguments import check, check_count
from anp_tf.layers import bayes_layers, mask_layers
from anp_tf.models.classifier import check_classifier
from anp_tf.pruning.groups import unmasked_layers

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
        if used and not layers:
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
                f"Method {method.__name__} does not learn masks. Expected `UnitMask`. "
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
        check(name, value, value >= 0, "a number of at least 0")


def check_shares(label_smoothing, average_decay, vulnerability_share):
    """Raises a ValueError if one of the shares among a method's arguments is out of its range."""
    for name, value in (("label_smoothing", label_smoothing), ("average_decay", average_decay)):
        check(name, value, 0 <= value < 1, "a number in [0, 1)")
    valid = 0 < vulnerability_share <= 1
    check("vulnerability_share", vulnerability_share, valid, "a number in (0, 1]")


def check_options(num_examples, validation_attack, decayed):
    """Raises a ValueError if one of the other arguments of a method is none that it can take."""
    check_count("num_examples", num_examples)
    known = validation_attack in (None, "auto") or callable(validation_attack)
    check("validation_attack", validation_attack, known, "an attack, 'auto' or None")
    check("decayed", decayed, decayed in ("all", "kernels"), "'all' or 'kernels'")


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
    """List of a factor for each mask; 1 for None. A ValueError if there are more or less."""
    if kl_weights is None:
        return [1.0] * len(masks)
    if len(kl_weights) != len(masks):
        raise ValueError(
            "Argument `kl_weights` must have a factor for each mask. "
            f"Received: kl_weights={kl_weights} for {len(masks)} masks"
        )
    return list(kl_weights)


def checked_target_units(target_units, masks):
    """List of the number of units of each mask, or None. A ValueError if they have not so many."""
    units = [mask.units for mask in masks]
    if target_units is None:
        return None
    if len(target_units) != len(units) or any(
        not 1 <= count <= most for count, most in zip(target_units, units, strict=True)
    ):
        raise ValueError(
            f"Argument `target_units` must have a number for each of the masks, of {units} "
            f"units. Received: target_units={target_units}"
        )
    return list(target_units)


def check_compile_arguments(arguments):
    """Raises a ValueError for arguments of `compile` that are not supported."""
    for name in NOT_SUPPORTED:
        if arguments.get(name):
            raise ValueError(
                f"Argument `{name}` is not supported: a method has its own losses, which are "
                f"not scaled. Received: {name}={arguments[name]}"
            )


def check_finite(gradients, loss):
    """A tensor whose evaluation is an error unless the loss and all gradients are finite."""
    norm = tf.add_n([tf.nn.l2_loss(g) for g in keras.tree.flatten(gradients)])
    return tf.debugging.check_numerics(norm + loss, NOT_FINITE)
