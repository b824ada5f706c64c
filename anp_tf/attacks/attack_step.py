"""An attack whose images do not depend on the batches that they are made in."""

import tensorflow as tf


def attack_step(network, attack, seed):
    """An attack on a batch of any size, in which every image has random numbers of its own.

    Args:
        network: Keras model, or function `(pixels, training) -> logits`.
        attack: An `anp_tf.attacks` object.
        seed: Integer, at least 0.

    Returns:
        Compiled function of pixels [batch, ...], labels [batch] and the images' positions in the
        data set, int32 [batch], to a tensor like the pixels. It takes another `seed` and the call
        arguments of the attack; for tensors of those it is traced once.
    """

    @tf.function(reduce_retracing=True)
    def step(x, y, positions, seed=seed, **options):
        seeds = tf.stack([tf.fill(tf.shape(positions), seed), positions], -1)
        return attack(network, x, y, seed=seeds, **options)

    return step
