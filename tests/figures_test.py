"""The figures' data against NumPy, and the figures as they are drawn from saved data."""

import json

import keras
import matplotlib.image
import numpy as np
import pytest
import tensorflow as tf

from anp_tf import data
from anp_tf.attacks import PGD
from anp_tf.figures import canvas, curves, examples, features, pixels, surface
from anp_tf.figures.attacked_images import attack_all
from anp_tf.layers import BetaBernoulliDropout, mask_layers
from anp_tf.models import lenet5_caffe
from anp_tf.report import catalogue
from anp_tf.robustness import adversarial_batches, measure_robustness

EPSILON, STEP, STEPS = 0.125, 0.05, 3


class Dense:
    """A network of two ReLU layers, in Keras and in NumPy; units 2 and 4 are always 0."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.w1, self.b1 = rng.normal(size=(4, 6)), rng.normal(size=6) / 4
        self.b1[2] = -100
        self.w2, self.b2 = rng.normal(size=(6, 5)), rng.normal(size=5) / 4
        self.w3, self.b3 = rng.normal(size=(5, 3)), rng.normal(size=3) / 4
        self.keras = keras.Sequential(
            [
                keras.Input((2, 2, 1)),
                keras.layers.Flatten(),
                keras.layers.Dense(6, activation="relu", name="first"),
                keras.layers.Dense(5),
                keras.layers.ReLU(name="second"),
                keras.layers.Dense(3),
            ]
        )
        self.keras.set_weights([self.w1, self.b1, self.w2, self.b2, self.w3, self.b3])

    def __call__(self, x):
        """Hidden layers and logits."""
        h1 = np.maximum(x.reshape(-1, 4) @ self.w1 + self.b1, 0)
        h2 = np.maximum(h1 @ self.w2 + self.b2, 0)
        return h1, h2, h2 @ self.w3 + self.b3

    def probabilities(self, x):
        p = np.exp(self(x)[-1])
        return p / p.sum(-1, keepdims=True)

    def cross_entropy(self, x, y):
        return -np.log(self.probabilities(x)[np.arange(len(y)), y])

    def pgd(self, x, y, epsilon, step, steps):
        """Steps along the sign of the gradient from x, within the ball and [0, 1]."""
        moved = x
        for _ in range(steps):
            h1, h2, _ = self(moved)
            g2 = (self.probabilities(moved) - np.eye(3)[y]) @ self.w3.T * (h2 > 0)
            gradient = (g2 @ self.w2.T * (h1 > 0)) @ self.w1.T
            moved = moved + step * np.sign(gradient.reshape(x.shape))
            moved = np.clip(np.clip(moved, x - epsilon, x + epsilon), 0, 1)
        return moved

    def accuracy(self, x, y):
        return 100 * np.mean(self(x)[-1].argmax(-1) == y)


class Case:
    """Attacked images, and what NumPy needs to compute the same."""

    def __init__(self, random_start=False):
        rng = np.random.default_rng(3)
        self.numpy = Dense()
        images = rng.integers(0, 256, (40, 2, 2, 1), np.uint8)
        labels = self.numpy(images / 255)[-1].argmax(-1)
        labels[::7] = (labels[::7] + 1) % 3
        self.examples = data.Examples(images, labels.astype(np.int32), 3, ("a", "b", "c"))
        self.x, self.y = images / 255, labels
        self.moved = self.numpy.pgd(self.x, self.y, EPSILON, STEP, STEPS)
        self.attack = PGD(epsilon=EPSILON, step_size=STEP, steps=STEPS, random_start=random_start)
        self.attacked = attack_all(self.numpy.keras, self.examples, self.attack, 5)


@pytest.fixture(scope="module")
def case():
    return Case()


def test_attacked_images(case):
    np.testing.assert_allclose(case.attacked.adversarial, case.moved, atol=1e-6)
    np.testing.assert_allclose(case.attacked.pixels, case.x, atol=1e-7)
    with pytest.raises(ValueError, match=r"must take the images and know the classes.*\(9, 9, 1\)"):
        attack_all(lenet_like((9, 9, 1), 3), case.examples, case.attack)


def lenet_like(shape, classes):
    return keras.Sequential(
        [keras.Input(shape), keras.layers.Flatten(), keras.layers.Dense(classes)]
    )


def test_feature_vulnerability(case):
    found = features.feature_vulnerability(case.attacked)
    assert found["layer"] == "first"
    expected = np.abs(case.numpy(case.x)[0] - case.numpy(case.moved)[0]).mean(0)
    np.testing.assert_allclose(found["vulnerability"], expected, rtol=1e-4, atol=1e-6)
    assert found["vulnerability"][2] == 0
    assert features.zero_share(found) == np.mean(expected == 0) == 2 / 6


def test_layer_vulnerability(case):
    found = features.layer_vulnerability(case.attacked)
    assert found["layers"] == ["first", "second"]
    pairs = zip(case.numpy(case.x)[:2], case.numpy(case.moved)[:2], strict=True)
    expected = [np.abs(a - b).mean() for a, b in pairs]
    np.testing.assert_allclose(found["vulnerability"], expected, rtol=1e-4)


def test_pixel_vulnerability_is_the_slope(case):
    found = pixels.pixel_vulnerability(case.attacked)
    indices = found["indices"]
    assert sorted(case.y[indices]) == [0, 1, 2]
    assert indices == sorted(np.flatnonzero(case.y == label)[0] for label in range(3))
    clean = case.numpy(case.x[indices])[:2]

    def vulnerability(moved):
        hidden = case.numpy(moved)[:2]
        return np.mean([np.abs(a - b).mean(-1) for a, b in zip(clean, hidden, strict=True)], 0)

    moved, h = case.attacked.adversarial[indices].astype(np.float64), 1e-6
    expected = np.empty(moved.shape[:-1])
    for row, column in np.ndindex(2, 2):
        ahead, behind = moved.copy(), moved.copy()
        ahead[:, row, column] += h
        behind[:, row, column] -= h
        expected[:, row, column] = (vulnerability(ahead) - vulnerability(behind)) / (2 * h)
    np.testing.assert_allclose(found["gradient"], np.abs(expected), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(found["clean"], case.x[indices], atol=1e-5)
    np.testing.assert_allclose(found["adversarial"], case.moved[indices], atol=1e-5)


def test_loss_surface(case):
    found = surface.loss_surface(case.attacked)
    axis, loss, count = found["axis"], np.array(found["loss"]), found["images"]
    assert (axis[0], axis[12], axis[-1], count) == (-2, 0, 2, 20)
    x, y, moved = case.x[:count], case.y[:count], case.moved[:count]
    np.testing.assert_allclose(loss[12, 12], case.numpy.cross_entropy(x, y).mean(), rtol=1e-4)
    np.testing.assert_allclose(loss[18, 12], case.numpy.cross_entropy(moved, y).mean(), rtol=1e-4)
    signs = np.random.default_rng(5).choice((-1, 1), x.shape)
    for i, j in ((0, 0), (3, 20), (24, 7)):
        image = np.clip(x + axis[i] * (moved - x) + axis[j] * EPSILON * signs, 0, 1)
        expected = case.numpy.cross_entropy(image, y).mean()
        np.testing.assert_allclose(loss[i, j], expected, rtol=1e-3)


def test_accuracy_by_epsilon(case):
    calls = []
    found = curves.accuracy_by_epsilon(case.attacked, calls.append)
    assert found["epsilon"][:2] == [0, EPSILON / 4]
    assert found["epsilon"][-1] == 2 * EPSILON
    expected = [
        case.numpy.accuracy(
            case.numpy.pgd(case.x, case.y, epsilon, STEP * epsilon / EPSILON, STEPS), case.y
        )
        for epsilon in found["epsilon"]
    ]
    assert found["accuracy"] == pytest.approx(expected)
    assert expected[0] > expected[-1]  # else this test shows little
    assert calls == [40 * (1 + index) for index in range(len(curves.epsilons(case.attack)))]
    assert curves.epsilons(PGD(epsilon=0.9, step_size=0.1, steps=1))[-1] == 1


def test_accuracy_by_steps(case):
    found = curves.accuracy_by_steps(case.attacked)
    assert found["steps"] == [1, 2, 3, 5, 10, 20, 100]
    expected = [
        case.numpy.accuracy(case.numpy.pgd(case.x, case.y, EPSILON, STEP, steps), case.y)
        for steps in found["steps"]
    ]
    assert found["accuracy"] == pytest.approx(expected)


@pytest.mark.slow
def test_accuracy_by_restarts():
    case = Case(random_start=True)
    found = curves.accuracy_by_restarts(case.attacked)
    right = case.numpy(case.attacked.adversarial)[-1].argmax(-1) == case.y
    expected = [100 * right.mean()]
    for restart in range(1, 5):
        left = np.flatnonzero(right)
        x, y = np.float32(case.x[left]), tf.constant(np.int32(case.y[left]))
        seeds = tf.constant([[5 + restart, position] for position in range(len(left))])
        moved = case.attack(case.numpy.keras, x, y, seed=seeds).numpy()
        right[left] = case.numpy(moved)[-1].argmax(-1) == case.y[left]
        expected.append(100 * right.mean())
    assert found["restarts"] == [1, 2, 3, 4, 5]
    assert found["accuracy"] == pytest.approx(expected)


def test_no_restart_of_what_is_fooled(case):
    """All images are misclassified at once: there is nothing left to attack."""
    wrong = data.Examples(case.examples.images, np.int32((case.y + 1) % 3), 3)
    wrong = data.Examples(wrong.images[case.y == 0], wrong.labels[case.y == 0], 3)
    right = case.numpy(wrong.images / 255)[-1].argmax(-1) == wrong.labels
    wrong = data.Examples(wrong.images[~right], wrong.labels[~right], 3)
    attacked = attack_all(case.numpy.keras, wrong, case.attack)
    assert curves.accuracy_by_restarts(attacked)["accuracy"] == [0] * 5


def test_adversarial_examples(case):
    found = examples.adversarial_examples(case.attacked)
    indices, names = found["indices"], np.array(["a", "b", "c"])
    assert found["labels"] == names[case.y[indices]].tolist()
    for kind, x in (("clean", case.x), ("adversarial", case.moved)):
        p = case.numpy.probabilities(x[indices])
        assert found[f"{kind}_prediction"] == names[p.argmax(-1)].tolist()
        np.testing.assert_allclose(found[f"{kind}_probability"], p.max(-1), rtol=1e-4)
        np.testing.assert_allclose(found[kind], x[indices], atol=1e-5)


@pytest.mark.slow
def test_masked_network_is_attacked_slim_and_measured_whole():
    """As in the evaluation: the same images, the same vulnerability, pruned features included."""
    network = lenet5_caffe(lambda name: BetaBernoulliDropout(name=name), width_multiplier=0.1)
    mask_layers(network)[0].prune([0])
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (6, 28, 28, 1), np.uint8), np.arange(6, dtype=np.int32)
    examples, attack = data.Examples(images, labels, 10), PGD(epsilon=0.1, step_size=0.1, steps=1)
    attacked = attack_all(network, examples, attack, seed=3)
    assert not mask_layers(attacked.slimmed)
    batches = data.batches(examples, 250)
    (expected,) = adversarial_batches(attacked.slimmed, batches, attack, 3)
    np.testing.assert_array_equal(attacked.adversarial, expected)
    found = features.feature_vulnerability(attacked)["vulnerability"]
    first, second = np.moveaxis(np.reshape(found, (24, 24, 2)), -1, 0)
    assert not first.any()
    assert second.any()
    measured = measure_robustness(network, batches, [expected]).vulnerability
    layers = features.layer_vulnerability(attacked)
    assert np.mean(layers["vulnerability"]) == pytest.approx(measured, rel=1e-4)
    assert layers["layers"] == ["relu1", "relu2", "relu3"]


FIGURES = {figure.name: figure for figure in catalogue.FIGURES}
LABELS = ("first", "an odd <b>$x^$</b> _name", "third")


@pytest.fixture(scope="module")
def saved(case):
    """The text of each figure's data, of three networks."""
    texts = {}
    for name, figure in FIGURES.items():
        values = figure.compute(case.attacked)
        texts[name] = json.dumps(dict.fromkeys(LABELS, values))
    return texts


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("name", FIGURES)
def test_drawn_from_saved_data(saved, tmp_path, name, count):
    networks = dict(list(json.loads(saved[name]).items())[:count])
    draw = FIGURES[name].draw
    draw(networks, tmp_path / "a.png")
    pixels = matplotlib.image.imread(tmp_path / "a.png")
    assert min(pixels.shape[:2]) > 250
    assert (pixels[0] == 1).all()  # white, on whatever page
    assert 0.001 < np.mean(pixels[..., :3].min(-1) < 0.9) < 0.9
    draw(networks, tmp_path / "a.svg")
    assert (tmp_path / "a.svg").read_text().startswith("<?xml")
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "a.svg"}


