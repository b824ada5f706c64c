"""What all attacks are: a ball, one entrance, runs from several starts."""

import dataclasses
import numbers
from collections.abc import Callable

import tensorflow as tf

from anp_tf.attacks import draws
from anp_tf.attacks.description import Described
from anp_tf.attacks.entrance import Logits, checked_labels, checked_pixels
from anp_tf.attacks.l2 import L2
from anp_tf.attacks.linf import Linf

TOGETHER = 64  # examples that are attacked at once at least, by several runs of each if need be


class Attack(Described):
    """Base class: an attack looks for images in a ball that a network misclassifies.

    Called as `attack(network, x, y)`, eagerly, in a `tf.function` or under a strategy; the network
    runs in inference mode. A kind of attack defines `perturb`.

    Args:
        epsilon: Float above 0, radius of the ball in pixel units; in the L-infinity ball at most 1.
        norm: The geometry of the ball, `Linf()` or `L2()`; None: `Linf()`.
    """

    def __init__(self, *, epsilon: float, norm: Linf | L2 | None = None) -> None:
        self.norm = Linf() if norm is None else norm
        check("norm", norm, isinstance(self.norm, Linf | L2), "Linf() or L2()")
        most = self.norm.largest_radius
        expected = "a number above 0" if most is None else f"a number in (0, {most:g}]"
        valid = epsilon > 0 and (most is None or epsilon <= most)
        check("epsilon", epsilon, valid, f"{expected}, in pixel units")
        self.epsilon = float(epsilon)

    def __call__(
        self,
        network: Callable[..., tf.Tensor],
        x: tf.Tensor,
        y: tf.Tensor,
        *,
        seed: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Adversarial copies of a batch.

        Args:
            network: Keras model, or any function `(pixels, training) -> logits`; its logits
                [batch, classes] are of at least 2 classes, of any float dtype.
            x: Float tensor [batch, ...], pixels in [0, 1].
            y: Integer tensor of any dtype, [batch] or [batch, 1], labels.
            seed: Integer tensor, a stateless seed [2], or one for each example [batch, 2], with
                which the result does not depend on the batches; by default a fresh one at each
                call.

        Returns:
            Tensor like `x`, in the ball around it and in [0, 1].

        Raises:
            ValueError: if an argument is not of the kind that is asked for.
            tf.errors.InvalidArgumentError: if a pixel is NaN or not in [0, 1], if a label is no
                class of the network, or if the attack's loss has a gradient that is not finite.
        """
        return self._enter(network, x, y, seed)

    def perturb(self, network, x, y, seed):
        """The adversarial images, of what has been checked.

        Args:
            network: `Logits`.
            x: Float tensor [batch, ...].
            y: Int64 tensor [batch].
            seed: Int32 tensor [2] or [batch, 2].
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `perturb`.")

    @tf.autograph.experimental.do_not_convert  # there is nothing to convert, which takes seconds
    def _enter(self, network, x, y, seed, **options):
        x = checked_pixels(x)
        network = self._entered(network, x)
        y = None if y is None else checked_labels(y, x, network.classes)
        images = self.perturb(network, x, y, draws.given_seed(seed), **options)
        return tf.stop_gradient(images)

    def _entered(self, network, x):
        return Logits(network, x)


@dataclasses.dataclass(frozen=True)
class Found:
    """What a run found.

    Attributes:
        images: Tensor [batch, ...].
        fooled: Boolean tensor [batch], which of them reached the aim of the attack.
        losses: Tensor [batch], which tell how near to it the others are.
    """

    images: tf.Tensor
    fooled: tf.Tensor
    losses: tf.Tensor


def strongest(run, x, count, fooled=None, together=1):
    """Of several runs, each example's image that reached the aim, or else that of highest loss.

    A later run is made on the examples alone whose aim no run before it reached. Where few of them
    are left, several runs of each are made at once, with the same result: of those that reach the
    aim the first counts, else the first of the highest loss.

    Args:
        run: Function `(index, which) -> Found`, of runs on examples: integer tensors [n], the
            number of the run and of the example; examples come in their order, and their runs
            beside each other. If `count` is 1 both are None: the only run, on all of them.
        x: Tensor [batch, ...], like the images.
        count: Integer, how many runs.
        fooled: Boolean tensor [batch], which examples no run is to be made on; None: no such.
        together: Integer, of how many examples runs are made at once at least.

    Returns:
        `Found`, the losses in float64.
    """
    if count == 1 and fooled is None:
        return run(None, None)

    def body(index, images, fooled, losses):
        which = tf.cast(tf.where(~fooled)[:, 0], tf.int32)
        left = tf.size(which)
        several = tf.clip_by_value(together // left, 1, count - index)
        runs = tf.tile(index + tf.range(several), [left])
        found = run(runs, tf.repeat(which, several))
        new = tf.cast(found.losses, tf.float64)
        order = tf.reshape(tf.where(found.fooled, new.dtype.max, new), [left, several])
        best = tf.argmax(order, -1, tf.int32) + several * tf.range(left)
        chosen, reached, new = rows((found.images, found.fooled, new), best)
        before, places = tf.gather(losses, which), which[:, None]
        better = reached | (new > before) | tf.equal(index, 0)
        chosen = by_example(better, chosen, tf.gather(images, which))
        return (
            index + several,
            tf.tensor_scatter_nd_update(images, places, chosen),
            tf.tensor_scatter_nd_update(fooled, places, reached),
            tf.tensor_scatter_nd_update(losses, places, tf.where(better, new, before)),
        )

    # The first run, too, is made in the loop, so that a graph holds the network but once.
    batch = tf.shape(x)[:1]
    lowest = tf.fill(batch, tf.constant(tf.float64.min, tf.float64))
    none = tf.fill(batch, False) if fooled is None else fooled
    _, *found = tf.while_loop(
        lambda index, _, fooled, __: (index < count) & ~tf.reduce_all(fooled),
        body,
        (0, x, none, lowest),
        maximum_iterations=count,
        shape_invariants=(tf.TensorShape([]), x.shape, x.shape[:1], x.shape[:1]),
    )
    return Found(*found)


def of_runs(draw, runs, examples, dtype):
    """What a function of a run's number draws, [batch, ...] of a dtype, for runs on examples."""
    if runs is None:
        return draw(0)
    first = runs[0]
    drawn = tf.map_fn(draw, tf.range(first, runs[-1] + 1), fn_output_signature=dtype)
    return tf.gather_nd(drawn, tf.stack([runs - first, examples], -1))


def still_needed(found, runs, examples):
    """Which runs go on: those that have not reached their aim, nor an earlier one of the example.

    Args:
        found: Boolean tensor [n], which runs have reached it.
        runs, examples: Integer tensors [n], as for the `run` of `strongest`.
    """
    none = runs.dtype.max
    first = tf.math.unsorted_segment_min(
        tf.where(found, runs, none), examples, tf.reduce_max(examples) + 1
    )
    return runs < tf.gather(first, examples)


def rows(structure, which):
    """The examples `which` of a structure of tensors [batch, ...]; all of them for None."""
    if which is None:
        return structure
    return tf.nest.map_structure(lambda tensor: tf.gather(tensor, which), structure)


def like(values, x):
    """Numbers [batch] as [batch, 1, ...], to go with the images."""
    return tf.reshape(values, [-1] + [1] * (x.shape.rank - 1))


def by_example(condition, x, other):
    """`x` where the condition, [batch], holds, else `other`, of the same shape."""
    return tf.raw_ops.Select(condition=condition, x=x, y=other)  # copies whole examples


def check(name, value, valid, expected):
    """A ValueError that names the argument, unless it is valid."""
    if not valid:
        raise ValueError(
            f"Invalid value received for argument `{name}`. Expected {expected}. "
            f"Received: {name}={value}"
        )


def check_count(name, value):
    """The value as an integer; a ValueError that names the argument unless it is at least 1."""
    valid = isinstance(value, numbers.Real) and value == int(value) and value >= 1
    check(name, value, valid, "an integer of at least 1")
    return int(value)
