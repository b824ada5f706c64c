"""The targeted fast adaptive boundary attack: the nearest misclassified image."""

import tensorflow as tf

from anp_tf.attacks import draws
from anp_tf.attacks.hyperplane import lengths, steps_to_hyperplane
from anp_tf.attacks.inference_form import inference_form
from anp_tf.attacks.l2 import L2
from anp_tf.attacks.linf import Linf
from anp_tf.attacks.pgd import check, checked_pixels, losses_with_gradient
from anp_tf.attacks.targets import highest_others
from anp_tf.losses import classified

ALPHA_MAX = 0.1  # the highest weight of the way from the original image in a step
ETA = 1.05  # how far a step goes beyond the linearised boundary
BETA = 0.9  # the share of the way that is kept where a misclassified image is found
SHORTEST = 1e-8  # length below which two steps weigh the same


class TargetedFAB:
    """Targeted FAB attack (Croce & Hein 2020): it shrinks the change, not the margin.

    Each step linearises the difference of a target class's logit and the label's at the current
    point, and goes a little beyond where it is 0: to a mean of the nearest such points to the
    current point and to the original image, within [0, 1]. Where the image there is misclassified,
    as whatever class, it is kept if it is the nearest so far, and the search goes back toward the
    original image. The targets are the classes of the highest logits of the original image but for
    the label. The first run for each target starts from the original image, further ones from
    random points at half the distance of the nearest image so far, or half of epsilon if that is
    less.

    Called as `attack(network, x, y)`, like `PGD`; the network runs in inference mode. The result
    is the nearest misclassified image found where it is in the ball, and the image itself where it
    is misclassified. Else it is the nearest one projected on the ball, or the image itself if none
    was found. Only this last projection and the random starts depend on epsilon.

    Args:
        epsilon: Float above 0, radius of the ball in pixel units.
        steps: Integer, at least 1; one gradient and one more prediction each.
        targets: Integer, at least 1; how many classes, at most all but the label.
        restarts: Integer, at least 1; runs for each target.
        norm: The geometry, `Linf()` or `L2()`; None: `Linf()`.

    Reference:
        - Croce & Hein 2020, "Minimally distorted Adversarial Examples with a Fast Adaptive Boundary
          Attack", https://arxiv.org/abs/1907.02044, algorithm 1 and the targeted version of it
    """

    def __init__(self, *, epsilon, steps=100, targets=9, restarts=1, norm=None):
        norm = Linf() if norm is None else norm
        check("epsilon", epsilon, epsilon > 0, "a number above 0")
        check("steps", steps, steps == int(steps) and steps >= 1, "an integer of at least 1")
        check("targets", targets, targets == int(targets) and targets >= 1, "an integer >= 1")
        check("restarts", restarts, restarts == int(restarts) and restarts >= 1, "an integer >= 1")
        check("norm", norm, isinstance(norm, Linf | L2), "Linf() or L2()")
        self.epsilon = float(epsilon)
        self.steps = int(steps)
        self.targets = int(targets)
        self.restarts = int(restarts)
        self.norm = norm

    def __call__(self, network, x, y, *, seed=None):
        """Adversarial copies of a batch.

        Args:
            network: Keras model, or any function `(pixels, training) -> logits`, differentiable, of
                two classes at least.
            x: Float tensor [batch, ...], pixels in [0, 1], of a known shape but for the batch.
            y: Integer tensor [batch], labels.
            seed: Integer tensor [2] or [batch, 2], as for `PGD`; used by restarts only.

        Returns:
            Tensor like `x`, in the ball around it and in [0, 1].

        Raises:
            tf.errors.InvalidArgumentError: if a pixel is NaN or not in [0, 1], or if a difference
                of logits has a gradient that is not finite.
            ValueError: if there are fewer classes.
        """
        x = checked_pixels(x)
        images, _ = self.nearest(network, x, y, seed=seed)
        projected = self.norm.project(images, x, tf.cast(self.epsilon, x.dtype))
        return tf.clip_by_value(projected, 0, 1)

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
        network = inference_form(network)
        x, y, seed = checked_pixels(x), tf.convert_to_tensor(y), draws.given_seed(seed)
        logits = network(x, training=False)
        targets = highest_others(logits, y, self.targets)
        count = targets.shape[-1]

        def body(index, images, distances):
            start = x
            if self.restarts > 1:
                random = self._start(x, distances, draws.fold_in(seed, index))
                start = tf.where(index < count, x, random)
            target = targets[:, index % count]
            return index + 1, *self._search(network, x, y, target, start, images, distances)

        zero, infinite = (tf.cast(number, x.dtype) for number in (0, float("inf")))
        distances = tf.where(~classified(logits, y), zero, infinite)
        _, images, distances = tf.while_loop(
            lambda index, *_: index < count * self.restarts,
            body,
            (0, x, distances),
            maximum_iterations=count * self.restarts,
            shape_invariants=(tf.TensorShape([]), x.shape, distances.shape),
        )
        return tf.stop_gradient(images), tf.stop_gradient(distances)

    def _start(self, x, distances, seed):
        """Random points at half of the distances so far, or of epsilon."""
        noise = self.norm.random_start(tf.zeros_like(x), 1.0, seed)
        radius = tf.minimum(distances, tf.cast(self.epsilon, x.dtype)) / 2
        scale = tf.math.divide_no_nan(radius, lengths(noise, self.norm))
        return tf.clip_by_value(x + _like(scale, x) * noise, 0, 1)

    def _search(self, network, x, y, target, start, images, distances):
        """One run from `start`: the nearest images and their distances, given those so far."""

        def lead(logits, y):
            first, second = (tf.gather(logits, each, batch_dims=1) for each in (target, y))
            return first - second

        def body(index, point, images, distances):
            _, values, gradient = losses_with_gradient(network, point, y, lead)
            point = self._beyond(x, point, values, gradient)
            wrong = ~classified(network(point, training=False), y)
            distance = lengths(point - x, self.norm)
            nearer = wrong & (distance < distances)
            images = tf.where(_like(nearer, x), point, images)
            distances = tf.where(nearer, distance, distances)
            point = tf.where(_like(wrong, x), x + BETA * (point - x), point)
            return index + 1, point, images, distances

        _, _, images, distances = tf.while_loop(
            lambda index, *_: index < self.steps,
            body,
            (0, start, images, distances),
            maximum_iterations=self.steps,
            shape_invariants=(tf.TensorShape([]), x.shape, x.shape, distances.shape),
        )
        return images, distances

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
        steps = steps_to_hyperplane(
            tf.concat([here, origin], 0),
            tf.concat([normals, normals], 0),
            tf.concat([values, values_at_origin], 0),
            self.norm,
        )
        far = tf.maximum(lengths(steps, self.norm), SHORTEST)[:, None]
        (step, step_of_origin), (way, way_of_origin) = tf.split(steps, 2), tf.split(far, 2)
        alpha = tf.minimum(way / (way + way_of_origin), ALPHA_MAX)
        mean = (1 - alpha) * (here + ETA * step) + alpha * (origin + ETA * step_of_origin)
        return tf.cast(tf.reshape(tf.clip_by_value(mean, 0, 1), tf.shape(x)), x.dtype)


def _like(values, x):
    """Tensor [batch] as [batch, 1, ...], to go with the images."""
    return tf.reshape(values, [-1] + [1] * (x.shape.rank - 1))
