"""The Square attack: random search by the network's scores alone."""

import math

import tensorflow as tf

from anp_tf.attacks import draws
from anp_tf.attacks.pgd import check, checked_pixels
from anp_tf.losses import margin

# After so many of 10,000 queries the share of changed pixels is halved.
HALVED_AFTER = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


class Square:
    """Square attack in the L-infinity ball (Andriushchenko et al. 2020): no gradient is used.

    It starts from vertical stripes. Each query moves a square of the image, at a random place, to a
    random corner of the ball, channel by channel, and keeps the change where it increases the
    margin by which another class is ahead. The squares get smaller. An example whose image is
    misclassified changes no more. Called as `attack(network, x, y)`, like `PGD`; the network runs
    in inference mode. A network without useful gradients cannot hide from it.

    Args:
        epsilon: Float in (0, 1], radius of the ball in pixel units.
        queries: Integer, at least 1; how often the network is asked for each example, at most.
        first_share: Float in (0, 1]; share of the pixels that the first squares cover.

    Reference:
        - Andriushchenko et al. 2020, "Square Attack: a query-efficient black-box adversarial attack
          via random search", https://arxiv.org/abs/1912.00049, algorithms 1 and 2
    """

    def __init__(self, *, epsilon, queries=5000, first_share=0.8):
        check("epsilon", epsilon, 0 < epsilon <= 1, "a number in (0, 1], in pixel units")
        valid = queries == int(queries) and queries >= 1
        check("queries", queries, valid, "an integer of at least 1")
        check("first_share", first_share, 0 < first_share <= 1, "a number in (0, 1]")
        self.epsilon = float(epsilon)
        self.queries = int(queries)
        self.first_share = float(first_share)

    def __call__(self, network, x, y, *, seed=None):
        """Adversarial copies of a batch.

        Args:
            network: Keras model, or any function `(pixels, training) -> logits`.
            x: Float tensor [batch, height, width, channels], pixels in [0, 1].
            y: Integer tensor [batch], labels.
            seed: Integer tensor [2], a stateless seed; by default a fresh one at each call.

        Returns:
            Tensor like `x`, in the ball around it and in [0, 1].

        Raises:
            tf.errors.InvalidArgumentError: if a pixel is NaN or not in [0, 1].
            ValueError: if `x` are no images.
        """
        x, seed = checked_pixels(x), draws.given_seed(seed)
        if x.shape.rank != 4 or None in x.shape[1:]:
            raise ValueError(
                "The Square attack needs images [batch, height, width, channels] of a known size. "
                f"Received: x of shape {x.shape}"
            )
        epsilon = tf.cast(self.epsilon, x.dtype)
        sides = tf.constant(self._sides(*x.shape[1:3]))

        def asked(candidate):
            return margin(network(candidate, training=False), y)

        def body(index, best, margins):
            candidate = _with_squares(
                x, best, sides[index], epsilon, tf.random.fold_in(seed, index)
            )
            new = asked(candidate)
            better = (new > margins) & (margins <= 0)
            keep = tf.reshape(better, [-1, 1, 1, 1])
            return index + 1, tf.where(keep, candidate, best), tf.where(better, new, margins)

        stripes = _signs([tf.shape(x)[0], 1, *x.shape[2:]], seed, x.dtype)
        start = tf.clip_by_value(x + epsilon * stripes, 0, 1)
        margins = asked(start)
        _, best, _ = tf.while_loop(
            lambda index, _, margins: (index < self.queries) & tf.reduce_any(margins <= 0),
            body,
            (1, start, margins),
            maximum_iterations=self.queries,
            shape_invariants=(tf.TensorShape([]), x.shape, margins.shape),
        )
        return tf.stop_gradient(best)

    def _sides(self, height, width):
        """The side of the squares at each query."""
        sides = []
        for query in range(self.queries):
            halvings = sum(10_000 * query / self.queries > after for after in HALVED_AFTER)
            side = round(math.sqrt(self.first_share / 2**halvings * height * width))
            sides.append(min(max(side, 1), height, width))
        return sides


def _with_squares(x, best, side, epsilon, seed):
    """The images with a square each, at a random place, at random corners of the ball."""
    height, width, channels = x.shape[1:]
    count = tf.shape(x)[0]
    of_rows, of_columns, of_signs = tf.unstack(tf.random.split(seed, 3))
    rows = _between(count, of_rows, height, side)
    columns = _between(count, of_columns, width, side)
    inside = (rows[:, :, None] & columns[:, None, :])[..., None]
    signs = _signs([count, 1, 1, channels], of_signs, x.dtype)
    return tf.where(inside, tf.clip_by_value(x + epsilon * signs, 0, 1), best)


def _between(count, seed, size, side):
    """For each of `count` images, which of `size` rows or columns its square covers."""
    starts = tf.random.stateless_uniform([count, 1], seed)
    first = tf.cast(starts * tf.cast(size - side + 1, tf.float32), tf.int32)
    positions = tf.range(size)[None]
    return (positions >= first) & (positions < first + side)


def _signs(shape, seed, dtype):
    return tf.cast(2 * tf.random.stateless_uniform(shape, seed, 0, 2, tf.int32) - 1, dtype)
