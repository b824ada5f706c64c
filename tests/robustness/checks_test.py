"""The checks: a sound network passes them, and each planted fraud is caught."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from anp_tf import data
from anp_tf.attacks import FGSM, PGD
from anp_tf.pruning import insert_masks
from anp_tf.robustness import Candidate, Threat, run_checks
from anp_tf.robustness import checks as checks_module
from anp_tf.robustness.checks import attack_checks
from anp_tf.robustness.checks.check import graded
from anp_tf.robustness.checks.measurements import Measured, Measurements
from anp_tf.robustness.checks.network_checks import (
    check_deterministic,
    check_gradients,
    check_outputs,
    check_pixels,
    check_resolution,
    without_gradients,
)

THREAT = Threat(0.1)
EPSILON = THREAT.epsilon
SIZE = 60


@pytest.fixture(scope="module")
def examples():
    """Four classes: which quarter of a noisy image is the brightest."""
    rng = np.random.default_rng(0)
    images = rng.integers(60, 140, (SIZE, 4, 4, 1))
    labels = np.arange(SIZE) % 4
    for image, label in zip(images, labels, strict=True):
        row, column = 2 * (label // 2), 2 * (label % 2)
        image[row : row + 2, column : column + 2] += rng.integers(25, 75)
    return data.Examples(images.astype(np.uint8), labels.astype(np.int32), 4)


def quarters(x, training=False):
    """Four logits, the mean of each quarter: as robust as can be."""
    return 8 * tf.reshape(tf.nn.avg_pool2d(x, 2, 2, "VALID"), [-1, 4])


def fragile(x, training=False):
    """The same, and a pattern of no meaning with so much weight that any attack succeeds."""
    pattern = tf.reshape(tf.cast(tf.range(16) % 2, tf.float32) - 0.5, [4, 4, 1])
    hidden = tf.reduce_sum(x * pattern, [1, 2, 3])
    return quarters(x) + 10 * tf.stack([hidden, -hidden, hidden, -hidden], -1)


def candidate(network, examples):
    return Candidate("toy", network, None, "digest", examples, "toy")


def checked(network, examples, folder, undefended=None, **options):
    undefended = undefended and candidate(undefended, examples)
    threat = Threat(EPSILON, samples=options.pop("samples", 10))
    checks = run_checks(
        candidate(network, examples), folder, threat, queries=150, undefended=undefended, **options
    )
    return {check.name: check for check in checks}


def statuses(checks):
    return {name: check.status for name, check in checks.items()}


@pytest.mark.slow
def test_a_sound_network_passes(examples, tmp_path):
    checks = checked(quarters, examples, tmp_path, undefended=fragile)
    assert statuses(checks) == {
        "pixels": "pass",
        "logits": "pass",
        "resolution": "pass",
        "deterministic": "pass",
        "gradients": "pass",
        "undefended": "pass",
        "fgsm": "pass",
        "noise": "pass",
        "transfer": "pass",
        "epsilon": "pass",
        "convergence": "pass",
        "square": "pass",
        "masks": "not run",
        "ball": "pass",
    }
    accuracies = list(checks["epsilon"].values["accuracies"].values())
    assert accuracies[0] > 90
    assert accuracies[-1] == 0
    # The exact worst case of this network: the label's quarter falls by epsilon, another rises.
    means = quarters(examples.images / np.float32(255)).numpy() / 8
    label = means[np.arange(SIZE), examples.labels]
    others = np.where(np.eye(4)[examples.labels] == 1, -1, means).max(-1)
    robust = 100 * np.mean(label - others > 2 * EPSILON + 1e-6)  # a tie is lost
    assert 0 < robust < 90
    assert f"pgd-40 {robust:.1f} % (" in checks["fgsm"].figure
    # Again: all measurements are on disk, and the attacks are not made.
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")}
    again = checked(quarters, examples, tmp_path, undefended=fragile)
    assert statuses(again) == statuses(checks)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")} == before


def test_softmax_outputs_are_caught(examples):
    x = examples.images / np.float32(255)
    check = check_outputs(lambda x, training: tf.nn.softmax(quarters(x)), x)
    assert check.status == "fail"
    assert "these are probabilities" in check.figure
    check = check_outputs(lambda x, training: tf.sigmoid(quarters(x)), x)
    assert (check.status, check.figure[-22:]) == ("warn", ", as probabilities are")
    for shift in (0, -100):  # logits may be of one sign, log-probabilities too
        logits = check_outputs(lambda x, training, s=shift: quarters(x) + s, x)
        assert logits.status == "pass"
    assert check_outputs(lambda x, training: tf.nn.log_softmax(quarters(x)), x).status == "pass"


def test_saturated_outputs_are_caught(examples):
    """So sure that the gradient of the cross-entropy underflows; that of the margin does not."""
    x, y = examples.images / np.float32(255), examples.labels
    check = check_gradients(lambda x, training: 3000 * quarters(x), tf.constant(x), y)
    assert check.status == "warn"
    assert check.values["zero_percent"]["cross-entropy"] > 50
    assert check.values["zero_percent"]["margin"] == 0


@pytest.mark.slow
def test_a_quantised_input_is_caught(examples, tmp_path):
    """Its gradient is 0 everywhere, so that PGD finds nothing; Square needs none."""

    def quantised(x, training=False):
        steps = tf.round(x * 16) / 16
        return quarters(tf.stop_gradient(steps) + 0 * x)

    checks = checked(quantised, examples, tmp_path)
    assert checks["gradients"].status == "fail"
    assert "100.0 % of the images" in checks["gradients"].figure
    assert checks["square"].status == "fail"
    assert checks["square"].values["beyond_percent"] > 10
    assert checks["epsilon"].status == "fail"


def test_a_network_without_a_gradient_is_caught(examples, tmp_path):
    def rounded(x, training=False):
        return quarters(tf.stop_gradient(tf.round(x * 16) / 16))

    x, y = tf.constant(examples.images / np.float32(255)), examples.labels
    check = check_gradients(rounded, x, y)
    assert check.status == "fail"
    assert "no gradient" in without_gradients(rounded, x, y)
    assert without_gradients(quarters, x, y) is None
    looped = tf.function(
        lambda x, training: quarters(tf.map_fn(lambda one: tf.round(16 * one) / 16, x))
    )
    assert "are all 0" in without_gradients(looped, x, y)
    later = [0.0] * 4 + [1.0] * (SIZE - 4)  # there may be none for the first images alone
    sometimes = without_gradients(
        lambda x, training: quarters(x) * tf.constant(later[: len(x)])[:, None], x, y
    )
    assert sometimes is None
    assert "no gradient" in check.figure
    measure = Measurements(rounded, data.batches(examples, 30), SIZE, tmp_path, THREAT, {})
    measured = measure.of("fgsm", FGSM(epsilon=EPSILON))
    assert measured.accuracy is None
    failed = attack_checks.not_weaker("fgsm", "", measured, measured)
    assert failed.status == "fail"
    assert "the attack cannot run" in failed.figure


def test_another_number_of_draws_is_another_measurement(examples, tmp_path, monkeypatch):
    seen = []

    def look(network, batches, count, folder, threat, identity, *others):
        seen.append(identity)
        raise KeyboardInterrupt

    def randomised(x, training=False):
        return quarters(x) + tf.random.normal([len(x), 4])

    monkeypatch.setattr(checks_module, "Measurements", look)
    for network, samples in ((randomised, 2), (randomised, 3), (quarters, 2)):
        with pytest.raises(KeyboardInterrupt):
            checked(network, examples, tmp_path, samples=samples)
    assert [identity.get("samples") for identity in seen] == [2, 3, None]


@pytest.mark.slow
def test_a_randomised_network_is_caught_and_attacked_in_expectation(examples, tmp_path):
    """Noise as large as the signal: a single draw misleads, the mean of draws does not."""

    def randomised(x, training=False):
        return quarters(x + tf.random.normal(tf.shape(x), stddev=0.3))

    checks = checked(randomised, examples, tmp_path, samples=4)
    assert checks["deterministic"].status == "warn"
    assert "mean of several draws (EOT)" in checks["deterministic"].figure
    # One draw is right about a third of the images, the mean of draws about most.
    assert checks["epsilon"].values["accuracies"]["0.025"] > 50


@pytest.mark.parametrize(("factor", "shift"), [(255.0, 0.0), (2.0, -1.0)])
def test_a_network_of_another_pixel_range_is_caught(examples, factor, shift):
    """It takes pixels of another scale, and sees nothing in those that are in [0, 1]."""

    def scaled(x, training=False):
        beyond = (x < 0) if shift else (x > 1)
        sees = tf.cast(tf.reduce_any(beyond, [1, 2, 3]), x.dtype)
        return quarters((x - shift) / factor) * sees[:, None]

    check = check_pixels(scaled, data.batches(examples, 30))
    assert check.status == "fail"
    assert check.values["clean_accuracy"]["in [0, 1]"] < 30
    assert check_pixels(quarters, data.batches(examples, 30)).status == "pass"


@pytest.mark.parametrize("bad", [1.5, -0.2, np.nan])
def test_images_that_are_no_pixels_are_caught(examples, tmp_path, bad):
    x = examples.images / np.float32(255)
    x[7, 0, 0, 0] = bad
    batches = tf.data.Dataset.from_tensor_slices((x, examples.labels)).batch(30)
    checks = run_checks(candidate(quarters, batches), tmp_path, THREAT)
    assert [(check.name, check.status) for check in checks] == [
        ("pixels", "fail"),
        ("logits", "fail" if np.isnan(bad) else "pass"),
    ]


def test_a_network_that_hides_its_gradients_is_weaker_to_transfer(examples, tmp_path):
    """Its own gradients point nowhere; those of the plain network do not."""

    @tf.custom_gradient
    def blind(x):
        noise = tf.random.stateless_normal(tf.shape(x), [1, 2])
        return tf.identity(x), lambda upstream: noise * tf.reduce_sum(upstream)

    def hiding(x, training=False):
        return quarters(blind(x))

    batches = data.batches(examples, 30)
    measure = Measurements(hiding, batches, SIZE, tmp_path, THREAT, {})
    attack = PGD(epsilon=EPSILON, step_size=0.02, steps=10)
    base = measure.of("pgd-40", attack)
    check = attack_checks.check_transfer(measure, base, attack, quarters)
    assert check.status == "fail"
    assert attack_checks.check_transfer(measure, base, attack, None).status == "not run"
    held = attack_checks.check_undefended(measure, attack, hiding)
    assert held.status == "fail"


def test_an_attack_that_leaves_the_ball_is_caught(examples, tmp_path):
    batches = data.batches(examples, 30)
    measure = Measurements(quarters, batches, SIZE, tmp_path, THREAT, {})
    measure.of("far", FGSM(epsilon=0.3))
    check = attack_checks.check_ball(measure)
    assert check.status == "fail"
    assert check.values["outside_ball"] > 0


@pytest.mark.slow
def test_masks_are_drawn(examples, tmp_path):
    layers = [keras.layers.Flatten(), keras.layers.Dense(6, activation="relu")]
    plain = keras.Sequential([keras.Input((4, 4, 1)), *layers, keras.layers.Dense(4)])
    masked = insert_masks(plain)
    batches = data.batches(examples, 30)
    measure = Measurements(masked, batches, SIZE, tmp_path, THREAT, {})
    attack = PGD(epsilon=EPSILON, step_size=0.05, steps=3)
    base = measure.of("pgd-40", attack)
    check = attack_checks.check_masks(measure, attack, base, masked)
    assert set(check.values) == {"deterministic", "sampled"}
    assert check.values["deterministic"] == base.accuracy
    assert check.values["sampled"] != base.accuracy
    assert attack_checks.check_masks(measure, attack, base, None).status == "not run"


def measured(name, accuracy, fooled=(), error=None, total=100):
    return Measured(name, total, accuracy, np.array(fooled, int), {}, error)


def test_convergence_takes_the_stronger_of_both():
    base = measured("pgd-40", 90.0, total=1000)
    for steps, starts, status in ((90, 89.6, "pass"), (88.9, 90, "warn"), (90, 87.9, "fail")):
        check = attack_checks.check_convergence(
            base, measured("pgd-80", steps), measured("pgd-40x5", starts)
        )
        assert check.status == status


def test_square_counts_what_gradients_miss():
    gradients = [measured("a", 98.0, [1, 2]), measured("b", 97.0, [2, 3, 4])]
    square = measured("square", 96.0, [3, 4, 8, 9])
    check = attack_checks.check_square(gradients, square)
    assert check.values["beyond_percent"] == 2.0
    assert check.status == "warn"
    failed = attack_checks.check_square(gradients, measured("square", None, error="no"))
    assert failed.status == "fail"


@pytest.mark.parametrize(
    ("points", "status"), [(-3, "pass"), (0.5, "pass"), (1, "warn"), (3, "fail")]
)
def test_grades(points, status):
    assert graded(points, (0.5, 2.0), 1000) == status


def test_two_images_are_no_failure():
    assert graded(10.0, (0.5, 2.0), 20) == "warn"
    assert graded(15.0, (0.5, 2.0), 20) == "fail"


def test_noise_behind_large_logits_is_seen(examples):
    """A shift of all logits, which changes no answer, does not hide their noise."""

    def noisy(x, training=False):
        return quarters(x) + 1e5 + tf.random.normal([len(x), 4], stddev=1.5)

    x = examples.images / np.float32(255)
    assert check_deterministic(noisy, x).status == "warn"
    assert check_deterministic(lambda x, training: quarters(x) + 1e5, x).status == "pass"


def test_answers_that_depend_on_the_rest_of_the_batch_are_seen(examples):
    """As those of a network in training are; an image alone would be judged as another."""

    def normalized(x, training=False):
        logits = quarters(x)
        return logits - tf.reduce_mean(logits, 0)

    x = examples.images / np.float32(255)
    check = check_deterministic(normalized, x[np.argsort(examples.labels)])
    assert check.status == "warn"
    assert "where the batch is halved" in check.figure
    assert check_deterministic(quarters, x[:1]).status == "pass"


@pytest.mark.slow
def test_an_undefended_network_may_withstand_a_small_ball(examples, tmp_path):
    batches = data.batches(examples, 30)
    measure = Measurements(quarters, batches, SIZE, tmp_path, Threat(0.02), {})
    attack = PGD(epsilon=0.02, step_size=0.005, steps=10)
    check = attack_checks.check_undefended(measure, attack, quarters)
    assert check.status == "fail"  # at four times the radius too
    measure = Measurements(quarters, batches, SIZE, tmp_path, THREAT, {})
    attack = PGD(epsilon=0.1, step_size=0.02, steps=10)
    check = attack_checks.check_undefended(measure, attack, fragile)
    assert check.status == "pass"


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (lambda z: z, "pass"),
        (lambda z: 100 * z - 300, "pass"),
        (lambda z: 1e-3 * z, "warn"),
        (lambda z: 1e-6 * z, "fail"),
        (lambda z: z + 1e5, "fail"),
        (tf.round, "fail"),
        (lambda z: tf.nn.relu(z - 5), "fail"),
        (lambda z: 0 * z, "fail"),
    ],
    ids=["sound", "large", "1e-3", "1e-6", "+1e5", "rounded", "ReLU", "all equal"],
)
def test_logits_that_float32_cannot_tell_apart_are_caught(examples, change, status):
    x = examples.images / np.float32(255)
    check = check_resolution(lambda x, training: change(quarters(x)), x)
    assert check.status == status, check.figure


def test_an_integer_network_is_only_warned_of(examples):
    """Its logits are steps of their own scale, and it has no gradients that could suffer."""
    x = examples.images / np.float32(255)
    network = lambda x, training: tf.round(quarters(x) * 5) / 5  # noqa: E731
    assert check_resolution(network, x).status == "fail"
    assert check_resolution(network, x, gradients=False).status == "warn"


def test_logits_that_are_no_numbers_end_the_checks(examples, tmp_path):
    def network(x, training=False):
        return tf.where(tf.range(tf.shape(x)[0])[:, None] < 3, np.nan, quarters(x))

    checks = checked(network, examples, tmp_path)
    assert statuses(checks) == {"pixels": checks["pixels"].status, "logits": "fail"}
    assert f"NaN or infinite for 3 of {SIZE} images" in checks["logits"].figure


def test_a_network_that_ends_in_a_sigmoid_is_caught(examples):
    x = examples.images / np.float32(255)
    check = check_outputs(lambda x, training: tf.sigmoid(quarters(x)), x, "sigmoid")
    assert check.status == "fail"
    assert "ends in sigmoid" in check.figure
