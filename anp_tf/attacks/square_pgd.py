"""PGD, and then a few random squares: an attack for training that needs gradients less."""

import numpy as np
import tensorflow as tf

from anp_tf.arguments import check, check_count
from anp_tf.attacks import draws
from anp_tf.attacks.attack import by_example
from anp_tf.attacks.entrance import check_images
from anp_tf.attacks.linf import Linf
from anp_tf.attacks.pgd import PGD
from anp_tf.attacks.side_by_side import side_by_side
from anp_tf.attacks.square_linf import Squares

LARGEST, SMALLEST = 0.2, 0.005  # share of the pixels in a square, at the first and the last query


class SquarePGD(PGD):
    """PGD followed by the queries of a short Square attack from where it ended.

    Networks that are trained on PGD alone can learn to give it gradients of little use: the Square
    attack, without gradients, then finds what PGD misses. Here each query moves a square of the
    adversarial image to a random corner of the L-infinity ball, and the change is kept where it
    increases the loss; the squares get smaller. Called as `attack(network, x, y)`, like `PGD`; `x`
    are images [batch, height, width, channels].

    Args:
        epsilon, step_size, steps, loss: As for `PGD`.
        queries: Integer, at least 1; how many squares are tried. A query takes one prediction.

    Reference:
        - Madry et al. 2018 for PGD; Andriushchenko et al. 2020, "Square Attack: a query-efficient
          black-box adversarial attack via random search", https://arxiv.org/abs/1912.00049
    """

    def __init__(self, *, queries=10, **kwargs):
        super().__init__(**kwargs)
        self.queries = check_count("queries", queries)
        check("norm", self.norm, isinstance(self.norm, Linf), "Linf()")

    def perturb(self, network, x, y, seed, scale=1.0, steps=None, step_size=None):
        check_images(x)
        of_pgd, of_queries = draws.split(seed, 2)
        best = super().perturb(network, x, y, of_pgd, scale, steps, step_size)
        shares = np.geomspace(LARGEST, SMALLEST, self.queries)
        epsilon = tf.cast(scale, x.dtype) * self.epsilon
        count = Squares(x, epsilon, shares).count
        numbers = draws.uniform(of_queries, [tf.shape(x)[0], self.queries, count])

        def search(best, x, y, numbers):
            squares = Squares(x, epsilon, shares)
            plan = squares.plan(numbers)

            def losses(images):
                return self._climbed(network(images, training=False), y)

            def query(index, best, highest):
                candidate = squares.query(best, plan[:, index])
                loss = losses(candidate)
                better = loss > highest
                return index + 1, by_example(better, candidate, best), tf.maximum(loss, highest)

            return tf.while_loop(
                lambda index, *_: index < self.queries,
                query,
                (0, best, losses(best)),
                maximum_iterations=self.queries,
                shape_invariants=(tf.TensorShape([]), x.shape, x.shape[:1]),
            )[1]

        return side_by_side(search, best, x, y, numbers)