def drawn(monkeypatch, name, networks):
    figure = []
    monkeypatch.setattr(canvas, "save", lambda drawn, path: figure.append(drawn))
    FIGURES[name].draw(networks, None)
    return figure[0]


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("accuracy_by_epsilon", "epsilon"),
        ("accuracy_by_steps", "steps"),
        ("accuracy_by_restarts", "restarts"),
    ],
)
def test_curves_show_the_data(saved, monkeypatch, name, key):
    networks = json.loads(saved[name])
    networks["third"]["accuracy"][0] = 12.5
    axes = drawn(monkeypatch, name, networks).axes[0]
    assert len(axes.lines) == 3
    for line, values in zip(axes.lines, networks.values(), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), values[key])
        np.testing.assert_array_equal(line.get_ydata(), values["accuracy"])


def test_histogram_shows_the_data(saved, monkeypatch):
    values = json.loads(saved["feature_vulnerability"])["first"]
    (axes,) = drawn(monkeypatch, "feature_vulnerability", {"first": values}).axes
    assert "exactly 0: 33.3 %" in axes.get_title()
    shares = [patch.get_height() for patch in axes.patches]
    assert sum(shares) == pytest.approx(100 * 4 / 6)


def test_histogram_of_features_that_do_not_move(monkeypatch):
    values = {"layer": "a", "vulnerability": [0.0, 0.0]}
    (axes,) = drawn(monkeypatch, "feature_vulnerability", {"a": values}).axes
    assert "exactly 0: 100.0 %" in axes.get_title()


