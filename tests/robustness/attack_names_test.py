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
from anp_tf.names import ATTACKS
from anp_tf.robustness import Threat, attack_names, named_attacks

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
    attacks, not_made = named_attacks([name], Threat(0.2, norm), 10, source=1)
    (attack,) = attacks.values()
    assert not not_made
    assert type(attack) is KINDS[name]
    inner = attack.attack if name == "transfer" else attack
    assert inner.epsilon == 0.2
    assert type(inner.norm).__name__ == norm


@pytest.mark.parametrize(
    ("names", "options", "title"),
    [
        (["apgd", "fgsm"], {"restarts": None}, "apgd,fgsm"),
        (["standard"], {"queries": 5000}, "standard"),
        (["standard"], {"queries": 1}, "standard --queries=1"),
        (
            ["pgd"],
            {"steps": 20, "step_size": 0.01, "restarts": 2},
            "pgd --restarts=2 --eval_attack_step_size=0.01 --eval_attack_steps=20",
        ),
    ],
)
def test_a_title_says_what_is_not_as_by_default(names, options, title):
    assert attack_names.title_of(names, options) == title


@pytest.mark.parametrize("name", ATTACKS)
def test_every_name_is_made(name):
    attacks, _ = named_attacks([name], Threat(0.2), 10, source=1)
    assert all(callable(attack) for attack in attacks.values())
    assert len(attacks) == (4 if name == "standard" else 1)


@pytest.mark.parametrize("name", ["new", "new_one", "new_one-margin"])
def test_a_name_that_nothing_makes_is_an_error(monkeypatch, name):
    monkeypatch.setattr(attack_names, "ATTACKS", (name,))
    with pytest.raises(ValueError, match=f"attack: expected one that is made here.*'{name}'"):
        named_attacks([name], Threat(0.2), 10)


def test_options():
    attacks, _ = named_attacks(
        ["pgd7", "pgd20-dlr", "pgd-margin", "apgd", "square"],
        Threat(0.2),
        10,
        restarts=3,
        queries=17,
    )
    assert [attacks[name].steps for name in ("pgd7", "pgd20-dlr", "pgd-margin")] == [7, 20, 40]
    assert attacks["pgd7"].step_size == pytest.approx(2.5 * 0.2 / 7)
    losses = [attacks[name].loss for name in ("pgd7", "pgd20-dlr", "pgd-margin", "apgd")]
    assert losses == [cross_entropy, dlr, margin, cross_entropy]
    assert [attacks[name].restarts for name in ("pgd7", "apgd")] == [3, 3]
    assert attacks["square"].queries == 17
    given, _ = named_attacks(["pgd", "pgd5"], Threat(0.2), 10, steps=20, step_size=0.01)
    assert (given["pgd"].steps, given["pgd"].step_size) == (20, 0.01)
    assert given["pgd5"].step_size == pytest.approx(0.04)  # which covers the same way


def test_standard():
    attacks, _ = named_attacks(["standard"], Threat(0.3), 10)
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
        (["pdg"], {}, "attack: expected one of .*received 'pdg'; did you mean pgd"),
        (["pgd-"], {}, "attack: expected one of"),
        (["fgsm9"], {}, "attack: expected one of"),
        (["PGD"], {}, "attack: expected one of"),
        (["pgd0"], {}, "attack: expected one of"),
        (["pgd"], {"steps": 0}, "argument `steps`"),
        (["square"], {"queries": 0}, "argument `queries`"),
        (["pgd"], {"restarts": 0}, "argument `restarts`"),
        (["transfer"], {}, "transfer needs another network, source"),
        (["standard"], {"restarts": 3}, "restarts: expected with an attack that it has an effect"),
        (["apgd-t", "square"], {"restarts": 3}, "received with apgd-t, square"),
        (["pgd"], {"queries": 9}, "queries: expected with .* which are square, standard"),
        (["apgd"], {"steps": 9}, "steps: expected with an attack"),
        (["apgd-t"], {"classes": 3}, "apgd-t needs a network of at least 4 classes, it has 3"),
        (["pgd-dlr"], {"classes": 2}, "pgd-dlr needs a network of at least 3 classes"),
    ],
)
def test_errors(names, options, message):
    with pytest.raises(ValueError, match=message):
        named_attacks(names, Threat(0.2), **{"classes": 10, **options})


def test_without_gradients():
    """Those that need none are made, Square again and again, and the others on the source."""
    attacks, not_made = named_attacks(["standard", "noise"], Threat(0.2), 10, gradients=False)
    assert list(attacks) == ["square", "square 2", "noise"]
    assert not_made == ["apgd-ce", "apgd-t", "fab-t"]
    attacks, again = named_attacks(
        ["standard"], Threat(0.2), 10, gradients=False, source=1, restarts=3
    )
    transferred = ["transfer apgd-ce", "transfer apgd-t", "transfer fab-t"]
    assert list(attacks) == [*transferred, "square", "square 2", "square 3"]
    assert all(type(attacks[name]) is Transfer for name in transferred)
    assert again == not_made
    seeds = []
    for name in ("square 2", "square 3"):
        attacks[name].attack = lambda network, x, y, seed: seeds.append(seed.numpy().tolist())
        attacks[name](None, None, None, seed=[[0, 1], [0, 2]])
    assert len({tuple(seed) for both in seeds for seed in both}) == 4  # each image its own


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epsilon": -1}, "epsilon: expected a value in"),
        ({"epsilon": 8}, "epsilon: expected a value in"),
        ({"epsilon": float("nan")}, "epsilon: expected a value in"),
        ({"epsilon": float("inf"), "norm": "L2"}, "epsilon: expected a value above 0, and finite"),
        ({"epsilon": 0.1, "norm": "L1"}, "norm: expected one of Linf, L2, received 'L1'"),
        ({"epsilon": 0.1, "seed": -1}, "seed: expected"),
        ({"epsilon": 0.1, "batch_size": 0}, "batch_size: expected"),
    ],
)
def test_threats(options, message):
    with pytest.raises(ValueError, match=message):
        Threat(**options)
