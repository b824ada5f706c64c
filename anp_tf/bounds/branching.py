"""Branch and bound: margins that are bounded in parts of the ball, apart by signs of features."""

import heapq
import itertools
import math

import numpy as np
import tensorflow as tf

from anp_tf.bounds.alpha import learned
from anp_tf.bounds.elementwise import Bent
from anp_tf.bounds.network import bounded_network

DOMAINS = 100  # parts that are bounded for a margin, at most
TOGETHER = 32  # parts that are bounded at a time
STEPS = 20  # of Adam, for each part


class BranchAndBound:
    """Proves margins in parts of balls (beta-CROWN, Wang et al. 2021).

    Where an activation bends at 0 within its bounds, the ball falls into two parts, in one of which
    the number it reads is at least 0, and in the other at most 0: in each the activation is linear.
    Parts are bounded by lines whose slopes are learned, and by multipliers of the signs; those that
    are not proved fall into two parts again, at the feature whose ends the bound depends on most.
    Hidden features are bounded by intervals.

    Args:
        network: As for `interval_bounds`, as is what bounds enclose.
        norm: `"linf"` or `"l2"`.
        domains: Integer, how many parts are bounded for a margin, at most.

    Reference:
        - Wang et al. 2021, "Beta-CROWN: Efficient Bound Propagation with Per-neuron Split
          Constraints for Neural Network Robustness Verification", https://arxiv.org/abs/2103.06624
    """

    def __init__(self, network, *, norm="linf", domains=DOMAINS):
        self._bounded, self._norm, self._domains = bounded_network(network), norm, domains
        # Features are numbered through what all bent activations read.
        bent = (step for step in self._bounded.steps if isinstance(step.rule, Bent))
        self._keys = list(dict.fromkeys(step.inputs[0] for step in bent))
        pixels = tf.zeros([1, *self._bounded.input_shape])
        boxes = self._bounded.intervals(self._bounded.ball(pixels, 0.0))
        self._shapes = [boxes[key].lower.shape[1:] for key in self._keys]
        self._sizes = [shape.num_elements() for shape in self._shapes]
        slopes = (
            slope.shape[1:]
            for step in self._bounded.steps
            for slope in step.rule.slopes(*(boxes[key] for key in step.inputs))
        )
        self._learned = [(1, *shape) for shape in (*slopes, *self._shapes)]
        self._compiled = tf.function(
            self._bound,
            autograph=False,  # which would make tracing slower
            input_signature=[
                tf.TensorSpec([], tf.float64),
                tf.TensorSpec([None, *self._bounded.input_shape], tf.float32),
                tf.TensorSpec([None, 1, self._bounded.units], tf.float64),
                tf.TensorSpec([None, sum(self._sizes)], tf.float64),
                tf.TensorSpec([None], tf.bool),
                [tf.TensorSpec([None, *shape], tf.float64) for shape in self._learned],
            ],
        )

    def __call__(self, x, y, classes, epsilon):
        """Which images are proved.

        Args:
            x: Array [images, ...], pixels in [0, 1].
            y: Integer array [images], labels.
            classes: List, for each image, of the classes whose margins are to be bounded.
            epsilon: Float, at least 0, the radius.

        Returns:
            Boolean array [images], whether all of these margins are proved to be below 0.
        """
        if not self._keys:  # there is nothing by which a ball falls into parts
            return np.array([not len(each) for each in classes])
        searches = [
            _Search(image, y[image], other, self._domains)
            for image in range(len(x))
            for other in classes[image]
        ]
        failed = np.zeros(len(x), bool)
        while searches:
            chosen = list(itertools.islice(_next(searches), TOGETHER))
            images = [search.image for search, *_ in chosen]
            found = self._bounds(x[images], chosen, epsilon)
            for (search, splits, _), answer in zip(chosen, found, strict=True):
                search.take(splits, *answer)
                failed[search.image] |= search.failed
            searches = [each for each in searches if each.parts and not failed[each.image]]
        return ~failed

    def _bounds(self, x, chosen, epsilon):
        """For each pair of a search and splits: the bound, the next feature, what was learned."""
        coefficients = np.zeros([len(x), 1, self._bounded.units])
        signs = np.zeros([len(x), sum(self._sizes)])
        for index, (search, splits, _) in enumerate(chosen):
            coefficients[index, 0, search.label] = 1.0
            coefficients[index, 0, search.other] = -1.0
            for feature, sign in splits:
                signs[index, feature] = sign
        starts = [start for *_, start in chosen]
        new = np.array([start is None for start in starts])
        empty = [np.zeros(shape) for shape in self._learned]
        parts = zip(*(empty if start is None else start for start in starts), strict=True)
        parts = [np.stack(each) for each in parts]
        found = self._compiled(epsilon, x, coefficients, signs, new, parts)
        best, features, learned_there = tf.nest.map_structure(np.asarray, found)
        return [
            (float(best[i]), int(features[i]), [each[i] for each in learned_there])
            for i in range(len(x))
        ]

    def _bound(self, epsilon, x, coefficients, signs, new, start):
        bounded = self._bounded
        ball = bounded.ball(x, epsilon, self._norm)
        signs = dict(zip(self._keys, self._by_tensor(signs), strict=True))
        zeros = {key: tf.zeros_like(sign) for key, sign in signs.items()}
        boxes, empty = self._boxes(ball, signs, zeros, zeros)
        result = learned(bounded, ball, boxes, coefficients, STEPS, signs, (new, start), enough=0.0)
        best = tf.where(empty, tf.constant(math.inf, bounded.dtype), result.best[:, 0])
        # Of each end of a box its own; in lists, since keys of several kinds have no order.
        moves = [[tf.zeros_like(sign) for sign in signs.values()] for _ in range(2)]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(moves)
            ends = (dict(zip(self._keys, each, strict=True)) for each in moves)
            moved, _ = self._boxes(ball, signs, *ends)
            value = result.bound(result.parameters, moved)
        gains = tape.gradient(value, moves, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        scores = []
        for key, up, down in zip(self._keys, *gains, strict=True):
            lower, upper = boxes[key]
            # What the bound would gain, to first order, by each of the two signs.
            either = [-lower * up, -upper * down]
            least = [tf.maximum(each, 0.0) + 1e-9 for each in either]
            score = tf.where((lower < 0) & (upper > 0), least[0] * least[1], 0.0)
            scores.append(tf.reshape(score, [tf.shape(score)[0], -1]))
        scores = tf.concat(scores, -1)
        feature = tf.where(tf.reduce_max(scores, -1) > 0, tf.argmax(scores, -1), -1)
        return best, feature, result.parameters

    def _by_tensor(self, flat):
        parts = tf.split(flat, self._sizes, axis=-1)
        return [
            tf.reshape(part, [-1, *shape]) for part, shape in zip(parts, self._shapes, strict=True)
        ]

    def _boxes(self, ball, signs, up, down):
        """The boxes of parts of a ball, their ends moved; and whether there is nothing in one."""
        empty = []

        def change(key, box):
            if key not in signs:
                return box
            sign, (lower, upper) = signs[key], box
            lower = tf.where(sign > 0, tf.maximum(lower, 0.0), lower)
            upper = tf.where(sign < 0, tf.minimum(upper, 0.0), upper)
            empty.append(tf.reduce_any(lower > upper, range(1, lower.shape.rank)))
            return type(box)(lower + up[key], tf.maximum(lower, upper) + down[key])

        boxes = self._bounded.intervals(ball, change)
        return boxes, tf.reduce_any(empty, 0)


def _next(searches):
    """Searches, each with its part that is the furthest from being proved: splits and start."""
    for search in searches:
        while search.parts:
            yield search, *heapq.heappop(search.parts)[2:]


class _Search:
    """The parts of a ball that are left, for one margin.

    Attributes:
        parts: Heap of (bound of what it is a part of, number, splits, what was learned for that),
            a split being a pair of a feature and a sign.
        failed: Boolean, whether it has been given up.
    """

    def __init__(self, image, label, other, domains):
        self.image, self.label, self.other = image, label, other
        self.parts, self.failed = [(-math.inf, 0, (), None)], False
        self._count, self._most = 1, domains

    def take(self, splits, bound, feature, parameters):
        """Takes the bound of a part, and the feature that it falls apart by, -1 for none."""
        if bound > 0:
            return
        # Where all is linear what is learned can still get better.
        more = [splits] if feature < 0 else [(*splits, (feature, sign)) for sign in (1, -1)]
        self.failed = self._count + len(more) > self._most
        for part in more:
            self._count += 1
            heapq.heappush(self.parts, (bound, self._count, part, parameters))
