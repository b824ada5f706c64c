"""Checks of what attacks find, one against the other."""

import itertools

import numpy as np

from anp_tf.attacks import Transfer
from anp_tf.intervals import with_interval
from anp_tf.options import length_text
from anp_tf.robustness.checks.check import FAIL, NOT_RUN, PASS, WARN, Check, cannot_run, graded
from anp_tf.robustness.sampled import SampledNetwork

RADII_OF_EPSILON = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0)  # of epsilon
MASK_DRAWS = 10  # of a stochastic network
LARGER_RADIUS = 4  # times epsilon, where an undefended network did not fall at epsilon
MAY_KEEP = (2.0, 10.0)  # percent that it may keep: to pass, to be warned of
MAY_BE_WEAKER = (0.0, 1.0)  # points by which an attack may be weaker: to pass, to be warned of
MORE_STEPS_TAKE = (0.5, 2.0)  # points that more steps or restarts may take
MISSED_BY_GRADIENTS = (0.5, 2.0)  # points that Square may find beyond attacks with gradients
DRAWN_MASKS_KEEP = (1.0, 5.0)  # points that drawn masks may be more robust


def check_undefended(measure, attack, undefended):
    """The attack brings a network without defence to about 0, in a ball that is large enough."""
    title = "An undefended network of the same shape falls to about 0"
    epsilon = measure.threat.epsilon
    if undefended is None:
        return Check("undefended", title, NOT_RUN, "no undefended network was given")
    measured = measure.of("undefended", attack, undefended)
    if failed := cannot_run("undefended", title, measured):
        return failed
    status = PASS if measured.accuracy <= MAY_KEEP[0] else WARN
    figure = f"under PGD-{attack.steps} it keeps {measured.percent} at ε {length_text(epsilon)}"
    values = {f"{epsilon:g}": measured.accuracy}
    if measured.accuracy > MAY_KEEP[1]:
        larger = min(LARGER_RADIUS * epsilon, whole_radius(measure))
        attack = measure.threat.at(larger).pgd()
        measured = measure.of("undefended", attack, undefended, epsilon=larger)
        if failed := cannot_run("undefended", title, measured):
            return failed
        status = WARN if measured.accuracy <= MAY_KEEP[1] else FAIL
        figure += f", {measured.percent} at ε {length_text(larger)}"
        values[f"{larger:g}"] = measured.accuracy
    return Check("undefended", title, status, figure, {"accuracies": values})


def check_transfer(measure, base, attack, source):
    """Images made on another network are no stronger than those made on the network itself."""
    title = "The white-box attack is not weaker than a transferred one"
    if source is None:
        return Check("transfer", title, NOT_RUN, "no other network was given")
    transferred = measure.of("transfer", Transfer(attack, source))
    return not_weaker("transfer", title, base, transferred)


def check_epsilons(measure, base):
    """Accuracy falls with the radius, and is lost where the ball holds all images."""
    title = "Accuracy falls as the ball grows, to about 0 where it holds all images"
    epsilon, whole = measure.threat.epsilon, whole_radius(measure)
    radii = (float(f"{min(share * epsilon, whole):.6g}") for share in RADII_OF_EPSILON)
    radii = sorted({*radii, whole})
    found = {}
    for radius in radii:
        measured = base
        if not np.isclose(radius, epsilon):
            attack = measure.threat.at(radius).pgd()
            measured = measure.of("pgd-40", attack, epsilon=radius)
        if failed := cannot_run("epsilon", title, measured):
            return failed
        found[radius] = measured
    values = [measured.accuracy for measured in found.values()]
    rise = max(b - a for a, b in itertools.pairwise(values))
    status = graded(rise, MAY_BE_WEAKER, measure.total)
    if values[-1] > MAY_KEEP[0]:
        status = FAIL
    return Check(
        "epsilon",
        title,
        status,
        "; ".join(
            f"ε {length_text(radius)}: {measured.percent}" for radius, measured in found.items()
        ),
        {"accuracies": {f"{radius:g}": measured.accuracy for radius, measured in found.items()}},
    )


