"""Projected gradient ascent, and the fast gradient sign method as its one-step case."""

import numpy as np
import tensorflow as tf

from anp_tf.attacks import draws
from anp_tf.attacks.inference_form import inference_form
from anp_tf.attacks.linf import Linf
from anp_tf.attacks.side_by_side import side_by_side
from anp_tf.losses import classified, cross_entropy

NO_FINITE_GRADIENT = "The attack's loss has no finite gradient"


class PGD:
    """Projected gradient descent attack (Madry et al. 2018): ascent on a loss within a ball.

    Called as `attack(network, x, y)`, eagerly, in a `tf.function` or under a strategy; the loop is
    a `tf.while_loop`, and in a `tf.function` no gradient of a weight is computed. The network runs
    in inference mode. The result is the final iterate, as in the paper, not the best on the way.

    Args:
        epsilon: Float in [0, 1], radius of the ball in pixel units; in the L2 ball any from 0 up.
        step_size: Float, positive; length of a step, in pixel units.
        steps: Integer, at least 1.
        random_start: Boolean; start at a random point of the ball, or at `x`.
        restarts: Integer, at least 1. Of several runs, each example keeps one that reached its aim,
            and among such, or if there is none, the one with the highest loss.
        loss: Function `(logits, y) -> losses [batch]`, maximised.
        targeted: Boolean; `y` are classes to reach rather than labels to leave: the loss is
            minimised.
        norm: The geometry of the ball: `Linf()`, which None is too, or `L2()`.
    """

    def __init__(
        self,
        *,
        epsilon,
        step_size,
        steps,
        random_start=True,
        restarts=1,
        loss=cross_entropy,
        targeted=False,
        norm=None,
    ):
        self.norm = Linf() if norm is None else norm
        possible = epsilon >= 0 and (epsilon <= 1 or not isinstance(self.norm, Linf))
        check("epsilon", epsilon, possible, "a number in [0, 1], in pixel units")
        check("step_size", step_size, step_size > 0, "a number above 0, in pixel units")
        check("steps", steps, steps == int(steps) and steps >= 1, "an integer of at least 1")
        check("restarts", restarts, restarts == int(restarts) and restarts >= 1, "an integer >= 1")
        self.epsilon = float(epsilon)
        self.step_size = float(step_size)
        self.steps = int(steps)
        self.random_start = random_start
        self.restarts = int(restarts)
        self.targeted = bool(targeted)
        self.loss = _negative(loss) if targeted else loss

    def __call__(self, network, x, y, *, seed=None, scale=1.0, steps=None):
        """Adversarial copies of a batch.

        Args:
            network: Keras model, or any function `(pixels, training) -> logits`.
            x: Float tensor [batch, ...], pixels in [0, 1].
            y: Integer tensor [batch], labels, or classes to reach; or whatever `loss` takes.
            seed: Integer tensor, a stateless seed [2], or one for each example [batch, 2], with
                which the result does not depend on the batches; by default a fresh one at each
                call.
            scale: Scalar in [0, 1] that multiplies epsilon and the step size, for warm-ups.
            steps: Integer scalar, at least 1; another number of steps, of another size that covers
                the same way, for training whose attack grows.

        Returns:
            Tensor like `x`, in the ball around it and in [0, 1].

        Raises:
            tf.errors.InvalidArgumentError: if a pixel is NaN or not in [0, 1], or if the loss has
                a gradient that is not finite.
        """
        network = inference_form(network)
        x, seed = checked_pixels(x), draws.given_seed(seed)
        steps = self.steps if steps is None else steps
        best = self._run(network, x, y, draws.fold_in(seed, 0), scale, steps)
        if self.restarts == 1:
            return best

        def measured(images):
            outputs = network(images, training=False)
            return self._reached(outputs, y), self.loss(outputs, y)

        def restart(index, best, best_reached, best_loss):
            candidate = self._run(network, x, y, draws.fold_in(seed, index), scale, steps)
            reached, loss = measured(candidate)
            better = (reached & ~best_reached) | ((reached == best_reached) & (loss > best_loss))
            keep = tf.reshape(better, [-1] + [1] * (x.shape.rank - 1))
            return (
                index + 1,
                tf.where(keep, candidate, best),
                reached | best_reached,
                tf.where(better, loss, best_loss),
            )

        _, best, _, _ = tf.while_loop(
            lambda index, *_: index < self.restarts,
            restart,
            (1, best, *measured(best)),
            maximum_iterations=self.restarts - 1,
        )
        return tf.stop_gradient(best)

    def _run(self, network, x, y, seed, scale, steps):
        scale = tf.cast(tf.convert_to_tensor(scale, dtype_hint=x.dtype), x.dtype)
        epsilon = scale * self.epsilon
        step_size = scale * self.step_size * self.steps / tf.cast(steps, x.dtype)

        def ascend(start, x, y):
            def step(index, adversarial, finite):
                gradient = _gradient(network, adversarial, y, self.loss)[-1]
                moved = adversarial + step_size * self.norm.direction(gradient)
                moved = self.norm.confine(moved, x, epsilon)
                return index + 1, moved, finite & _each_finite(gradient)

            _, adversarial, finite = tf.while_loop(
                lambda index, *_: index < steps,
                step,
                (0, start, _each_finite(start)),
                maximum_iterations=steps,
                shape_invariants=(tf.TensorShape([]), x.shape, x.shape[:1]),
            )
            return adversarial, finite

        start = self.norm.confine(self._start(x, epsilon, seed), x, epsilon)
        adversarial, finite = side_by_side(ascend, start, x, y)
        # Checked here, for a check within the loop would keep loops from running side by side.
        sound = tf.debugging.check_numerics(tf.where(finite, 0.0, np.nan), NO_FINITE_GRADIENT)
        with tf.control_dependencies([sound]):
            return tf.stop_gradient(adversarial)

    def _reached(self, outputs, y):
        """Which examples are misclassified, or classified as they should be; `y` are labels."""
        return classified(outputs, y) == self.targeted

    def _start(self, x, epsilon, seed):
        return self.norm.random_start(x, epsilon, seed) if self.random_start else x


