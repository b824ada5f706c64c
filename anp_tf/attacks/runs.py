"""Runs of an attack from several starts, or at several targets."""

import dataclasses

import tensorflow as tf

from anp_tf.attacks.attack import by_example, rows, with_rows

TOGETHER = 64  # runs that are made at once where fewer examples are left


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


def strongest(run, x, count, fooled=None, at_once=False):
    """Of several runs, each example's image that reached the aim, or else that of highest loss.

    A later run is made on the examples alone whose aim no run before it reached. Of several runs
    that are made at once, too, the first that reaches the aim counts, or else the first of the
    highest loss, so that the result is the same.

    Args:
        run: Function `(index, which) -> Found`, of runs on examples: integer tensors [n], the
            number of the run and of the example; examples come in their order, and their runs
            beside each other. If `count` is 1 both are None: the only run, on all of them.
        x: Tensor [batch, ...], like the images.
        count: Integer, how many runs.
        fooled: Boolean tensor [batch], which examples no run is to be made on; None: no such.
        at_once: Boolean, whether several runs of each are made at once where few examples are left.

    Returns:
        `Found`, the losses in float64.
    """
    if count == 1 and fooled is None:
        return run(None, None)

    def body(index, images, fooled, losses):
        which = tf.cast(tf.where(~fooled)[:, 0], tf.int32)
        left = tf.size(which)
        several = tf.clip_by_value(TOGETHER // left if at_once else 1, 1, count - index)
        runs = tf.tile(index + tf.range(several), [left])
        found = run(runs, tf.repeat(which, several))
        new = tf.cast(found.losses, tf.float64)
        order = tf.reshape(tf.where(found.fooled, new.dtype.max, new), [left, several])
        best = tf.argmax(order, -1, tf.int32) + several * tf.range(left)
        chosen, reached, new = rows((found.images, found.fooled, new), best)
        before = tf.gather(losses, which)
        better = reached | (new > before) | tf.equal(index, 0)
        chosen = by_example(better, chosen, tf.gather(images, which))
        now = chosen, reached, tf.where(better, new, before)
        return index + several, *with_rows((images, fooled, losses), which, now)

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
