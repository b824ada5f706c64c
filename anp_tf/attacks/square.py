"""The Square attack: random search by the network's scores alone."""

import tensorflow as tf

from anp_tf.attacks import draws
from anp_tf.attacks.inference_form import inference_form
from anp_tf.attacks.l2 import L2
from anp_tf.attacks.linf import Linf
from anp_tf.attacks.pgd import check, checked_pixels
from anp_tf.attacks.square_l2 import Pyramids
from anp_tf.attacks.square_linf import Squares
from anp_tf.losses import margin

# After so many of 10,000 queries the share of changed pixels is halved.
HALVED_AFTER = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


class Square:
    """Square attack (Andriushchenko et al. 2020): random search, no gradient is used.

    In the L-infinity ball it starts from vertical stripes. Each query moves a square of the image,
    at a random place, to a random corner of the ball, channel by channel. In the L2 ball it starts
    from a grid of tiles, each a pair of pyramids of opposite signs. Each query takes the change of
    one window away and adds such a pair in another, of the length that is free then.

    A query is kept where it increases the margin by which another class is ahead. The squares get
    smaller. An example whose image is misclassified changes no more. Called as
    `attack(network, x, y)`, like `PGD`; the network runs in inference mode. A network without
    useful gradients cannot hide from it.

    Args:
        epsilon: Float, radius of the ball in pixel units: in (0, 1] for the L-infinity ball, above
            0 for the L2 ball.
        queries: Integer, at least 1; how often the network is asked for each example, at most.
        first_share: Float in (0, 1]; share of the pixels that the first squares cover.
        norm: The geometry of the ball, `Linf()` or `L2()`; None: `Linf()`.

    Reference:
        - Andriushchenko et al. 2020, "Square Attack: a query-efficient black-box adversarial attack
          via random search", https://arxiv.org/abs/1912.00049, algorithms 1, 2 and 3
    """

    def __init__(self, *, epsilon, queries=5000, first_share=0.8, norm=None):
        norm = Linf() if norm is None else norm
        check("norm", norm, isinstance(norm, Linf | L2), "Linf() or L2()")
        if isinstance(norm, L2):
            check("epsilon", epsilon, epsilon > 0, "a number above 0")
        else:
            check("epsilon", epsilon, 0 < epsilon <= 1, "a number in (0, 1], in pixel units")
        valid = queries == int(queries) and queries >= 1
        check("queries", queries, valid, "an integer of at least 1")
        check("first_share", first_share, 0 < first_share <= 1, "a number in (0, 1]")
        self.epsilon = float(epsilon)
        self.queries = int(queries)
        self.first_share = float(first_share)
        self.norm = norm

    def __call__(self, network, x, y, *, seed=None):
        """Adversarial copies of a batch.

        Args:
            network: Keras model, or any function `(pixels, training) -> logits`.
            x: Float tensor [batch, height, width, channels], pixels in [0, 1]; in the L2 ball of 5
                by 5 pixels at least.
            y: Integer tensor [batch], labels.
            seed: Integer tensor [2] or [batch, 2], as for `PGD`. All the random numbers are drawn
                at once: `queries` times `channels` + 2 (L-infinity) or + 5 (L2) for each example.

        Returns:
            Tensor like `x`, in the ball around it and in [0, 1].

        Raises:
            tf.errors.InvalidArgumentError: if a pixel is NaN or not in [0, 1].
            ValueError: if `x` are no images, or too small ones.
        """
        network = inference_form(network)
        x, seed = checked_pixels(x), draws.given_seed(seed)
        if x.shape.rank != 4 or None in x.shape[1:]:
            raise ValueError(
                "The Square attack needs images [batch, height, width, channels] of a known size. "
                f"Received: x of shape {x.shape}"
            )
        kind = Pyramids if isinstance(self.norm, L2) else Squares
        proposals = kind(x, tf.cast(self.epsilon, x.dtype), self._shares())
        of_start, of_queries = draws.split(seed, 2)
        shape = [tf.shape(x)[0], self.queries, proposals.count]
        numbers = draws.uniform(of_queries, shape)

        def asked(candidate):
            return margin(network(candidate, training=False), y)

        def body(index, best, margins):
            candidate = proposals.query(best, index, numbers[:, index])
            new = asked(candidate)
            better = (new > margins) & (margins <= 0)
            keep = tf.reshape(better, [-1, 1, 1, 1])
            return index + 1, tf.where(keep, candidate, best), tf.where(better, new, margins)

        start = proposals.start(of_start)
        margins = asked(start)
        _, best, _ = tf.while_loop(
            lambda index, _, margins: (index < self.queries) & tf.reduce_any(margins <= 0),
            body,
            (1, start, margins),
            maximum_iterations=self.queries,
            shape_invariants=(tf.TensorShape([]), x.shape, margins.shape),
        )
        return tf.stop_gradient(best)

    def _shares(self):
        """The share of the pixels in a square at each query."""
        shares = []
        for query in range(self.queries):
            halvings = sum(10_000 * query / self.queries > after for after in HALVED_AFTER)
            shares.append(self.first_share / 2**halvings)
        return shares
