"""Auto-PGD: projected gradient ascent with momentum that halves its step where it stalls."""

import dataclasses

import tensorflow as tf

from anp_tf.attacks import draws
from anp_tf.attacks.inference_form import inference_form
from anp_tf.attacks.linf import Linf
from anp_tf.attacks.pgd import check, checked_pixels, losses_with_gradient
from anp_tf.attacks.targets import highest_others
from anp_tf.losses import classified, cross_entropy, targeted_dlr

MOMENTUM = 0.25  # share of the step before in a step
PROGRESS = 0.75  # of the steps between two checkpoints, so many must increase the loss


class APGD:
    """Auto-PGD (Croce & Hein 2020), ascent on a loss without a step size to choose.

    Each example has a step of its own, 2 epsilon at first. At checkpoints that come closer and
    closer it is halved, and the ascent goes on from the best point so far, where fewer than 75 % of
    the steps since the last checkpoint increased the loss, or where the best loss has not increased
    since a checkpoint at which the step was not halved. Called as `attack(network, x, y)`, like
    `PGD`; the network runs in inference mode.

    The result is, for each example, the last point that was misclassified, or else the one of the
    highest loss. In the L2 ball a step is clipped to [0, 1] before it is projected on the ball, not
    after: that uses all of the radius, and finds more than the authors' order.

    Args:
        epsilon: Float in (0, 1] for the L-infinity ball, above 0 for the L2 ball; its radius.
        steps: Integer, at least 1; gradients are taken at one point more.
        restarts: Integer, at least 1; of random starts.
        loss: Function `(logits, y) -> losses [batch]`, maximised: `cross_entropy` or `dlr`.
        norm: The geometry of the ball; None: `Linf()`.

    Reference:
        - Croce & Hein 2020, "Reliable Evaluation of Adversarial Robustness with an Ensemble of
          Diverse Parameter-free Attacks", https://arxiv.org/abs/2003.01690, algorithm 1
    """

    def __init__(self, *, epsilon, steps=100, restarts=1, loss=cross_entropy, norm=None):
        check("epsilon", epsilon, epsilon > 0, "a number above 0")
        check("steps", steps, steps == int(steps) and steps >= 1, "an integer of at least 1")
        check("restarts", restarts, restarts == int(restarts) and restarts >= 1, "an integer >= 1")
        self.epsilon = float(epsilon)
        self.steps = int(steps)
        self.restarts = int(restarts)
        self.loss = loss
        self.norm = Linf() if norm is None else norm

    def __call__(self, network, x, y, *, seed=None):
        """Adversarial copies of a batch.

        Args:
            network: Keras model, or any function `(pixels, training) -> logits`.
            x: Float tensor [batch, ...], pixels in [0, 1].
            y: Integer tensor [batch], labels.
            seed: Integer tensor [2] or [batch, 2], as for `PGD`.

        Returns:
            Tensor like `x`, in the ball around it and in [0, 1].

        Raises:
            tf.errors.InvalidArgumentError: if a pixel is NaN or not in [0, 1], or if the loss has
                a gradient that is not finite.
        """
        network = inference_form(network)
        x, seed = checked_pixels(x), draws.given_seed(seed)

        def run(index):
            return self._ascend(network, x, y, self.loss, draws.fold_in(seed, index))

        return _strongest(x, run, self.restarts)

    def _ascend(self, network, x, y, loss, seed):
        """One run, a `_Found`."""
        epsilon = tf.cast(self.epsilon, x.dtype)

        def project(candidate):
            return self.norm.confine(candidate, x, epsilon)

        def measure(point):
            return _measure(network, point, y, loss)

        start = project(self.norm.random_start(x, epsilon, seed))
        losses, wrong, gradient = measure(start)
        each = tf.shape(losses)
        state = {
            "point": start,
            "before": start,
            "gradient": gradient,
            "loss": losses,
            "best": start,
            "best_gradient": gradient,
            "best_loss": losses,
            "fooling": start,
            "found": wrong,
            "step": tf.fill(each, 2 * epsilon),
            "increases": tf.zeros(each, tf.int32),
            "checked_loss": losses,
            "halved": tf.fill(each, True),
        }
        spans = tf.constant(checkpoint_spans(self.steps))

        def body(index, state):
            point = self._move(state, project, index)
            losses, wrong, gradient = measure(point)
            better = losses > state["best_loss"]
            state = {
                **state,
                "increases": state["increases"] + tf.cast(losses > state["loss"], tf.int32),
                "before": state["point"],
                "point": point,
                "gradient": gradient,
                "loss": losses,
                "best": _where(better, point, state["best"]),
                "best_gradient": _where(better, gradient, state["best_gradient"]),
                "best_loss": tf.where(better, losses, state["best_loss"]),
                "fooling": _where(wrong, point, state["fooling"]),
                "found": state["found"] | wrong,
            }
            span = spans[index]
            return index + 1, tf.cond(span > 0, lambda: _checkpoint(state, span), lambda: state)

        shapes = {name: tensor.shape for name, tensor in state.items()}
        shapes |= {"point": x.shape, "before": x.shape, "best": x.shape, "fooling": x.shape}
        _, state = tf.while_loop(
            lambda index, _: index < self.steps,
            body,
            (0, state),
            maximum_iterations=self.steps,
            shape_invariants=(tf.TensorShape([]), shapes),
        )
        images = _where(state["found"], state["fooling"], state["best"])
        return _Found(images, state["found"], state["best_loss"])

    def _move(self, state, project, index):
        """A step along the gradient, with momentum but for the first."""
        point, step = state["point"], _like(state["step"], state["point"])
        ahead = project(point + step * self.norm.direction(state["gradient"]))
        momentum = tf.where(index > 0, tf.cast(MOMENTUM, point.dtype), tf.cast(0, point.dtype))
        return project(
            point + (1 - momentum) * (ahead - point) + momentum * (point - state["before"])
        )


