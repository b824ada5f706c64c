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
CLASSES = {"dlr": 3, "t": 4}  # that a loss needs; FAB-T, by the same letter, fewer
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
    names,
    *,
    epsilon,
    classes,
    norm="Linf",
    steps=STEPS,
    step_size=None,
    restarts=1,
    queries=5000,
    source=None,
):
    """The attacks of some names, in their order, each once.

    `pgd`, `pgd100` and `pgd100-margin` are PGD with `steps` steps, or as many as the number says,
    on the cross-entropy or another loss; `transfer` is that PGD made on another network; `latent`
    is `LatentPGD`; `standard` stands for all attacks of `standard_attack`.

    Args:
        names: Sequence of strings.
        epsilon: Float, radius of the ball.
        classes: Integer, the classes of the network.
        norm: `"Linf"` or `"L2"`.
        steps: Integer, of PGD where the name has no number.
        step_size: Float, of so many steps; None: 2.5 epsilon / steps. More are smaller, and fewer
            larger, so that they cover the same way.
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

    def pgd(count, loss="ce", kind=PGD, **options):
        size = (step_size or 2.5 * epsilon / steps) * steps / max(1, count)
        if kind is PGD:
            options["loss"] = LOSSES[loss]
        return kind(**ball, step_size=size, steps=count, restarts=restarts, **options)

    def make(name):
        kind, count, loss = re.fullmatch(r"([a-z]+)(\d*)(?:-(\w+))?", name).groups()
        count = int(count or steps)
        if kind != "fab" and classes < CLASSES.get(loss, 2):
            raise ValueError(
                f"--attack: {name} needs a network of at least {CLASSES[loss]} classes, it has "
                f"{classes}"
            )
        match kind:
            case "standard":
                return standard_attack(epsilon, classes, ball["norm"], queries)
            case "fgsm":
                return FGSM(**ball)
            case "pgd":
                return pgd(count, loss or "ce")
            case "latent":
                return pgd(count, kind=LatentPGD)
            case "transfer":
                if source is None:
                    raise ValueError("--attack: transfer needs another network, --source")
                return Transfer(pgd(count), source)
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