def whole_radius(measure):
    """The radius of a ball that holds all images, wherever its centre."""
    shape = next(iter(measure.batches))[0].shape[1:]
    return 1.0 if measure.threat.norm == "Linf" else float(np.sqrt(np.prod(shape)))


def check_convergence(base, more_steps, more_starts):
    """Neither twice the steps nor several random starts take much more."""
    title = "More steps and restarts change less than half a point"
    if failed := cannot_run("convergence", title, base, more_steps, more_starts):
        return failed
    change = base.accuracy - min(more_steps.accuracy, more_starts.accuracy)
    return Check(
        "convergence",
        title,
        graded(change, MORE_STEPS_TAKE, base.total),
        ", ".join(m.text for m in (base, more_steps, more_starts)),
        {m.name: m.accuracy for m in (base, more_steps, more_starts)},
    )


def check_square(with_gradients, square):
    """The attack without gradients finds next to nothing that those with gradients miss."""
    title = "An attack without gradients finds nothing that those with gradients miss"
    if failed := cannot_run("square", title, square):
        return failed
    found = set().union(*(measured.fooled.tolist() for measured in with_gradients))
    beyond = 100 * len(set(square.fooled.tolist()) - found) / square.total
    figures = [m.text for m in [*with_gradients, square] if not m.error]
    return Check(
        "square",
        title,
        graded(beyond, MISSED_BY_GRADIENTS, square.total),
        f"{', '.join(figures)}; {with_interval(beyond, square.total, 1, unit=True)} fall to Square "
        "alone",
        {"beyond_percent": beyond, "square": square.accuracy},
    )


def check_masks(measure, attack, base, masked):
    """What the deterministic masks hide: accuracy under attack when the masks are drawn."""
    title = "Deterministic masks are no less robust than sampled ones"
    if masked is None:
        return Check("masks", title, NOT_RUN, "the network has no masks")
    sampled = measure.of(
        "sampled-masks", attack, SampledNetwork(masked, MASK_DRAWS), stochastic=True
    )
    return cannot_run("masks", title, sampled, base) or Check(
        "masks",
        title,
        graded(sampled.accuracy - base.accuracy, DRAWN_MASKS_KEEP, measure.total),
        f"deterministic {base.percent}, mean of {MASK_DRAWS} draws {sampled.percent}",
        {"deterministic": base.accuracy, "sampled": sampled.accuracy},
    )


def check_ball(measure):
    """All images that were counted, read back from disk, keep to the threat model."""
    title = "Every adversarial image is in the ball and in [0, 1], and still fools the network"
    counts = {
        name: sum(measured.recheck[name] for measured in measure.done)
        for name in ("images", "outside_ball", "outside_pixels", "classified_correctly")
    }
    left = counts["outside_ball"] + counts["outside_pixels"]
    return Check(
        "ball",
        title,
        FAIL if left else WARN if counts["classified_correctly"] else PASS,
        f"of {counts['images']:,} images {counts['outside_ball']} are outside the ball, "
        f"{counts['outside_pixels']} outside [0, 1], {counts['classified_correctly']} no longer "
        "misclassified",
        counts,
    )


def not_weaker(name, title, strong, weak):
    """A check that the first attack leaves no more than the second."""
    return cannot_run(name, title, strong, weak) or Check(
        name,
        title,
        graded(strong.accuracy - weak.accuracy, MAY_BE_WEAKER, strong.total),
        f"{strong.text}, {weak.text}",
        {strong.name: strong.accuracy, weak.name: weak.accuracy},
    )


def weakest(*measured):
    """The attack that leaves most, or one that could not run."""
    return max(measured, key=lambda m: np.inf if m.error else m.accuracy)