def test_images_show_the_data(saved, monkeypatch):
    networks = json.loads(saved["pixel_vulnerability"])
    figure = drawn(monkeypatch, "pixel_vulnerability", networks)
    images = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    first = networks["first"]
    assert len(images) == 3 * 7
    for row, key in enumerate(("clean", "adversarial", "gradient")):
        for column in range(3):
            expected = np.squeeze(first[key][column])
            np.testing.assert_array_equal(images[3 * row + column], expected)


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_of_channels_that_are_no_colours_the_mean_is_shown(monkeypatch, channels):
    images = np.random.default_rng(0).random((3, 2, 2, channels))
    values = {"clean": images, "adversarial": images, "gradient": images[..., 0]}
    figure = drawn(monkeypatch, "pixel_vulnerability", {"a": values})
    shown = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    np.testing.assert_allclose(shown[:3], images.mean(-1))


def test_surface_is_drawn_the_right_way_round(saved, monkeypatch):
    networks = {"first": json.loads(saved["loss_surface"])["first"]}
    axes = drawn(monkeypatch, "loss_surface", networks).axes[0]
    drawn_loss = axes.collections[0].get_array()
    np.testing.assert_array_equal(drawn_loss[12, 18], networks["first"]["loss"][18][12])


def test_misclassified_images_are_marked(saved, monkeypatch):
    values = json.loads(saved["adversarial_examples"])["first"]
    values["labels"] = ["a", "b", "c"]
    values["adversarial_prediction"] = ["a", "c", "c"]
    figure = drawn(monkeypatch, "adversarial_examples", {"first": values})
    assert ["✗" in axes.get_xlabel() for axes in figure.axes[3:]] == [False, True, False]


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_characters_that_the_font_lacks_are_drawn_without_a_word(tmp_path, ending):
    """A warning would be an error."""
    figure = canvas.new_figure(1.0)
    axes = canvas.plot(figure, "猫", "犬")
    axes.plot([0, 1], [0, 1], label="鳥")
    canvas.legend(figure, axes)
    canvas.save(figure, tmp_path / f"figure.{ending}")
    assert (tmp_path / f"figure.{ending}").stat().st_size > 1000
