"""The Square attack: random search by the network's scores alone."""

import tensorflow as tf

from anp_tf.arguments import check_count, check_number
from anp_tf.attacks import draws
from anp_tf.attacks.attack import Attack, rows, with_rows
from anp_tf.attacks.entrance import check_images
from anp_tf.attacks.l2 import L2
from anp_tf.attacks.runs import Found, strongest
from anp_tf.attacks.side_by_side import side_by_side
from anp_tf.attacks.square_l2 import Pyramids
from anp_tf.attacks.square_linf import Squares
from anp_tf.losses import classified, margin

# After so many of 10,000 queries the share of changed pixels is halved.
HALVED_AFTER = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
CHANNELS = 4  # at most, of images: grey, colours, with transparency
LEFT = 0.8  # once this share of the examples or less are left, only these are asked for
TOGETHER, MOST_AHEAD = 64, 16  # images that are asked for at once, and queries of an example


class Square(Attack):
    """Square attack (Andriushchenko et al. 2020): random search, no gradient is used.

    In the L-infinity ball it starts from vertical stripes. Each query moves a square of the image,
    at a random place, to a random corner of the ball, channel by channel. In the L2 ball it starts
    from a grid of tiles, each a pair of pyramids of opposite signs. Each query takes the change of
    one window away and adds such a pair in another, of the length that is free then.

    A query is kept where it increases the margin by which another class is ahead. The squares get
    smaller. An example that is misclassified does not change, nor does its image once it is. Called
    as `attack(network, x, y)`. A network without useful gradients cannot hide from it.

    Where few examples are left, the next few queries of each are made at once, all from its image
    so far: up to the first that is kept they are what they would be one after the other, the others
    are dropped.

    Args:
        epsilon, norm: As for `Attack`.
        queries: Integer, at least 1; how often the network is asked for each example that it
            classifies correctly, at most, after the example itself.
        first_share: Float in (0, 1]; share of the pixels that the first squares cover.
        restarts: Integer, at least 1; further searches are made on the examples that are left.
        channels_first: Boolean; images are [batch, channels, height, width]. None: they are
            [batch, height, width, channels], and what can only be channels first is refused.
        scheduled_queries: Integer, the number of queries over which the squares shrink to the
            smallest, of which the first `queries` are made. None: `queries`, as in the paper.

    Call arguments as for `Attack`, with images of a known size; in the L2 ball of 5 by 5 pixels at
    least. All the random numbers of a search are drawn at once: `queries` times `channels` + 2
    (L-infinity) or + 5 (L2) for each example.

    Raises:
        ValueError: also if `x` are no such images.

    Reference:
        - Andriushchenko et al. 2020, "Square Attack: a query-efficient black-box adversarial attack
          via random search", https://arxiv.org/abs/1912.00049, algorithms 1, 2 and 3
    """

    def __init__(
        self,
        *,
        epsilon,
        queries=5000,
        first_share=0.8,
        restarts=1,
        channels_first=None,
        scheduled_queries=None,
        norm=None,
    ):
        super().__init__(epsilon=epsilon, norm=norm)
        check_number("first_share", first_share, lambda v: 0 < v <= 1, "a number in (0, 1]")
        self.queries = check_count("queries", queries)
        self.first_share = float(first_share)
        self.restarts = check_count("restarts", restarts)
        self.channels_first = channels_first
        scheduled = self.queries if scheduled_queries is None else scheduled_queries
        self.scheduled_queries = check_count("scheduled_queries", scheduled)

    def check(self, x):
        """Raises a ValueError unless `x` are images that the attack can be made on."""
        check_images(x)
        self._check_channels(x)
        self._proposals(x[:1])

    def perturb(self, network, x, y, seed):
        check_images(x)
        self._check_channels(x)
        if not self.channels_first:
            return self._restarted(network, x, y, seed)

        def channels_last(pixels, training=False):
            return network(tf.transpose(pixels, [0, 3, 1, 2]), training=training)

        images = self._restarted(channels_last, tf.transpose(x, [0, 2, 3, 1]), y, seed)
        return tf.transpose(images, [0, 3, 1, 2])

    def _restarted(self, network, x, y, seed):
        def run(runs, which):
            of_start, of_queries = draws.split(draws.fold_in(seed, runs[0]), 2)
            numbers = draws.uniform(of_queries, [tf.shape(x)[0], self.queries, proposals.count])
            given = rows((x, y, proposals.start(of_start), proposals.plan(numbers)), which)
            return Found(*side_by_side(lambda *parts: self._search(network, *parts), *given))

        proposals = self._proposals(x)
        wrong = ~classified(network(x, training=False), y)
        return strongest(run, x, self.restarts, wrong).images

    def _search(self, network, x, y, start, plan):
        """One search: the images, which of them are misclassified, and their margins."""

        def asked(images, y):
            logits = network(images, training=False)
            return ~classified(logits, y), margin(logits, y)

        def going(index, done):
            return ~done & (index < self.queries)

        def ask_those_left(index, images, fooled, margins):
            which = tf.where(going(index, fooled))[:, 0]
            left = tf.size(which)
            ahead = tf.clip_by_value(TOGETHER // left, 1, MOST_AHEAD)
            x_left, y_left, plan_left = rows((x, y, plan), which)
            state = rows((index, images, margins), which)
            plans = tf.reshape(plan_left, [-1, plan.shape[2]])
            numbers = tf.range(left)

            def again(tensor):
                return tf.cond(ahead > 1, lambda: tf.repeat(tensor, ahead, 0), lambda: tensor)

            proposals, labels = self._proposals(again(x_left)), again(y_left)

            def query(index, best, highest, done, _):
                """The next queries of each example, of which the first that is kept counts."""
                coming = index[:, None] + tf.range(ahead)
                in_range = coming < self.queries
                rows_of_plans = self.queries * numbers[:, None] + coming
                now = tf.where(in_range, rows_of_plans, 0)
                now = tf.gather(plans, tf.reshape(now, [-1]))
                candidates = proposals.query(again(best), now)
                wrong, new = asked(candidates, labels)
                keep = tf.reshape(wrong | (new > again(highest)), [-1, ahead]) & in_range
                first, better = tf.argmax(keep, -1, tf.int32), tf.reduce_any(keep, -1) & ~done
                places, kept = first + ahead * numbers, tf.where(better)
                chosen = tf.gather(candidates, tf.gather_nd(places, kept))
                index += tf.where(better, first + 1, ahead)
                done |= better & tf.gather(wrong, places)
                return (
                    index,
                    tf.tensor_scatter_nd_update(best, kept, chosen),
                    tf.where(better, tf.gather(new, places), highest),
                    done,
                    tf.math.count_nonzero(going(index, done), dtype=tf.int32),
                )

            *state, done, _ = tf.while_loop(
                lambda *state: tf.cast(state[-1], tf.float32) > LEFT * tf.cast(left, tf.float32),
                query,
                (*state, tf.zeros_like(which, tf.bool), left),
                shape_invariants=(*[t.shape for t in state], which.shape, left.shape),
            )
            now = *state[:2], done, state[2]
            return with_rows((index, images, fooled, margins), which, now)

        fooled, margins = asked(start, y)
        index = tf.ones_like(fooled, tf.int32)
        state = index, start, fooled, margins
        return tf.while_loop(
            lambda index, _, fooled, __: tf.reduce_any(going(index, fooled)),
            ask_those_left,
            state,
            shape_invariants=tuple(t.shape for t in state),
        )[1:]

    def _proposals(self, x):
        kind = Pyramids if isinstance(self.norm, L2) else Squares
        return kind(x, tf.cast(self.epsilon, x.dtype), self._shares())

    def _shares(self):
        """The share of the pixels in a square at each query."""
        shares = []
        for query in range(self.queries):
            progress = 10_000 * query / self.scheduled_queries
            halvings = sum(progress > after for after in HALVED_AFTER)
            shares.append(self.first_share / 2**halvings)
        return shares

    def _check_channels(self, x):
        if self.channels_first is None and x.shape[3] > CHANNELS:
            raise ValueError(
                f"The Square attack takes the last axis for the channels, of which {x.shape[3]} "
                "are too many for an image. Say channels_first=True for images [batch, channels, "
                "height, width], or channels_first=False if they are channels. "
                f"Received: x of shape {x.shape}"
            )