class TargetedAPGD(APGD):
    """Auto-PGD on the targeted difference of logits ratio, one run for each of some classes.

    The targets are the classes of the highest logits of the clean image but for the label. Every
    misclassified image counts, whatever its class.

    Args:
        epsilon, steps, norm: As for `APGD`.
        targets: Integer, at least 1; how many classes, at most all but the label.

    Reference:
        - Croce & Hein 2020, as `APGD`; the paper's APGD-T has 9 targets of 100 steps
    """

    def __init__(self, *, epsilon, steps=100, targets=9, norm=None):
        super().__init__(epsilon=epsilon, steps=steps, norm=norm)
        check("targets", targets, targets == int(targets) and targets >= 1, "an integer >= 1")
        self.targets = int(targets)

    def __call__(self, network, x, y, *, seed=None):
        network = inference_form(network)
        x, seed = checked_pixels(x), draws.given_seed(seed)
        order = highest_others(network(x, training=False), y, self.targets)

        def run(index):
            def loss(logits, y):
                return targeted_dlr(logits, y, order[:, index])

            return self._ascend(network, x, y, loss, draws.fold_in(seed, index))

        return _strongest(x, run, order.shape[-1])


@dataclasses.dataclass(frozen=True)
class _Found:
    """The images of a run, which of them are misclassified, and the highest losses."""

    images: tf.Tensor
    fooled: tf.Tensor
    losses: tf.Tensor


def checkpoint_spans(steps):
    """For each step, how many steps it is after the last checkpoint if it is one, else 0.

    The checkpoints are ceil(p_j * steps) with p_0 = 0, p_1 = 0.22 and
    p_j+1 = p_j + max(p_j - p_j-1 - 0.03, 0.06).
    """
    shares, percent = [0, 22], 100
    while shares[-1] < percent:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 3, 6))
    points = sorted({-(-share * steps // percent) for share in shares} - {0})
    spans, last = [0] * steps, 0
    for point in points:
        if point <= steps:
            spans[point - 1], last = point - last, point
    return spans


def _checkpoint(state, span):
    """Halves the steps of the examples that stall, and sends them back to their best points."""
    few = tf.cast(state["increases"], tf.float32) < PROGRESS * tf.cast(span, tf.float32)
    stuck = ~state["halved"] & (state["best_loss"] <= state["checked_loss"])
    halve = few | stuck
    return {
        **state,
        "step": tf.where(halve, state["step"] / 2, state["step"]),
        "point": _where(halve, state["best"], state["point"]),
        "gradient": _where(halve, state["best_gradient"], state["gradient"]),
        "loss": tf.where(halve, state["best_loss"], state["loss"]),
        "increases": tf.zeros_like(state["increases"]),
        "checked_loss": state["best_loss"],
        "halved": halve,
    }


def _strongest(x, run, runs):
    """Of several runs, each example's misclassified image, or else that of the highest loss."""

    def body(index, images, fooled, losses):
        found = run(index)
        better = ~fooled & (found.fooled | (found.losses > losses))
        return (
            index + 1,
            _where(better, found.images, images),
            fooled | found.fooled,
            tf.where(better, found.losses, losses),
        )

    first = run(0)
    if runs == 1:
        return first.images
    losses = first.losses
    _, images, _, _ = tf.while_loop(
        lambda index, *_: index < runs,
        body,
        (1, first.images, first.fooled, losses),
        maximum_iterations=runs - 1,
        shape_invariants=(tf.TensorShape([]), x.shape, first.fooled.shape, losses.shape),
    )
    return images


def _measure(network, x, y, loss):
    """The losses, which examples are misclassified, and the gradient of the losses in `x`."""
    logits, losses, gradient = losses_with_gradient(network, x, y, loss)
    wrong = ~classified(logits, y)
    return tf.stop_gradient(losses), wrong, gradient


def _like(values, x):
    """Numbers [batch] as [batch, 1, ...], to go with the images."""
    return tf.reshape(values, [-1] + [1] * (x.shape.rank - 1))


def _where(condition, x, other):
    """By example."""
    return tf.where(_like(condition, x), x, other)
