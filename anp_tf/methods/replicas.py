"""What a training step owes to the other replicas of a strategy, and to `fit` over workers."""

import keras
import tensorflow as tf

from anp_tf.layers import BayesianMask

CLIPPING = ("clipnorm", "global_clipnorm", "clipvalue")  # attributes of Keras's optimizers


def per_replica(gradients, variables, optimizer, examples):
    """A replica's part of gradients that the optimizer sums over replicas; zeros for None.

    Each is of terms that are means over the replica's own batch, of `examples`; without any, batch
    normalization makes it NaN, and the part is 0. An optimizer that clips gradients would clip each
    replica's; so those of the whole batch are clipped here, and of the parts, which are smaller, it
    has nothing to clip.
    """
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    parts = [
        tf.zeros(variable.shape, variable.dtype) if gradient is None else gradient / replicas
        for gradient, variable in zip(gradients, variables, strict=True)
    ]
    if replicas == 1:
        return parts
    parts = [tf.where(examples > 0, part, tf.zeros_like(part)) for part in parts]
    if any(getattr(optimizer, name, None) for name in CLIPPING):
        whole = tf.distribute.get_replica_context().all_reduce("SUM", parts)
        parts = [gradient / replicas for gradient in optimizer._clip_gradients(whole)]
    return parts


def moving_averages(network):
    """List of a network's float variables that change in training, but not by gradients.

    Masks have none, nor have layers that are not trainable.
    """
    fixed = {
        id(variable)
        for layer in network._flatten_layers(include_self=False)
        if isinstance(layer, BayesianMask) or not any(p.trainable for p in layer._flatten_layers())
        for variable in layer.variables
    }
    return [
        variable
        for variable in network.non_trainable_variables
        if keras.backend.is_float_dtype(variable.dtype) and id(variable) not in fixed
    ]


def average(variables, examples):
    """Gives all replicas the means of variables that each has changed by itself.

    Args:
        variables: List of variables.
        examples: Integer, how many this replica had; those without any do not count.
    """
    if not variables or tf.distribute.get_strategy().num_replicas_in_sync == 1:
        return
    some = examples > 0
    own = [tf.where(some, variable.value, tf.zeros_like(variable)) for variable in variables]
    context = tf.distribute.get_replica_context()
    *sums, replicas = context.all_reduce("SUM", [*own, tf.cast(some, tf.float32)])
    for variable, total in zip(variables, sums, strict=True):
        variable.assign(total / tf.cast(replicas, total.dtype))


def for_fit(logs):
    """A step's logs as `fit` wants them: over several workers it averages their first axis."""
    if isinstance(tf.distribute.get_strategy(), tf.distribute.MultiWorkerMirroredStrategy):
        return {name: tf.reshape(value, [1]) for name, value in logs.items()}
    return logs
