"""Proofs of a candidate, together with what attacks have broken."""

import dataclasses
import json
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from anp_tf import bounds, data
from anp_tf.attacks import L2, PGD, InTurn, Transfer
from anp_tf.files import write_json
from anp_tf.robustness import (
    EvaluationError,
    Interface,
    Threat,
    attack_candidate,
    certificate_lines,
    certificate_of,
    certificate_table,
    check_candidate,
    from_network,
    prove_candidate,
    suite,
)

THREAT = Threat(0.1, batch_size=16)


@pytest.fixture(scope="module")
def candidate():
    random = np.random.default_rng(0)
    layers = [keras.Input((4,))]
    layers += [keras.layers.Dense(width, activation="relu") for width in (8, 8)]
    network = keras.Sequential([*layers, keras.layers.Dense(3)])
    network.set_weights([random.normal(0, 0.6, weight.shape) for weight in network.weights])
    x = random.random([40, 4]).astype(np.float32)
    y = np.argmax(network(x), -1)
    y[::8] = 2  # which no image is
    return from_network(network, data.from_arrays(x, y), digest="a network")


@pytest.mark.slow
def test_what_attacks_broke_counts(candidate, tmp_path):
    attack_candidate(candidate, ["apgd-ce", "noise"], tmp_path, THREAT)
    proofs = ("interval", "crown", "alpha_crown")
    certificate = prove_candidate(candidate, tmp_path, THREAT, proofs=proofs)
    result = next(iter(json.loads((tmp_path / "robustness.json").read_text()).values()))
    counts = certificate["counts"]
    assert min(counts["proved"], counts["broken"]) > 5
    assert 100 * counts["proved"] / 40 <= result["robust_accuracy"]
    assert 100 * (40 - counts["broken"]) / 40 <= result["robust_accuracy"]

    outcomes = np.array(certificate["outcomes"])
    x, y = candidate.examples.images, candidate.examples.labels
    margins = bounds.alpha_crown_margins(candidate.network, x, y, 0.1, intermediate="interval")
    proved = np.asarray(bounds.proved(margins, y))
    np.testing.assert_array_equal(outcomes == "proved", proved)
    assert json.loads((tmp_path / "certificate.json").read_text()) == certificate
    assert certificate_of(tmp_path / "certificate.json", "a network") == certificate
    assert certificate_of(tmp_path / "certificate.json", "another") is None

    low, high = 100 * counts["proved"] / 40, 100 * (40 - counts["broken"]) / 40
    for text in (certificate_table(certificate), "\n".join(certificate_lines(certificate))):
        assert f"between {low:.2f} % (proved) and {high:.2f} % (attacked)" in text


def test_results_of_another_network_stay(candidate, tmp_path):
    attack_candidate(candidate, ["noise"], tmp_path, THREAT)
    other = dataclasses.replace(candidate, digest="another", path=pathlib.Path("other.keras"))
    write_json(tmp_path / "checks.json", {"network": "a network", "path": "network"})
    for judge in (
        lambda: attack_candidate(other, ["fgsm"], tmp_path, THREAT),
        lambda: check_candidate(other, tmp_path, THREAT),
    ):
        with pytest.raises(ValueError, match=r"without results of other networks, .* of network"):
            judge()
    anew = dataclasses.replace(other, path=candidate.path)  # trained anew
    attack_candidate(anew, ["fgsm"], tmp_path, THREAT)
    assert list(json.loads((tmp_path / "robustness.json").read_text())) == ["fgsm, Linf, 0.1"]


def test_without_attacks_pgd_breaks(candidate, tmp_path):
    weak = prove_candidate(candidate, tmp_path, THREAT, proofs=["interval"])
    assert weak["counts"]["broken"] > 5
    assert weak["counts"]["proved_by"]["crown"] == 0


def test_not_a_network_of_pixels(candidate, tmp_path):
    network = candidate.network
    examples = candidate.examples
    for other in (
        from_network(lambda x: network(x), examples, digest="a function"),
        from_network(network, examples, digest="scaled", interface=Interface(pixels=(0, 2))),
    ):
        with pytest.raises(ValueError, match="prove: expected a Keras network of pixels"):
            prove_candidate(other, tmp_path, THREAT)


def test_attacks_of_another_ball_than_that_which_is_judged_are_refused(candidate, tmp_path):
    """Their images would be in the ball, and the result that of a weaker attack."""

    def judged(threat, **attacks):
        return attack_candidate(candidate, attacks, tmp_path / str(threat), threat)

    def pgd(epsilon, norm=None):
        return PGD(epsilon=epsilon, step_size=epsilon, steps=1, norm=norm)

    for threat, attack in (
        (THREAT, pgd(0.01)),
        (THREAT, Transfer(pgd(0.01), candidate.network)),
        (THREAT, InTurn(pgd(0.1), pgd(0.2))),
        (Threat(0.1, "L2"), pgd(0.1)),
    ):
        with pytest.raises(ValueError, match="attack: expected attacks in the ball of the threat"):
            judged(threat, mine=attack)
    assert judged(THREAT, mine=InTurn(pgd(0.1), pgd(0.1)))[0]["robust_accuracy"] < 100
    assert judged(Threat(0.1, "L2"), mine=pgd(0.1, L2()))[0]["test_examples"] == 40


def test_another_data_set_in_the_folder_of_attacks_is_refused(candidate, tmp_path):
    attack_candidate(candidate, ["noise"], tmp_path, THREAT)
    other = dataclasses.replace(candidate, dataset="others")
    for make in (prove_candidate, check_candidate):
        with pytest.raises(EvaluationError, match="without results on other data"):
            make(other, tmp_path, THREAT)


def test_checks_on_fewer_images_do_not_take_the_place_of_more(candidate, tmp_path, monkeypatch):
    """Of the same network and ball; in another ball they do."""
    monkeypatch.setattr(suite, "run_checks", lambda *arguments, **options: [])

    def count(examples, threat=THREAT):
        fewer = dataclasses.replace(candidate, examples=candidate.examples.take(examples))
        check_candidate(fewer, tmp_path, threat)
        return json.loads((tmp_path / "checks.json").read_text())["test_examples"]

    assert [count(20), count(10), count(30), count(5, Threat(0.2))] == [20, 20, 30, 5]


def test_squares_that_cannot_be_moved_end_an_evaluation_at_its_start(tmp_path):
    """Not after the other attacks; and there may be any number of channels."""

    def of(shape):
        keras.utils.set_random_seed(0)
        layers = [keras.Input(shape), keras.layers.Flatten(), keras.layers.Dense(4)]
        network, random = keras.Sequential(layers), np.random.default_rng(0)
        x = random.random([6, *shape]).astype(np.float32)
        examples = tf.data.Dataset.from_tensor_slices((x, np.argmax(network(x), -1))).batch(6)
        return from_network(network, examples, digest="1")

    with pytest.raises(ValueError, match="at least 5 by 5 pixels"):
        attack_candidate(of((4, 4, 1)), ["standard"], tmp_path, Threat(0.5, "L2"))
    assert not (tmp_path / "attacks").exists()
    result, _ = attack_candidate(
        of((5, 5, 8)), ["noise", "square"], tmp_path, Threat(0.5), queries=20
    )
    assert result["attacks"][1]["fooled"] > 0
