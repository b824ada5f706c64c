"""Attacks by the names that the command line takes."""

import re

from anp_tf.arguments import check_count
from anp_tf.attacks import (
    APGD,
    FGSM,
    PGD,
    LatentPGD,
    Noise,
    Square,
    TargetedAPGD,
    TargetedFAB,
    Transfer,
    draws,
    standard_attack,
)
from anp_tf.losses import cross_entropy, dlr, margin
from anp_tf.names import ATTACKS
from anp_tf.options import one_of
from anp_tf.robustness.threat import STEPS

LOSSES = {"ce": cross_entropy, "margin": margin, "dlr": dlr}
CLASSES = {"dlr": 3, "t": 4}  # that a loss needs; FAB-T, by the same letter, fewer
QUERIES = 5000  # of Square, as in AutoAttack
STANDARD_RESTARTS = 2  # of Square where it stands for the attacks that need gradients
GRADIENT_FREE = Square, Noise, Transfer
# Options of the attacks, and the kinds of attacks that they have an effect on.
OF_PGD = ("pgd", "pgd-margin", "pgd-dlr", "latent", "transfer")
OF_APGD = ("apgd", "apgd-ce", "apgd-margin", "apgd-dlr")
TAKERS = {
    "restarts": (*OF_PGD, *OF_APGD, "fab-t"),
    "queries": ("square", "standard"),
    "steps": OF_PGD,
    "step_size": OF_PGD,
}


LONG_NAMES = {"steps": "eval_attack_steps", "step_size": "eval_attack_step_size"}  # as flags


def title_of(names, options, gradients=True):
    """What some attacks are called: their names, and the flags of options with another value.

    Args:
        names: Sequence of names, as of `named_attacks`.
        options: Dict of `steps`, `step_size`, `restarts` and `queries`; None stands for a default.
        gradients: Boolean, whether the network has gradients.
    """
    defaults = {"steps": STEPS, "queries": QUERIES, "restarts": 1 if gradients else None}
    other = {k: v for k, v in options.items() if v is not None and v != defaults.get(k)}
    flags = [f"--{LONG_NAMES.get(name, name)}={value}" for name, value in sorted(other.items())]
    return " ".join([",".join(names), *flags])


def named_attacks(
    names,
    threat,
    classes,
    *,
    steps=None,
    step_size=None,
    restarts=None,
    queries=None,
    source=None,
    gradients=True,
):
    """The attacks of some names, in their order, each once.

    `pgd`, `pgd100` and `pgd100-margin` are PGD with `steps` steps, or as many as the number says,
    on the cross-entropy or another loss; `transfer` is that PGD made on another network; `latent`
    is `LatentPGD`; `standard` stands for all attacks of `standard_attack`.

    Args:
        names: Sequence of strings.
        threat: `Threat`.
        classes: Integer, the classes of the network.
        steps: Integer, of PGD where the name has no number; None: 40.
        step_size: Float, of so many steps; None: 2.5 epsilon / steps. More are smaller, and fewer
            larger, so that they cover the same way.
        restarts: Integer, random starts of the attacks that are not restarted by themselves; None:
            1. Without gradients also of Square, where None is 2.
        queries: Integer, of the Square attack; None: 5000.
        source: The network `transfer` is made on, and without gradients every attack that needs
            them.
        gradients: Boolean, whether the network has gradients.

    Returns:
        Pair of a dict from the name to an attack, and a list of the names of the attacks that would
        need gradients and are left out.

    Raises:
        ValueError: if a name is not known, or an argument not valid for it or of no effect.
    """
    check_names(names)
    given = {"restarts": restarts, "queries": queries, "steps": steps, "step_size": step_size}
    check_options(names, given, source, gradients)
    ball = {"epsilon": threat.epsilon, "norm": threat.ball}
    again = {"restarts": 1 if restarts is None else restarts}
    # Pixels are channels last here, as many channels as there are: an `Interface` moves them.
    of_square = {"queries": QUERIES if queries is None else queries, "channels_first": False}

    def pgd(count, kind=PGD, **loss):
        count, of_option = int(count or steps or STEPS), steps or STEPS
        size = (step_size or 2.5 * threat.epsilon / of_option) * of_option / max(1, count)
        return kind(**ball, **again, **loss, steps=count, step_size=size)

    def make(name):
        kind, count, loss = re.fullmatch(r"([a-z_]+)(\d*)(?:-(\w+))?", name).groups()
        if kind != "fab" and classes < CLASSES.get(loss, 2):
            raise ValueError(
                f"attack: {name} needs a network of at least {CLASSES[loss]} classes, it has "
                f"{classes}"
            )
        match kind:
            case "fgsm":
                return FGSM(**ball)
            case "pgd":
                return pgd(count, loss=LOSSES[loss or "ce"])
            case "latent":
                return pgd(count, LatentPGD)
            case "transfer":
                return Transfer(pgd(count), source)
            case "noise":
                return Noise(**ball)
            case "fab":
                return TargetedFAB(**ball, **again)
            case "square":
                return Square(**ball, **of_square)
            case "apgd" if loss == "t":
                return TargetedAPGD(**ball)
            case "apgd":
                return APGD(**ball, **again, loss=LOSSES[loss or "ce"])
            case _:
                raise ValueError(f"attack: expected one that is made here, received {name!r}")

    attacks = {}
    for name in names:
        if name == "standard":
            attacks |= standard_attack(classes=classes, **of_square, **ball)
        else:
            attacks[name] = make(name)
    if gradients:
        return attacks, []
    return _without_gradients(attacks, source, STANDARD_RESTARTS if restarts is None else restarts)


