"""Auto-PGD: projected gradient ascent with momentum that halves its step where it stalls."""

import tensorflow as tf

from anp_tf.arguments import check_count
from anp_tf.attacks import draws
from anp_tf.attacks.attack import Attack, by_example, like, rows, with_rows
from anp_tf.attacks.gradients import climbed, each_finite, unchecked_gradient, with_finite
from anp_tf.attacks.runs import Found, of_runs, still_needed, strongest
from anp_tf.attacks.side_by_side import side_by_side
from anp_tf.attacks.targets import highest_others
from anp_tf.losses import classified, cross_entropy, targeted_dlr

MOMENTUM = 0.25  # share of the step before in a step
PROGRESS = 0.75  # of the steps between two checkpoints, so many must increase the loss
LOWEST = float("-inf")  # loss, before any is known


class APGD(Attack):
    """Auto-PGD (Croce & Hein 2020), ascent on a loss without a step size to choose.

    Each example has a step of its own, 2 epsilon at first. At checkpoints that come closer and
    closer it is halved, and the ascent goes on from the best point so far, where fewer than 75 % of
    the steps since the last checkpoint increased the loss, or where the best loss has not increased
    since a checkpoint at which the step was not halved. Called as `attack(network, x, y)`.

    The result is, for each example, the last point that was misclassified, or else the one of the
    highest loss. An example that is misclassified at a checkpoint is done. In the L2 ball a step is
    clipped to [0, 1] before it is projected on the ball, not after: that uses all of the radius,
    and finds more than the authors' order.

    Args:
        epsilon, norm: As for `Attack`.
        steps: Integer, at least 1; gradients are taken at one point more.
        restarts: Integer, at least 1; of random starts. Further ones are made on the examples that
            are left.
        loss: Function `(logits, y) -> losses [batch]`, maximised: `cross_entropy` or `dlr`; as for
            `PGD`.

    Reference:
        - Croce & Hein 2020, "Reliable Evaluation of Adversarial Robustness with an Ensemble of
          Diverse Parameter-free Attacks", https://arxiv.org/abs/2003.01690, algorithm 1
    """

    def __init__(self, *, epsilon, steps=100, restarts=1, loss=cross_entropy, norm=None):
        super().__init__(epsilon=epsilon, norm=norm)
        self.steps = check_count("steps", steps)
        self.restarts = check_count("restarts", restarts)
        self.loss = loss

    def perturb(self, network, x, y, seed):
        def run(runs, which):
            return self._run(network, x, rows(y, which), seed, runs, which)

        return strongest(run, x, self.restarts, at_once=True).images

    def _run(self, network, x, references, seed, runs, which):
        """Runs on the examples `which`, a `Found`; the references are theirs."""
        epsilon = tf.cast(self.epsilon, x.dtype)

        def start(run):
            return self.norm.random_start(x, epsilon, draws.fold_in(seed, run))

        start, x = of_runs(start, runs, which, x.dtype), rows(x, which)
        start = self.norm.confine(start, x, epsilon)
        if runs is None:
            which = tf.range(tf.shape(x)[0])
            runs = tf.zeros_like(which)
        images, fooled, losses, finite = side_by_side(
            lambda *parts: self._ascend(network, *parts), start, x, references, runs, which
        )
        return Found(with_finite(images, finite), fooled, losses)

    def _ascend(self, network, start, x, references, runs, examples):
        """The images, which are misclassified, the highest losses, where gradients were finite."""
        steps, spans = (tf.constant(each) for each in zip(*parts_of_run(self.steps), strict=True))
        each = tf.shape(x)[:1]
        # The first step only measures the start.
        nothing, lowest = tf.zeros_like(start), tf.fill(each, tf.cast(LOWEST, x.dtype))
        state = {
            "row": tf.range(each[0]),
            "x": x,
            "references": references,
            "point": start,
            "before": start,
            "gradient": nothing,
            "loss": lowest,
            "best": start,
            "best_gradient": nothing,
            "best_loss": lowest,
            "fooling": start,
            "found": tf.fill(each, False),
            "finite": tf.fill(each, True),
            "step": tf.fill(each, tf.cast(2 * self.epsilon, x.dtype)),
            "increases": tf.zeros(each, tf.int32),
            "checked_loss": lowest,
            "halved": tf.fill(each, True),
        }
        results = (start, state["found"], lowest, state["finite"])

        def part(index, taken, state, results):
            state = self._steps(network, state, taken, steps[index])
            results = _written(state, results)
            taken += steps[index]
            going = tf.gather(still_needed(results[1], runs, examples), state["row"])
            state = tf.cond(
                spans[index] > 0, lambda: _checkpoint(state, spans[index]), lambda: state
            )
            return index + 1, taken, rows(state, tf.where(going)[:, 0]), results

        shapes = tf.nest.map_structure(lambda tensor: _of_any_batch(tensor.shape), state)
        *_, results = tf.while_loop(
            lambda index, _, state, __: (index < tf.size(steps)) & (tf.size(state["row"]) > 0),
            part,
            (0, 0, state, results),
            shape_invariants=(
                tf.TensorShape([]),
                tf.TensorShape([]),
                shapes,
                (x.shape, *[x.shape[:1]] * 3),
            ),
        )
        return results

    def _steps(self, network, state, taken, count):
        """The state after so many steps more."""
        x, references = state["x"], state["references"]
        epsilon = tf.cast(self.epsilon, x.dtype)

        def body(index, state):
            moved, first = self._move(state, epsilon, index), tf.equal(index, 0)
            point = tf.where(first, state["point"], moved)
            losses, wrong, gradient = self._measure(network, point, references)
            losses = tf.cast(losses, x.dtype)
            better = first | (losses > state["best_loss"])
            increased = ~first & (losses > state["loss"])
            return index + 1, {
                **state,
                "increases": state["increases"] + tf.cast(increased, tf.int32),
                "checked_loss": tf.where(first, losses, state["checked_loss"]),
                "before": state["point"],
                "point": point,
                "gradient": gradient,
                "loss": losses,
                "best": by_example(better, point, state["best"]),
                "best_gradient": by_example(better, gradient, state["best_gradient"]),
                "best_loss": tf.where(better, losses, state["best_loss"]),
                "fooling": by_example(wrong, point, state["fooling"]),
                "found": state["found"] | wrong,
                "finite": state["finite"] & each_finite(gradient),
            }

        shapes = tf.nest.map_structure(lambda tensor: _of_any_batch(tensor.shape), state)
        return tf.while_loop(
            lambda index, _: index < taken + count,
            body,
            (taken, state),
            shape_invariants=(tf.TensorShape([]), shapes),
        )[1]

    def _move(self, state, epsilon, index):
        """A step along the gradient, with momentum but for the first."""
        x, point = state["x"], state["point"]
        step = like(state["step"], point)
        ahead = self.norm.confine(point + step * self.norm.direction(state["gradient"]), x, epsilon)
        momentum = tf.where(index > 1, tf.cast(MOMENTUM, point.dtype), tf.cast(0, point.dtype))
        moved = point + (1 - momentum) * (ahead - point) + momentum * (point - state["before"])
        return self.norm.confine(moved, x, epsilon)

    def _measure(self, network, x, references):
        """The losses, which examples are misclassified, and the gradient of the losses in `x`."""
        logits, losses, gradient = unchecked_gradient(
            network, x, references, self._losses, scaled=True
        )
        y, *_ = tf.nest.flatten(references)
        return tf.stop_gradient(losses), ~classified(logits, y), gradient

    def _losses(self, logits, references):
        return climbed(self.loss)(logits, references)


