"""What is random in a training step, as a function of a seed and the number of steps done."""

import tensorflow as tf


def seeds(seed, step):
    """Two stateless seeds [2] of a step, for the attack and for the masks; each replica's own."""
    replica = tf.distribute.get_replica_context().replica_id_in_sync_group
    of_step = tf.random.fold_in(tf.constant([seed, 0], tf.int32), step)
    return tf.unstack(tf.random.split(tf.random.fold_in(of_step, replica), 2))


def training_masks(fixed, x, seed, step, schedule):
    """Dict from mask layer to its mask in a step: a draw for each image, or what it is fixed to.

    Args:
        fixed: Dict from mask layer to its mask in inference, [units].
        x: Tensor [batch, ...], the images.
        seed: Integer tensor [2].
        step: Integer tensor, the number of steps done.
        schedule: `Schedule`.
    """
    draws = {
        mask: mask.training_mask(tf.shape(x)[0], tf.random.fold_in(seed, index))
        for index, mask in enumerate(fixed)
    }
    if schedule.mask_freeze_step is None:
        return draws
    frozen = schedule.masks_are_fixed(tf.cast(step, tf.int64))
    return {mask: tf.where(frozen, fixed[mask], draw) for mask, draw in draws.items()}