def check_names(names):
    """Raises a ValueError if the name of an attack is not known."""
    for name in names:
        one_of("attack", _stem(name), ATTACKS)


def check_options(names, options, source, gradients):
    """Raises a ValueError if an option of attacks has no effect on any, or a source is missing.

    Args:
        names, source, gradients: As of `named_attacks`.
        options: Dict from keys of `TAKERS` to the options; those that are None are not there.
    """
    for option, value in options.items():
        if value is not None and not has_effect(option, names, gradients):
            raise ValueError(
                f"{option}: expected with an attack that it has an effect on, which are "
                f"{', '.join(TAKERS[option])}; received with {', '.join(names)}"
            )
        if value is not None and option != "step_size":
            check_count(option, value)
    if source is None and any(_stem(name) == "transfer" for name in names):
        raise ValueError("attack: transfer needs another network, source")


def has_effect(option, names, gradients=True):
    """Whether an option, a key of `TAKERS`, has an effect on any of the attacks of some names."""
    takers = TAKERS[option]
    if option == "restarts" and not gradients:
        takers = (*takers, "standard", "square")
    return any(_stem(name) in takers for name in names)


def _stem(name):
    """The name without a number of steps."""
    return re.sub(r"^(pgd|latent|transfer)[1-9]\d*", r"\1", name)


class Again:
    """An attack with other random numbers: a restart, on the images that are left.

    Args:
        attack: An attack of this package.
        number: Integer, another one for each restart.
    """

    def __init__(self, attack, number):
        self.attack, self.number = attack, int(number)

    def __call__(self, network, x, y, *, seed=None):
        """Adversarial copies of a batch, as of the attack."""
        seed = draws.fold_in(draws.given_seed(seed), self.number)
        return self.attack(network, x, y, seed=seed)


def _without_gradients(attacks, source, restarts):
    """Those that can be made: without gradients, with restarts, and with those of the source."""
    made, not_made = {}, []
    for name, attack in attacks.items():
        if not isinstance(attack, GRADIENT_FREE):
            not_made.append(name)
            if source is not None:
                made[f"transfer {name}"] = Transfer(attack, source)
        elif isinstance(attack, Square):
            made[name] = attack
            made |= {f"{name} {k}": Again(attack, k) for k in range(2, restarts + 1)}
        else:
            made[name] = attack
    return made, not_made
