"""Attacks one after the other: what one leaves is attacked by the next."""

import tensorflow as tf

from anp_tf.attacks import draws
from anp_tf.attacks.attack import rows, with_rows
from anp_tf.attacks.entrance import labels_of
from anp_tf.losses import classified


class InTurn:
    """Attacks that are made in turn, each on the examples that those before it left.

    Called as `attack(network, x, y)`, like each of them. An example keeps the first image of it
    that is misclassified, be it its own, or else that of the last attack.

    Args:
        *attacks: Attacks of this package, at least one.
    """

    def __init__(self, *attacks):
        if not attacks:
            raise ValueError("Expected at least one attack. Received: none")
        self.attacks = attacks

    def __repr__(self):
        return f"InTurn({', '.join(map(repr, self.attacks))})"

    @tf.autograph.experimental.do_not_convert
    def __call__(self, network, x, y, *, seed=None):
        """Adversarial copies of a batch; arguments as for `Attack`."""
        x = tf.convert_to_tensor(x)
        y = labels_of(y, x)
        seed = draws.given_seed(seed)

        def fools(images, y):
            return ~classified(network(images, training=False), y)

        def attacked(attack, images, fooled, seed):
            which = tf.where(~fooled)[:, 0]
            if seed.shape.rank == 2:  # one for each example
                seed = rows(seed, which)
            x_left, y_left = rows((x, y), which)
            found = attack(network, x_left, y_left, seed=seed)
            return with_rows((images, fooled), which, (found, fools(found, y_left)))

        images, fooled = x, fools(x, y)
        for index, attack in enumerate(self.attacks):
            given = attack, images, fooled, draws.fold_in(seed, index)
            images, fooled = tf.cond(
                tf.reduce_all(fooled),
                lambda state=(images, fooled): state,
                lambda given=given: attacked(*given),
            )
        return tf.stop_gradient(images)
