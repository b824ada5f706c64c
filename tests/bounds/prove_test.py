import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from anp_tf import bounds
from anp_tf.attacks import FGSM, PGD
from anp_tf.layers import BetaBernoulliDropout, given_masks

METHODS = ("interval", "crown", "alpha_crown", "branching")


@pytest.fixture(scope="module")
def network():
    random = np.random.default_rng(0)
    layers = [keras.Input((4,))]
    layers += [keras.layers.Dense(width, activation="relu") for width in (8, 8)]
    network = keras.Sequential([*layers, keras.layers.Dense(3)])
    network.set_weights([random.normal(0, 0.6, weight.shape) for weight in network.weights])
    return network


@pytest.fixture(scope="module")
def data(network):
    x = np.random.default_rng(1).random([40, 4]).astype(np.float32)
    y = np.argmax(network(x), -1)
    y[::8] = (y[::8] + 1) % 3
    return x, y


def test_each_image_is_proved_broken_or_open(network, data, tmp_path):
    x, y = data
    attack = PGD(epsilon=0.1, step_size=0.03, steps=10)
    cheap = {"alpha_steps": 2, "domains": 8}
    certificate = bounds.prove(network, x, y, 0.1, attack=attack, path=tmp_path, **cheap)
    outcomes, methods = (np.array(certificate[name]) for name in ("outcomes", "methods"))
    assert set(outcomes) >= {"proved", "broken"}
    assert np.all(outcomes[::8] == "broken")
    assert np.all((methods == None) == (outcomes != "proved"))  # noqa: E711
    interval = bounds.proved(bounds.interval_margins(network, x, y, 0.1), y)
    np.testing.assert_array_equal(methods == "interval", interval)
    tight = bounds.prove(network, x, y, 0.1, methods=METHODS[:2], intermediate="crown")
    for found, intermediate in ((methods, "interval"), (np.array(tight["methods"]), "crown")):
        margins = bounds.crown_margins(network, x, y, 0.1, intermediate=intermediate)
        crown = np.asarray(bounds.proved(margins, y)) & ~np.asarray(interval)
        np.testing.assert_array_equal(found == "crown", crown)
    counts = certificate["counts"]
    assert sum(counts["proved_by"].values()) == counts["proved"] == np.sum(outcomes == "proved")
    assert json.loads((tmp_path / "certificate.json").read_text()) == certificate


def test_what_is_found_to_be_broken_later_on_counts(network, data, tmp_path):
    x, y = data
    options = {"methods": ["interval"], "path": tmp_path}
    before = bounds.prove(network, x, y, 0.1, **options)
    left = np.array(before["outcomes"]) == "open"
    assert left.any()
    after = bounds.prove(network, x, y, 0.1, **options, broken=left)
    assert after["counts"]["open"] == 0
    assert after["counts"]["broken"] == before["counts"]["broken"] + left.sum()
    assert after["counts"]["proved_by"] == before["counts"]["proved_by"]
    assert json.loads((tmp_path / "certificate.json").read_text()) == after


def test_a_proof_with_given_masks_is_of_another_network(data, tmp_path):
    x, y = data
    mask = BetaBernoulliDropout()
    network = keras.Sequential([keras.Input((4,)), mask, keras.layers.Dense(3)])
    options = {"methods": ["interval"], "path": tmp_path}
    with given_masks({mask: np.ones(4)}):
        first = bounds.prove(network, x[:9], y[:9], 0.01, **options)
        assert bounds.prove(network, x[:9], y[:9], 0.01, **options) == first
    for masks in ({}, {mask: np.zeros(4)}):
        with given_masks(masks), pytest.raises(ValueError, match="its `network` is"):
            bounds.prove(network, x, y, 0.01, **options)


def no_pixels(network, x, y, seed):
    return x + 5.0 * tf.sign(x - 0.5)


def unknown(network, x, y, seed):
    return np.nan * x


@pytest.mark.parametrize(
    ("attack", "norm"),
    [
        (no_pixels, "linf"),
        (unknown, "linf"),
        (FGSM(epsilon=0.1), "l2"),
    ],
    ids=["no pixels", "unknown", "another ball"],
)
def test_images_out_of_the_ball_break_nothing(network, data, attack, norm):
    x, y = data
    proved = bounds.proved(bounds.interval_margins(network, x, y, 0.1, norm=norm), y)
    alone = np.where(np.argmax(network(x), -1) != y, "broken", np.where(proved, "proved", "open"))
    options = {"norm": norm, "methods": ["interval"], "attack": attack}
    found = bounds.prove(network, x, y, 0.1, **options)["outcomes"]
    moved = np.asarray(attack(network, x, y, seed=np.array([0, 0])))
    away = np.linalg.norm(moved - x, {"linf": np.inf, "l2": 2}[norm], axis=1)
    inside = (away <= 0.1 + 1e-6) & np.all((moved >= 0) & (moved <= 1), axis=1)
    wrong = (np.argmax(network(moved), -1) != y) | np.isnan(moved).any(1)
    assert np.any((alone == "open") & wrong & ~inside)
    broken = (alone == "open") & wrong & inside
    np.testing.assert_array_equal(found, np.where(broken, "broken", alone))


