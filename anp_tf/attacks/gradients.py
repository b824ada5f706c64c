"""Gradients of a network's loss in its pixels."""

import tensorflow as tf

from anp_tf.attacks.attack import like
from anp_tf.losses import cross_entropy, log_odds

NO_FINITE_GRADIENT = "The attack's loss has no finite gradient"


def climbed(loss):
    """What an attack climbs for a loss: for the cross-entropy the log-odds, else the loss itself.

    They order the images of an example in the same way, and their gradients have one direction; but
    that of the cross-entropy is 0 in float32 where the label is ahead by more than 87 or so.
    """
    return log_odds if loss is cross_entropy else loss


def input_gradient(network, x, y, loss=cross_entropy):
    """Gradient of each example's loss in its own pixels, like `x`; an error if not finite."""
    gradient = unchecked_gradient(network, x, y, loss)[-1]
    return tf.debugging.check_numerics(gradient, NO_FINITE_GRADIENT)


def unchecked_gradient(network, x, y, loss, scaled=False):
    """The logits, the losses [batch], and their gradient in the pixels, whatever it is.

    With `scaled`, each example's is multiplied by a power of 2, so that the loss's gradient in the
    logits is of order 1: networks that compute in float16, which has no numbers between 0 and 6e-8,
    else seem to have none where that of the loss is small.
    """

    def measured(x):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            logits = network(x, training=False)
        with tf.GradientTape(watch_accessed_variables=False) as of_loss:
            of_loss.watch(logits)
            losses = loss(logits, y)
            total = tf.reduce_sum(losses)
        outputs = tf.nest.flatten(logits)
        slopes = of_loss.gradient(total, outputs, unconnected_gradients="zero")
        slopes = _of_order_1(slopes) if scaled else slopes
        gradient = tape.gradient(outputs, x, output_gradients=slopes)
        if gradient is None:
            raise ValueError(
                "The attack's loss does not depend on the pixels, so it has no gradient. Use an "
                "attack that needs none, such as `Square`, or `straight_through(network)`."
            )
        return logits, losses, tf.convert_to_tensor(gradient)

    return _apart(measured)(tf.convert_to_tensor(x))


def _of_order_1(slopes):
    """Slopes, tensors [batch, ...], times powers of 2 by which each example's largest is in [1, 2).

    Slopes of 0 stay 0. The powers are of at most 2^96: a product of a larger one with a factor of
    the network, which TensorFlow may compute first, may be infinite.
    """
    sizes = [tf.reduce_max(tf.abs(each), range(1, each.shape.rank)) for each in slopes]
    largest = tf.reduce_max([tf.cast(size, tf.float32) for size in sizes], 0)
    exponents = tf.bitwise.right_shift(tf.bitcast(largest, tf.int32), 23)  # and 127
    most = 96
    powers = tf.bitwise.left_shift(254 - tf.clip_by_value(exponents, 127 - most, 127 + most), 23)
    powers = tf.bitcast(powers, tf.float32)
    return [slope * tf.cast(like(powers, slope), slope.dtype) for slope in slopes]


def _apart(function):
    """The function, made in a graph of its own where it would be in that of a loop on the CPU.

    TensorFlow finds oneDNN's gradient of a max-pooling only after the pooling itself, and the graph
    of a loop is a cycle: there it often takes its own, which needs ten times as long or more.
    """
    if tf.executing_eagerly() or tf.config.list_physical_devices("GPU"):
        return function
    attributes = {"_noinline": True}
    return tf.function(function, autograph=False, experimental_attributes=attributes)


def each_finite(images):
    """Boolean tensor [batch], whether all of an example's values are finite."""
    return tf.reduce_all(tf.math.is_finite(images), range(1, images.shape.rank))


def with_finite(images, finite):
    """The images; an error at run time unless all of `finite`, [batch], are true.

    Within a loop a check would keep loops from running side by side: it is made after them.
    """
    zeros = tf.where(finite, 0.0, float("nan"))
    with tf.control_dependencies([tf.debugging.check_numerics(zeros, NO_FINITE_GRADIENT)]):
        return tf.stop_gradient(images)
