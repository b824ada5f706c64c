"""The standard attack: four attacks of different kinds, none with a parameter to tune."""

from anp_tf.attacks.apgd import APGD, TargetedAPGD
from anp_tf.attacks.fab import TargetedFAB
from anp_tf.attacks.square import Square
from anp_tf.losses import margin

SQUARE_SCHEDULE = 10_000  # queries, whatever is made of them, as in AutoAttack
TARGETED_CLASSES = 4  # that the targeted difference of logits ratio needs


def standard_attack(epsilon, classes, norm=None, queries=5000, channels_first=None):
    """The attacks of AutoAttack's standard version, in its order (Croce & Hein 2020).

    Auto-PGD on the cross-entropy, targeted Auto-PGD and targeted FAB on up to 9 classes, of 100
    steps each, and the Square attack. An image counts as robust if none of them fools the network;
    `anp_tf.robustness.worst_case` runs each on the images that those before left.

    Args:
        epsilon: Float, radius of the ball, as for `APGD`.
        classes: Integer, at least 2, the classes of the network. With fewer than four the targeted
            loss is not defined; Auto-PGD on the margin takes its place.
        norm: The geometry of the ball, `Linf()` or `L2()`; None: `Linf()`.
        queries: Integer, of the Square attack.
        channels_first: Boolean or None, as for `Square`.

    Returns:
        Dict from a name to an attack.
    """
    targeted = {"apgd-t": TargetedAPGD(epsilon=epsilon, norm=norm)}
    if classes < TARGETED_CLASSES:
        targeted = {"apgd-margin": APGD(epsilon=epsilon, loss=margin, norm=norm)}
    return {
        "apgd-ce": APGD(epsilon=epsilon, norm=norm),
        **targeted,
        "fab-t": TargetedFAB(epsilon=epsilon, norm=norm),
        "square": Square(
            epsilon=epsilon,
            queries=queries,
            scheduled_queries=SQUARE_SCHEDULE,
            norm=norm,
            channels_first=channels_first,
        ),
    }