class FGSM(PGD):
    """Fast gradient sign method (Goodfellow et al. 2015): one step of length epsilon from `x`.

    Args:
        epsilon: Float in (0, 1], radius of the ball in pixel units.
        loss: Function `(logits, y) -> losses [batch]`, maximised.
        norm: The geometry of the ball, as for `PGD`.
    """

    def __init__(self, *, epsilon, loss=cross_entropy, norm=None):
        check("epsilon", epsilon, epsilon > 0, "a number in (0, 1], in pixel units")
        super().__init__(
            epsilon=epsilon,
            step_size=epsilon,
            steps=1,
            random_start=False,
            loss=loss,
            norm=norm,
        )


def _negative(loss):
    return lambda logits, y: -loss(logits, y)


def input_gradient(network, x, y, loss=cross_entropy):
    """Gradient of each example's loss in its own pixels, like `x`; an error if not finite."""
    _, _, gradient = losses_with_gradient(network, x, y, loss)
    return gradient


def losses_with_gradient(network, x, y, loss):
    """The logits, the losses [batch], and their gradient in the pixels, as `input_gradient`."""
    logits, losses, gradient = _gradient(network, x, y, loss)
    return logits, losses, tf.debugging.check_numerics(gradient, NO_FINITE_GRADIENT)


def _gradient(network, x, y, loss):
    """As `losses_with_gradient`, unchecked."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(x)
        logits = network(x, training=False)
        losses = loss(logits, y)
        total = tf.reduce_sum(losses)
    gradient = tape.gradient(total, x)
    if gradient is None:
        raise ValueError("The attack's loss does not depend on the pixels, so it has no gradient.")
    return logits, losses, tf.convert_to_tensor(gradient)


def _each_finite(images):
    """Boolean tensor [batch], whether all of an example's values are finite."""
    return tf.reduce_all(tf.math.is_finite(images), range(1, images.shape.rank))


def checked_pixels(x):
    """The pixels as a tensor; an error at run time if they are not finite or not in [0, 1]."""
    x = tf.convert_to_tensor(x)
    inside = tf.reduce_all((x >= 0) & (x <= 1))
    tf.debugging.assert_equal(
        inside, True, "The attack needs finite pixels in [0, 1]. Received: NaN or other values"
    )
    return tf.stop_gradient(x)


def check(name, value, valid, expected):
    """A ValueError that names the argument, unless it is valid."""
    if not valid:
        raise ValueError(
            f"Invalid value received for argument `{name}`. Expected {expected}. "
            f"Received: {name}={value}"
        )
