"""What is random in a training step, as a function of a seed and the number of steps done."""

import tensorflow as tf

from anp_tf.layers.many_masks import training_masks


def seeds(seed, step):
    """Two stateless seeds [2] of a step, for the attack and for the masks; each replica's own."""
    replica = tf.distribute.get_replica_context().replica_id_in_sync_group
    of_step = tf.random.fold_in(tf.constant([seed, 0], tf.int32), step)
    return tf.unstack(tf.random.split(tf.random.fold_in(of_step, replica), 2))


def drawn_masks(fixed, x, seed, step, schedule):
    """Dict from mask layer to its mask in a step: a draw for each image, or what it is fixed to.

    Args:
        fixed: Dict from mask layer to its mask in inference, [units].
        x: Tensor [batch, ...], the images.
        seed: Integer tensor [2].
        step: Integer tensor, the number of steps done.
        schedule: `Schedule`.
    """
    of_masks = [tf.random.fold_in(seed, index) for index in range(len(fixed))]
    draws = training_masks(fixed, tf.shape(x)[0], of_masks)
    if schedule.mask_freeze_step is None:
        return draws
    frozen = schedule.masks_are_fixed(tf.cast(step, tf.int64))
    return {mask: tf.where(frozen, fixed[mask], draw) for mask, draw in draws.items()}
