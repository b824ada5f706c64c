"""Attacks by their names."""

import pytest

from anp_tf.attacks import (
    APGD,
    FGSM,
    L2,
    PGD,
    LatentPGD,
    Noise,
    Square,
    TargetedAPGD,
    TargetedFAB,
    Transfer,
    standard_attack,
)
from anp_tf.losses import cross_entropy, dlr, margin
from anp_tf.robustness import named_attacks

STANDARD = {"apgd-ce": APGD, "apgd-t": TargetedAPGD, "fab-t": TargetedFAB, "square": Square}
KINDS = {
    "fgsm": FGSM,
    "pgd": PGD,
    "pgd7": PGD,
    "pgd-margin": PGD,
    "pgd20-dlr": PGD,
    "apgd": APGD,
    "apgd-dlr": APGD,
    "latent": LatentPGD,
    "noise": Noise,
    "transfer": Transfer,
    **STANDARD,
}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_kinds(name, norm):
    (attack,) = named_attacks([name], epsilon=0.2, classes=10, norm=norm, source=1).values()
    assert type(attack) is KINDS[name]
    inner = attack.attack if name == "transfer" else attack
    assert inner.epsilon == 0.2
    assert type(inner.norm).__name__ == norm


def test_options():
    attacks = named_attacks(
        ["pgd7", "pgd20-dlr", "pgd-margin", "apgd", "square"],
        epsilon=0.2,
        classes=10,
        restarts=3,
        queries=17,
    )
    assert [attacks[name].steps for name in ("pgd7", "pgd20-dlr", "pgd-margin")] == [7, 20, 40]
    assert attacks["pgd7"].step_size == pytest.approx(2.5 * 0.2 / 7)
    losses = [attacks[name].loss for name in ("pgd7", "pgd20-dlr", "pgd-margin", "apgd")]
    assert losses == [cross_entropy, dlr, margin, cross_entropy]
    assert [attacks[name].restarts for name in ("pgd7", "apgd")] == [3, 3]
    assert attacks["square"].queries == 17
    given = named_attacks(["pgd", "pgd5"], epsilon=0.2, classes=10, steps=20, step_size=0.01)
    assert (given["pgd"].steps, given["pgd"].step_size) == (20, 0.01)
    assert given["pgd5"].step_size == pytest.approx(0.04)  # which covers the same way


def test_standard():
    attacks = named_attacks(["standard"], epsilon=0.3, classes=10)
    assert {name: type(attack) for name, attack in attacks.items()} == STANDARD
    assert list(attacks) == list(STANDARD)
    assert attacks["apgd-ce"].steps == attacks["apgd-t"].steps == attacks["fab-t"].steps == 100
    assert attacks["apgd-t"].targets == attacks["fab-t"].targets == 9
    assert attacks["square"].queries == 5000
    assert isinstance(standard_attack(0.3, 10, L2())["fab-t"].norm, L2)


@pytest.mark.parametrize("classes", [2, 3])
def test_standard_with_few_classes(classes):
    attacks = standard_attack(0.3, classes)
    assert list(attacks) == ["apgd-ce", "apgd-margin", "fab-t", "square"]
    assert attacks["apgd-margin"].loss is margin


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        (["pdg"], {}, "--attack: expected one of .*received 'pdg'; did you mean pgd"),
        (["pgd-"], {}, "--attack: expected one of"),
        (["fgsm9"], {}, "--attack: expected one of"),
        (["PGD"], {}, "--attack: expected one of"),
        (["pgd0"], {}, "argument `steps`"),
        (["transfer"], {}, "transfer needs another network, --source"),
        (["pgd"], {"norm": "L1"}, "--norm: expected one of Linf, L2, received 'L1'"),
        (["pgd"], {"epsilon": -1}, "argument `epsilon`"),
        (["apgd-t"], {"classes": 3}, "apgd-t needs a network of at least 4 classes, it has 3"),
        (["pgd-dlr"], {"classes": 2}, "pgd-dlr needs a network of at least 3 classes"),
    ],
)
def test_errors(names, options, message):
    with pytest.raises(ValueError, match=message):
        named_attacks(names, **{"epsilon": 0.2, "classes": 10, **options})
