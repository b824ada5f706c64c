"""Projected gradient ascent, and the fast gradient sign method as its one-step case."""

from collections.abc import Callable

import tensorflow as tf

from anp_tf.arguments import check_count, check_number
from anp_tf.attacks import draws
from anp_tf.attacks.attack import Attack, rows
from anp_tf.attacks.gradients import climbed, each_finite, unchecked_gradient, with_finite
from anp_tf.attacks.l2 import L2
from anp_tf.attacks.linf import Linf
from anp_tf.attacks.runs import Found, strongest
from anp_tf.attacks.side_by_side import side_by_side
from anp_tf.losses import classified, cross_entropy


class PGD(Attack):
    """Projected gradient descent attack (Madry et al. 2018): ascent on a loss within a ball.

    Called as `attack(network, x, y)`, eagerly, in a `tf.function` or under a strategy; the loop is
    a `tf.while_loop`, and in a `tf.function` no gradient of a weight is computed. The result is the
    final iterate, as in the paper, not the best on the way.

    Args:
        epsilon, norm: As for `Attack`.
        step_size: Float, positive; length of a step, in pixel units.
        steps: Integer, at least 1.
        random_start: Boolean; start at a random point of the ball, or at `x`.
        restarts: Integer, at least 1. Further runs are made on the examples whose aim was not
            reached; if none reaches it, the one with the highest loss is kept.
        loss: Function `(logits, y) -> losses [batch]`, maximised; of `cross_entropy` the log-odds
            are, which grow with it and have a gradient however sure the network is.
        targeted: Boolean; `y` are classes to reach rather than labels to leave: the loss is
            minimised.

    Call arguments as for `Attack`, and:
        y: Labels, or classes to reach; None for a loss that does not use them.
        scale: Scalar, at least 0, that multiplies epsilon and the step size: for warm-ups, or for
            another radius.
        steps: Integer scalar, at least 1; another number of steps, of another size that covers the
            same way, for training whose attack grows.
        step_size: Scalar above 0; the size of a step, whatever their number.
    """

    def __init__(
        self,
        *,
        epsilon: float,
        step_size: float,
        steps: int,
        random_start: bool = True,
        restarts: int = 1,
        loss: Callable[..., tf.Tensor] = cross_entropy,
        targeted: bool = False,
        norm: Linf | L2 | None = None,
    ) -> None:
        super().__init__(epsilon=epsilon, norm=norm)
        expected = "a number above 0, in pixel units"
        check_number("step_size", step_size, lambda v: v > 0, expected)
        self.step_size = float(step_size)
        self.steps = check_count("steps", steps)
        self.random_start = random_start
        self.restarts = check_count("restarts", restarts)
        self.targeted = bool(targeted)
        self.loss = loss
        self._climbed = _negative(climbed(loss)) if targeted else climbed(loss)

    def perturb(self, network, x, y, seed, scale=1.0, steps=None, step_size=None):
        steps = self.steps if steps is None else steps
        if step_size is None:
            step_size = self.step_size * self.steps / tf.cast(steps, x.dtype)
        references = self._references(network, x, y)

        def run(runs, which):
            of_run = draws.fold_in(seed, 0 if runs is None else runs[0])
            images = self._run(network, x, references, of_run, scale, steps, step_size, which)
            if self.restarts == 1:
                return Found(images, None, None)
            outputs, chosen = network(images, training=False), rows(references, which)
            return Found(images, self._reached(outputs, chosen), self._climbed(outputs, chosen))

        return strongest(run, x, self.restarts).images

    def _references(self, network, x, y):
        """What the loss takes beside the network's outputs."""
        return y

    def _run(self, network, x, y, seed, scale, steps, step_size, which):
        scale = tf.cast(tf.convert_to_tensor(scale, dtype_hint=x.dtype), x.dtype)
        epsilon = scale * self.epsilon
        step_size = scale * tf.cast(step_size, x.dtype)

        def ascend(start, x, y):
            def step(index, adversarial, finite):
                found = unchecked_gradient(network, adversarial, y, self._climbed, scaled=True)
                gradient = found[-1]
                moved = adversarial + step_size * self.norm.direction(gradient)
                moved = self.norm.confine(moved, x, epsilon)
                return index + 1, moved, finite & each_finite(gradient)

            _, adversarial, finite = tf.while_loop(
                lambda index, *_: index < steps,
                step,
                (0, start, each_finite(start)),
                maximum_iterations=steps,
                shape_invariants=(tf.TensorShape([]), x.shape, x.shape[:1]),
            )
            return adversarial, finite

        start = self.norm.confine(self._start(x, epsilon, seed), x, epsilon)
        return with_finite(*side_by_side(ascend, *rows((start, x, y), which)))

    def _reached(self, outputs, y):
        """Which examples are misclassified, or classified as they should be; `y` are labels."""
        return classified(outputs, y) == self.targeted

    def _start(self, x, epsilon, seed):
        return self.norm.random_start(x, epsilon, seed) if self.random_start else x


class FGSM(PGD):
    """Fast gradient sign method (Goodfellow et al. 2015): one step of length epsilon from `x`.

    Args:
        epsilon, norm: As for `Attack`.
        loss: Function `(logits, y) -> losses [batch]`, maximised.
    """

    def __init__(self, *, epsilon, loss=cross_entropy, norm=None):
        super().__init__(
            epsilon=epsilon,
            step_size=epsilon,
            steps=1,
            random_start=False,
            loss=loss,
            norm=norm,
        )


def _negative(loss):
    def negative(logits, y):
        return -loss(logits, y)

    return negative
