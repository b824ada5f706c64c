"""Proofs of a candidate, together with what attacks have broken."""

import dataclasses
import json
import pathlib

import keras
import numpy as np
import pytest

from anp_tf import bounds, data
from anp_tf.files import write_json
from anp_tf.robustness import (
    Interface,
    Threat,
    attack_candidate,
    certificate_lines,
    certificate_of,
    certificate_table,
    check_candidate,
    from_network,
    prove_candidate,
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
