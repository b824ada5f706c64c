"""What a training step owes to the other replicas of a strategy, and to `fit` over workers."""

import tensorflow as tf


def per_replica(gradients):
    """A replica's part of gradients that are summed over replicas.

    Each is of terms that are means over the replica's own batch.
    """
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    return [gradient / replicas for gradient in gradients]


def average(variables):
    """Gives all replicas the means of variables that each has changed by itself."""
    if not variables or tf.distribute.get_strategy().num_replicas_in_sync == 1:
        return
    context = tf.distribute.get_replica_context()
    means = context.all_reduce("MEAN", [tf.identity(v.value) for v in variables])
    for variable, mean in zip(variables, means, strict=True):
        variable.assign(mean)


def for_fit(logs):
    """A step's logs as `fit` wants them: over several workers it averages their first axis."""
    if isinstance(tf.distribute.get_strategy(), tf.distribute.MultiWorkerMirroredStrategy):
        return {name: tf.reshape(value, [1]) for name, value in logs.items()}
    return logs