@pytest.mark.slow
def test_goes_on_where_it_was_stopped(network, data, tmp_path):
    x, y = data

    def stop(done):
        raise KeyboardInterrupt

    # An attack whose images, and so what it breaks, are those of its random start.
    attack = PGD(epsilon=0.3, step_size=1e-6, steps=1)
    options = {"methods": ["interval"], "attack": attack, "seed": 3}
    arguments = {**options, "batch_size": 10, "path": tmp_path}
    with pytest.raises(KeyboardInterrupt):
        bounds.prove(network, x, y, 0.3, **arguments, progress=stop)
    begun = json.loads((tmp_path / "certificate.json").read_text())
    assert len(begun["outcomes"]) == 10
    resumed = bounds.prove(network, x, y, 0.3, **arguments)
    whole = bounds.prove(network, x, y, 0.3, **options)
    alone = bounds.prove(network, x, y, 0.3, methods=["interval"])
    assert 0 < alone["counts"]["broken"] < whole["counts"]["broken"] < len(x)
    moved = bounds.prove(network, x, y, 0.3, identity={"path": "b", "dataset": "c"}, **arguments)
    assert (moved["outcomes"], moved["path"]) == (whole["outcomes"], "b")
    assert resumed["outcomes"] == whole["outcomes"]
    assert resumed["outcomes"][:10] == begun["outcomes"]
    with pytest.raises(ValueError, match="something else: its `epsilon`"):
        bounds.prove(network, x, y, 0.2, **arguments)
    with pytest.raises(ValueError, match="something else: its `images`"):
        bounds.prove(network, x[::-1], y, 0.3, **arguments)
    other = keras.models.clone_model(network)
    with pytest.raises(ValueError, match="something else: its `network`"):
        bounds.prove(other, x, y, 0.3, **arguments)


def test_what_comes_late_has_intervals_and_crown_alone(network, data):
    """All of the time is over with the first batch, of one image that no method need look at."""
    x, y = data
    methods = ("interval", "alpha_crown")
    certificate = bounds.prove(
        network, x, y, 0.2, methods=methods, attack=lambda *_: 1 / 0, batch_size=1, seconds=1e-9
    )
    interval = bounds.proved(bounds.interval_margins(network, x, y, 0.2), y)
    outcomes = np.array(certificate["outcomes"])
    assert outcomes[0] == "broken"  # by itself
    np.testing.assert_array_equal(outcomes == "proved", interval)
    assert "open" in outcomes
    assert certificate["settings"]["seconds"] == 1e-9


def test_proved_and_broken_is_an_error(network, data, tmp_path):
    x, y = data
    first = bounds.prove(network, x, y, 0.01, methods=["interval"], path=tmp_path)
    broken = np.array(first["outcomes"]) == "broken"
    again = bounds.prove(network, x, y, 0.01, methods=["interval"], broken=broken)
    assert again["outcomes"] == first["outcomes"]
    index = first["outcomes"].index("proved")
    broken[index] = True
    for path in (None, tmp_path):  # computed anew, and read from the file
        with pytest.raises(RuntimeError, match=f"Image {index} is both proved and broken"):
            bounds.prove(network, x, y, 0.01, methods=["interval"], broken=broken, path=path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("methods", ["magic"]),
        ("broken", [True]),
        ("batch_size", 0),
        ("seconds", 0.0),
        ("epsilon", np.float32(-0.1)),
        ("intermediate", "magic"),
        ("rows", 0),
        ("alpha_steps", -5),
        ("domains", 0),
        ("y", np.full(40, 3)),
        ("y", np.zeros(40)),
        ("y", np.zeros(1, int)),
    ],
)
def test_arguments(network, data, name, value):
    arguments = {"x": data[0], "y": data[1], "epsilon": 0.1, "methods": ["interval"], name: value}
    with pytest.raises(ValueError, match=name):
        bounds.prove(network, **arguments)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: 255 * x,
        lambda x: x - 0.5,
        lambda x: np.where(x == x.max(), np.nan, x),
        lambda x: (x > 0.5).astype(np.uint8),
    ],
    ids=["bytes", "centered", "unknown", "integers"],
)
def test_what_are_no_pixels(network, data, change):
    x, y = data
    with pytest.raises(ValueError, match=r"the pixels must be floats in \[0, 1\]: they are "):
        bounds.prove(network, change(x), y, 0.1, methods=["interval"])


def test_a_network_that_returns_a_dict(network, data):
    x, y = data
    other = keras.Model(network.inputs[0], {"logits": network.outputs[0]})

    def attack(network, x, y, seed):
        return x + 0.0 * network(x)[:, :1]

    found = bounds.prove(other, x, y, 0.1, methods=["interval"], attack=attack)["outcomes"]
    proved = bounds.proved(bounds.interval_margins(network, x, y, 0.1), y)
    np.testing.assert_array_equal(np.equal(found, "proved"), proved)
    np.testing.assert_array_equal(np.equal(found, "broken"), np.argmax(network(x), -1) != y)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("outcomes", lambda old: None),
        ("outcomes", lambda old: old[:-1]),
        ("outcomes", lambda old: ["right", *old[1:]]),
        ("outcomes", lambda old: {}),
        ("methods", lambda old: None),
        ("methods", lambda old: ["magic"] * len(old)),
        ("seconds", lambda old: "1.0"),
    ],
)
def test_a_damaged_certificate(network, data, tmp_path, name, change):
    x, y = data
    path = tmp_path / "certificate.json"
    options = {"methods": ["interval"], "path": tmp_path}
    content = bounds.prove(network, x[:9], y[:9], 0.1, **options)
    path.write_text(json.dumps({**content, name: change(content[name])}))
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"certificate.json is damaged; remove it: expected .*"):
        bounds.prove(network, x, y, 0.1, **options)
    assert path.read_bytes() == before


def test_labels_in_a_column(network, data):
    x, y = data
    found, expected = (
        bounds.prove(network, x, labels, 0.1, methods=["interval"]) for labels in (y[:, None], y)
    )
    assert found["outcomes"] == expected["outcomes"]
    assert found["images"] == expected["images"]


def test_a_network_of_one_logit_has_no_margins(data):
    x, y = data
    binary = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    with pytest.raises(ValueError, match="a network with one output"):
        bounds.prove(binary, x, np.zeros_like(y), 0.1)
