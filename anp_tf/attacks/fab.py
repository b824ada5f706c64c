"""The targeted fast adaptive boundary attack: the nearest misclassified image."""

import tensorflow as tf

from anp_tf.arguments import check_count
from anp_tf.attacks import draws
from anp_tf.attacks.attack import Attack, by_example, like, rows, with_rows
from anp_tf.attacks.entrance import checked_labels, checked_pixels
from anp_tf.attacks.gradients import each_finite, unchecked_gradient, with_finite
from anp_tf.attacks.hyperplane import steps_to_hyperplanes
from anp_tf.attacks.runs import Found, of_runs, still_needed, strongest
from anp_tf.attacks.side_by_side import side_by_side
from anp_tf.attacks.targets import highest_others
from anp_tf.losses import classified

ALPHA_MAX = 0.1  # the highest weight of the way from the original image in a step
ETA = 1.05  # how far a step goes beyond the linearised boundary
BETA = 0.9  # the share of the way that is kept where a misclassified image is found
SHORTEST = 1e-8  # length below which two steps weigh the same
LOOKED_AFTER = 10  # steps, after which runs end that have come into the ball


class TargetedFAB(Attack):
    """Targeted FAB attack (Croce & Hein 2020): it shrinks the change, not the margin.

    Each step linearises the difference of a target class's logit and the label's at the current
    point, and goes a little beyond where it is 0: to a mean of the nearest such points to the
    current point and to the original image, within [0, 1]. Where the image there is misclassified,
    as whatever class, it is kept if it is the nearest so far, and the search goes back toward the
    original image. The targets are the classes of the highest logits of the original image but for
    the label. The first run for each target starts from the original image, further ones from
    random points at half of epsilon.

    Called as `attack(network, x, y)`. The result is a misclassified image in the ball where one was
    found, and the image itself where it is misclassified. Else it is the nearest one projected on
    the ball, or the image itself if none was found. As it asks for no more than an image in the
    ball, nothing more is done for an example that has one. `nearest` makes every run to its end.

    Args:
        epsilon, norm: As for `Attack`.
        steps: Integer, at least 1; one gradient and one more prediction each.
        targets: Integer, at least 1; how many classes, at most all but the label.
        restarts: Integer, at least 1; runs for each target.

    Call arguments as for `Attack`, with images of a known shape.

    Reference:
        - Croce & Hein 2020, "Minimally distorted Adversarial Examples with a Fast Adaptive Boundary
          Attack", https://arxiv.org/abs/1907.02044, algorithm 1 and the targeted version of it
    """

    def __init__(self, *, epsilon, steps=100, targets=9, restarts=1, norm=None):
        super().__init__(epsilon=epsilon, norm=norm)
        self.steps = check_count("steps", steps)
        self.targets = check_count("targets", targets)
        self.restarts = check_count("restarts", restarts)

    def perturb(self, network, x, y, seed):
        images, _ = self._nearest(network, x, y, seed, tf.cast(self.epsilon, x.dtype))
        projected = self.norm.project(images, x, tf.cast(self.epsilon, x.dtype))
        return tf.clip_by_value(projected, 0, 1)

    @tf.autograph.experimental.do_not_convert
    def nearest(self, network, x, y, *, seed=None):
        """The nearest misclassified images found, however far.

        Args:
            network, x, y, seed: As for a call.

        Returns:
            Tensor like `x`, in [0, 1], and the distances [batch] of the images in it to `x`: 0
            where `x` is misclassified; infinite, with `x` itself, where nothing was found.

        Raises:
            As a call.
        """
        x = checked_pixels(x)
        network = self._entered(network, x)
        y = checked_labels(y, x, network.classes)
        images, distances = self._nearest(network, x, y, draws.given_seed(seed), None)
        return tf.stop_gradient(images), tf.stop_gradient(distances)

    def _nearest(self, network, x, y, seed, radius):
        """As `nearest`, or not if that is beyond the radius."""
        logits = network(x, training=False)
        targets, wrong = highest_others(logits, y, self.targets), ~classified(logits, y)
        count = targets.shape[-1]

        def random_start(run):
            noise = self.norm.random_start(tf.zeros_like(x), 1.0, draws.fold_in(seed, run))
            scale = self.epsilon / 2 * tf.math.reciprocal_no_nan(self.norm.lengths(noise))
            return tf.clip_by_value(x + like(scale, x) * noise, 0, 1)

        def start_of(runs, which):
            if self.restarts == 1:
                return rows(x, which)
            random = of_runs(random_start, runs, which, x.dtype)
            return by_example(runs < count, rows(x, which), random)

        def run(runs, which):
            target = tf.gather_nd(targets, tf.stack([which, runs % count], -1))
            given = *rows((x, y), which), target, start_of(runs, which), runs, which
            images, distances, finite = side_by_side(
                lambda *parts: self._search(network, *parts, radius), *given
            )
            reached = distances <= (-1 if radius is None else radius)
            return Found(with_finite(images, finite), reached, -distances)

        found = strongest(run, x, count * self.restarts, wrong, at_once=True)
        distances = tf.where(wrong, tf.zeros_like(found.losses), -found.losses)
        return found.images, tf.cast(distances, x.dtype)

    def _search(self, network, x, y, target, start, runs, examples, radius):
        """Runs: the nearest images, their distances, and where gradients were finite."""

        def lead(logits, labels):
            first, second = (tf.gather(logits, each, batch_dims=1) for each in labels)
            return first - second

        def part(taken, which, point, results):
            images, distances, finite = rows(results, which)
            origin, label, goal = rows((x, y, target), which)
            count = tf.minimum(LOOKED_AFTER, self.steps - taken)

            def step(index, point, images, distances, finite):
                labels = (goal, label)
                _, values, gradient = unchecked_gradient(network, point, labels, lead)
                point = self._beyond(origin, point, values, gradient)
                wrong = ~classified(network(point, training=False), label)
                distance = self.norm.lengths(point - origin)
                nearer = wrong & (distance < distances)
                images = by_example(nearer, point, images)
                distances = tf.where(nearer, distance, distances)
                point = by_example(wrong, origin + BETA * (point - origin), point)
                return index + 1, point, images, distances, finite & each_finite(gradient)

            _, point, *now = tf.while_loop(
                lambda index, *_: index < count,
                step,
                (0, point, images, distances, finite),
                shape_invariants=(
                    tf.TensorShape([]),
                    *[t.shape for t in (point, images, distances, finite)],
                ),
            )
            taken += count
            results = with_rows(results, which, tuple(now))
            if radius is not None:
                going = still_needed(results[1] <= radius, runs, examples)
                left = tf.where(tf.gather(going, which))[:, 0]
                which, point = rows((which, point), left)
            return taken, which, point, results

        batch = tf.shape(x)[:1]
        infinite = tf.fill(batch, tf.cast(float("inf"), x.dtype))
        images = tf.TensorShape([None]).concatenate(x.shape[1:])
        *_, results = tf.while_loop(
            lambda taken, which, *_: (taken < self.steps) & (tf.size(which) > 0),
            part,
            (0, tf.range(batch[0]), start, (x, infinite, tf.fill(batch, True))),
            shape_invariants=(
                tf.TensorShape([]),
                tf.TensorShape([None]),
                images,
                (x.shape, x.shape[:1], x.shape[:1]),
            ),
        )
        return results

    def _beyond(self, x, point, values, gradient):
        """A step beyond the boundary, where a function of these values and gradients is linear."""
        size = x.shape[1:].num_elements()
        dtype = tf.float64 if x.dtype == tf.float64 else tf.float32
        values = tf.cast(values, dtype)
        origin, here, normals = (
            tf.cast(tf.reshape(tensor, [tf.shape(x)[0], size]), dtype)
            for tensor in (x, point, gradient)
        )
        values_at_origin = values + tf.reduce_sum(normals * (origin - here), axis=-1)
        steps = steps_to_hyperplanes(normals, self.norm)
        step, step_of_origin = steps(here, values), steps(origin, values_at_origin)
        way, way_of_origin = (
            tf.maximum(self.norm.lengths(each), SHORTEST)[:, None]
            for each in (step, step_of_origin)
        )
        alpha = tf.minimum(way / (way + way_of_origin), ALPHA_MAX)
        mean = (1 - alpha) * (here + ETA * step) + alpha * (origin + ETA * step_of_origin)
        return tf.cast(tf.reshape(tf.clip_by_value(mean, 0, 1), tf.shape(x)), x.dtype)