class TargetedAPGD(APGD):
    """Auto-PGD on the targeted difference of logits ratio, one run for each of some classes.

    The targets are the classes of the highest logits of the clean image but for the label. Every
    misclassified image counts, whatever its class, and no further run is made on it.

    Args:
        epsilon, steps, norm: As for `APGD`.
        targets: Integer, at least 1; how many classes, at most all but the label.

    Reference:
        - Croce & Hein 2020, as `APGD`; the paper's APGD-T has 9 targets of 100 steps
    """

    def __init__(self, *, epsilon, steps=100, targets=9, norm=None):
        super().__init__(epsilon=epsilon, steps=steps, norm=norm)
        self.targets = check_count("targets", targets)

    def perturb(self, network, x, y, seed):
        order = highest_others(network(x, training=False), y, self.targets)

        def run(runs, which):
            targets = of_runs(lambda run: order[:, run], runs, which, order.dtype)
            return self._run(network, x, (rows(y, which), targets), seed, runs, which)

        return strongest(run, x, order.shape[-1], at_once=True).images

    def _losses(self, logits, references):
        return targeted_dlr(logits, *references)


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


def parts_of_run(steps):
    """Pairs of the steps from one checkpoint to the next, and the same, or 0 where the run ends.

    The start counts as a step of the first part.
    """
    spans = [span for span in checkpoint_spans(steps) if span]
    parts = [(span, span) for span in spans] + [(steps - sum(spans), 0)]
    (first, span), *others = parts
    return [(first + 1, span), *(part for part in others if part[0])]


def _written(state, results):
    """The results [batch] with those of the examples that are still in the state."""
    found = state["found"]
    now = (
        by_example(found, state["fooling"], state["best"]),
        found,
        state["best_loss"],
        state["finite"],
    )
    return with_rows(results, state["row"], now)


def _checkpoint(state, span):
    """Halves the steps of the examples that stall, and sends them back to their best points."""
    few = tf.cast(state["increases"], tf.float32) < PROGRESS * tf.cast(span, tf.float32)
    stuck = ~state["halved"] & (state["best_loss"] <= state["checked_loss"])
    halve = few | stuck
    return {
        **state,
        "step": tf.where(halve, state["step"] / 2, state["step"]),
        "point": by_example(halve, state["best"], state["point"]),
        "gradient": by_example(halve, state["best_gradient"], state["gradient"]),
        "loss": tf.where(halve, state["best_loss"], state["loss"]),
        "increases": tf.zeros_like(state["increases"]),
        "checked_loss": state["best_loss"],
        "halved": halve,
    }


def _of_any_batch(shape):
    return tf.TensorShape([None]).concatenate(shape[1:])
