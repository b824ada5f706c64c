"""What all attacks are: a ball and one entrance."""

import typing
from collections.abc import Callable

import tensorflow as tf

from anp_tf.arguments import check, check_number
from anp_tf.attacks import draws
from anp_tf.attacks.description import Described
from anp_tf.attacks.entrance import Logits, checked_labels, checked_pixels
from anp_tf.attacks.l2 import L2
from anp_tf.attacks.linf import Linf


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
        expected = f"{expected}, in pixel units"
        check_number("epsilon", epsilon, lambda v: 0 < v <= (most or v), expected)
        self.epsilon = float(epsilon)

    @tf.autograph.experimental.do_not_convert  # there is nothing to convert, which takes seconds
    def __call__(
        self,
        network: Callable[..., tf.Tensor],
        x: tf.Tensor,
        y: tf.Tensor,
        *,
        seed: tf.Tensor | None = None,
        **options: typing.Any,
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
            **options: Further call arguments of the kind of attack.

        Returns:
            Tensor like `x`, in the ball around it and in [0, 1].

        Raises:
            ValueError: if an argument is not of the kind that is asked for.
            tf.errors.InvalidArgumentError: if a pixel is NaN or not in [0, 1], if a label is no
                class of the network, or if the attack's loss has a gradient that is not finite.
        """
        given = checked_pixels(x)
        entered = self._entered(network, given)
        y = None if y is None else checked_labels(y, given, entered.classes)
        images = self.perturb(entered, widened(given), y, draws.given_seed(seed), **options)
        return tf.stop_gradient(rounded_toward(given, images))

    def perturb(self, network, x, y, seed, **options):
        """The adversarial images, of what has been checked.

        Args:
            network: `Logits`.
            x: Float tensor [batch, ...].
            y: Int64 tensor [batch].
            seed: Int32 tensor [2] or [batch, 2].
            **options: As they were given.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `perturb`.")

    def _entered(self, network, x):
        return Logits(network, x)


def widened(x):
    """Float32 in place of half precision, too coarse for steps, squared lengths and squares."""
    return tf.cast(x, tf.float32) if x.dtype.size < 4 else x


def rounded_toward(x, images):
    """Images in the precision of `x`; if it is half, none of their pixels is farther from `x`."""
    if images.dtype == x.dtype:
        return images
    rounded = tf.cast(images, x.dtype)
    wide, middle = tf.cast(rounded, tf.float32), tf.cast(x, tf.float32)
    # The bits of numbers that are not negative are in their order.
    back = tf.cast(tf.sign(middle - wide), tf.int16)
    back = tf.where(tf.abs(wide - middle) > tf.abs(images - middle), back, tf.zeros_like(back))
    return tf.bitcast(tf.bitcast(rounded, tf.int16) + back, x.dtype)


def rows(structure, which):
    """The examples `which` of a structure of tensors [batch, ...]; all of them for None."""
    if which is None:
        return structure
    return tf.nest.map_structure(lambda tensor: tf.gather(tensor, which), structure)


def with_rows(structure, which, new):
    """A structure of tensors [batch, ...] with new values of the examples `which`."""
    return tf.nest.map_structure(
        lambda old, now: tf.tensor_scatter_nd_update(old, which[:, None], now), structure, new
    )


def like(values, x):
    """Numbers [batch] as [batch, 1, ...], to go with the images."""
    return tf.reshape(values, [-1] + [1] * (x.shape.rank - 1))


def by_example(condition, x, other):
    """`x` where the condition, [batch], holds, else `other`, of the same shape."""
    return tf.raw_ops.Select(condition=condition, x=x, y=other)  # copies whole examples
