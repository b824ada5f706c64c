"""Attacks by the names that the command line takes."""

import re

from anp_tf.attacks import (
    APGD,
    FGSM,
    L2,
    PGD,
    LatentPGD,
    Linf,
    Noise,
    Square,
    TargetedAPGD,
    TargetedFAB,
    Transfer,
    standard_attack,
)
from anp_tf.losses import cross_entropy, dlr, margin
from anp_tf.settings import one_of

NORMS = {"Linf": Linf, "L2": L2}
LOSSES = {"ce": cross_entropy, "margin": margin, "dlr": dlr}
STEPS = 40  # of PGD where the name has no number, as in the paper
KNOWN_ATTACKS = (
    "standard",
    "fgsm",
    "pgd",
    "pgd-margin",
    "pgd-dlr",
    "apgd",
    "apgd-ce",
    "apgd-margin",
    "apgd-dlr",
    "apgd-t",
    "fab-t",
    "square",
    "latent",
    "noise",
    "transfer",
)


def named_attacks(
    names, *, epsilon, classes, norm="Linf", step_size=None, restarts=1, queries=5000, source=None
):
    """The attacks of some names, in their order, each once.

    `pgd`, `pgd40` and `pgd40-margin` are PGD with 40 steps, or as many as the number says, on the
    cross-entropy or another loss; `transfer` is that PGD made on another network; `latent` is
    `LatentPGD`; `standard` stands for all attacks of `standard_attack`.

    Args:
        names: Sequence of strings.
        epsilon: Float, radius of the ball.
        classes: Integer, the classes of the network.
        norm: `"Linf"` or `"L2"`.
        step_size: Float, of PGD; None: 2.5 epsilon / steps.
        restarts: Integer, random starts of PGD and Auto-PGD.
        queries: Integer, of the Square attack.
        source: The network `transfer` is made on.

    Returns:
        Dict from the name to an attack.

    Raises:
        ValueError: if a name is not known, or an argument not valid for it.
    """
    one_of("norm", norm, NORMS)
    ball = {"epsilon": epsilon, "norm": NORMS[norm]()}

    def pgd(steps, loss="ce", kind=PGD, **options):
        size = step_size or 2.5 * epsilon / max(1, steps)
        if kind is PGD:
            options["loss"] = LOSSES[loss]
        return kind(**ball, step_size=size, steps=steps, restarts=restarts, **options)

    def make(name):
        kind, steps, loss = re.fullmatch(r"([a-z]+)(\d*)(?:-(\w+))?", name).groups()
        steps = int(steps or STEPS)
        match kind:
            case "standard":
                return standard_attack(epsilon, classes, ball["norm"], queries)
            case "fgsm":
                return FGSM(**ball)
            case "pgd":
                return pgd(steps, loss or "ce")
            case "latent":
                return pgd(steps, kind=LatentPGD)
            case "transfer":
                if source is None:
                    raise ValueError("--attack: transfer needs another network, --source")
                return Transfer(pgd(steps), source)
            case "noise":
                return Noise(**ball)
            case "fab":
                return TargetedFAB(**ball, restarts=restarts)
            case "square":
                return Square(**ball, queries=queries)
            case _ if loss == "t":
                return TargetedAPGD(**ball)
            case _:
                return APGD(**ball, restarts=restarts, loss=LOSSES[loss or "ce"])

    attacks = {}
    for name in names:
        stem = re.sub(r"^(pgd|latent|transfer)\d+", r"\1", name)
        one_of("attack", stem, KNOWN_ATTACKS)
        made = make(name)
        attacks |= made if isinstance(made, dict) else {name: made}
    return attacks
