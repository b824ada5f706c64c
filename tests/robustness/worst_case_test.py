"""The worst case over attacks, against counting by hand; stopping, and what does not count."""

import functools
import json
import pathlib
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from anp_tf import data, robustness
from anp_tf.attacks import FGSM, L2, PGD, InTurn, TargetedFAB, Transfer
from anp_tf.robustness import EvaluationError, LogitsError, Threat, saved_images
from anp_tf.robustness.described import described

THREAT = Threat(0.1)


def worst_case(*arguments, **options):
    return robustness.worst_case(*arguments, **{"identity": {}, **options})


@pytest.fixture(scope="module")
def examples():
    """30 grey images whose label says whether they are bright; every tenth is mislabelled."""
    rng = np.random.default_rng(0)
    images = rng.integers(60, 200, (30, 4, 4, 1), np.uint8)
    labels = (images.mean((1, 2, 3)) > 127.5).astype(np.int32)
    labels[::10] = 1 - labels[::10]
    return data.Examples(images, labels, 2)


def brightness(x, training=False):
    """Two logits: the mean of the pixels above one half wins."""
    mean = tf.reduce_mean(x, [1, 2, 3])
    return tf.stack([0.5 - mean, mean - 0.5], -1)


class Shift:
    """Moves the brightness toward the other class by so much; notes the images it was given."""

    def __init__(self, size):
        self.size, self._calls = size, []

    def __call__(self, network, x, y, *, seed):
        tf.py_function(lambda n: self._calls.append(int(n)), [tf.shape(x)[0]], [])
        sign = tf.cast(1 - 2 * y, x.dtype)[:, None, None, None]
        return x + self.size * sign


def expected(examples, sizes):
    """Clean accuracy and the accuracy after each shift, by NumPy, in images."""
    mean = (examples.images / 255).mean((1, 2, 3))
    signed = np.where(examples.labels == 1, mean - 0.5, 0.5 - mean)
    return [int(np.sum(signed > size)) for size in (0, *sizes)]


def test_fewer_images_leave_the_batches_of_more(examples, tmp_path):
    attacks = {"shift": Shift(0.02)}
    results, saved = [], []
    for count in (20, 4, 20):
        batches = data.batches(examples.take(count), 10)
        results.append(worst_case(brightness, batches, attacks, tmp_path, THREAT))
        saved.append(saved_images(tmp_path, count))
        assert (tmp_path / "000000-000009.npz").exists()
    assert not (tmp_path / "000000-000003.npz").exists()  # the last evaluation has all of them
    assert results[0] == results[2]
    within = saved[0]["index"] < 4
    for name, values in saved[1].items():
        np.testing.assert_array_equal(values, saved[0][name][within])
        np.testing.assert_array_equal(saved[2][name], saved[0][name])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_images_in_half_precision_are_attacked_in_float32(examples, tmp_path, dtype):
    """FAB's images lie at the boundary, where they would be rounded back over it."""
    x = tf.cast(np.random.default_rng(0).random((60, 3)), dtype)
    y = tf.argmax(x, -1)
    batches = tf.data.Dataset.from_tensors((x, y))
    attacks = {
        "fab": TargetedFAB(epsilon=0.1, steps=5),
        "pgd": PGD(epsilon=0.1, step_size=0.05, steps=4),
    }
    linear = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])
    linear.set_weights([np.eye(3), np.zeros(3)])
    result = worst_case(linear, batches, attacks, tmp_path, THREAT)
    fooled = [attack["fooled"] for attack in result["attacks"]]
    assert fooled[0] > 10 > 2 > fooled[1]


@pytest.mark.parametrize("batch_size", [1, 7, 256])
def test_counts(examples, tmp_path, batch_size):
    sizes = (0.005, 0.02, 0.01)
    attacks = {f"shift {size}": Shift(size) for size in sizes}
    batches = data.batches(examples, batch_size)
    result = worst_case(brightness, batches, attacks, tmp_path, THREAT)
    clean, first, second, _ = expected(examples, sizes)
    assert 0 < second < first < clean < 30  # else this test shows little
    assert result["test_examples"] == 30
    assert result["clean_accuracy"] == pytest.approx(100 * clean / 30)
    assert result["robust_accuracy"] == pytest.approx(100 * second / 30)
    rows = [(row["name"], row["fooled"]) for row in result["attacks"]]
    names = list(attacks)
    assert rows == [(names[0], clean - first), (names[1], first - second), (names[2], 0)]
    # Each attack sees only what those before left.
    assert [sum(attack._calls) for attack in attacks.values()] == [clean, first, second]
    assert result["recheck"]["images"] == 30 - second
    assert result["recheck"]["classified_correctly"] == 0


def test_images_are_saved(examples, tmp_path):
    batches = data.batches(examples, 8)
    attacks = {"small": Shift(0.005), "large": Shift(0.02)}
    worst_case(brightness, batches, attacks, tmp_path, THREAT)
    saved = saved_images(tmp_path)
    originals = (examples.images / np.float32(255))[saved["index"]]
    np.testing.assert_array_equal(saved["label"], examples.labels[saved["index"]])
    away = THREAT.distances(saved["image"], originals)
    size = {"clean": 0.0, "small": 0.005, "large": 0.02}
    np.testing.assert_allclose(away, [size[name] for name in saved["attack"]], atol=1e-6)
    assert set(saved["attack"]) == set(size)
    assert np.all(np.argmax(brightness(saved["image"]), -1) != saved["label"])


@pytest.mark.parametrize(("size", "what"), [(0.2, "outside_ball"), (5.0, "outside_pixels")])
def test_what_leaves_the_threat_model_does_not_count(examples, tmp_path, size, what):
    batches = data.batches(examples, 30)
    clean, _ = expected(examples, (size,))
    result = worst_case(brightness, batches, {"far": Shift(size)}, tmp_path, THREAT)
    assert result["robust_accuracy"] == result["clean_accuracy"] == pytest.approx(100 * clean / 30)
    assert result["recheck"][what] == clean
    assert result["recheck"]["largest_distance"] == 0  # of those that count
    assert set(saved_images(tmp_path)["attack"]) == {"clean"}


def test_the_next_attack_is_made_where_one_leaves_the_ball(examples, tmp_path):
    attacks = {"far": Shift(0.2), "near": Shift(0.02)}
    result = worst_case(brightness, data.batches(examples, 30), attacks, tmp_path, THREAT)
    clean, robust = expected(examples, (0.02,))
    assert [row["fooled"] for row in result["attacks"]] == [0, clean - robust]


def test_a_name_may_be_long(examples, tmp_path):
    name = "an attack of a name with more than twenty letters"
    batches = data.batches(examples, 30)
    result = worst_case(brightness, batches, {name: Shift(0.02)}, tmp_path, THREAT)
    assert result["attacks"][0]["fooled"] > 0
    for reserved in ("", "clean"):
        with pytest.raises(
            ValueError, match=rf"names other than 'clean'. Received: \['{reserved}'"
        ):
            worst_case(brightness, batches, {reserved: Shift(0.02)}, tmp_path, THREAT)


@pytest.mark.parametrize("epsilon", [0.25 / 255, 0.0005])
def test_small_balls(tmp_path, epsilon):
    """Rounding of bright pixels is not taken for a way out of the ball."""
    images = np.full((4, 4, 4, 1), 250, np.uint8)
    examples = data.Examples(images, np.ones(4, np.int32), 2)

    def network(x, training=False):
        return 1e5 * (brightness(x) - brightness(images[:1] / np.float32(255))) + [0.0, 1.0]

    attacks = {"pgd": PGD(epsilon=epsilon, step_size=epsilon, steps=2)}
    batches = data.batches(examples, 4)
    result = worst_case(network, batches, attacks, tmp_path, Threat(epsilon))
    assert (result["clean_accuracy"], result["robust_accuracy"]) == (100, 0)


def test_of_a_stochastic_network_what_fooled_it_once_counts(examples, tmp_path):
    """Its answer when the image is read back is another one."""
    calls = []

    def network(x, training=False):
        tf.py_function(lambda: calls.append(1), [], [])
        sign = tf.py_function(lambda: -1.0 if len(calls) == 2 else 1.0, [], tf.float32)
        return brightness(x) * tf.ensure_shape(sign, [])

    whole = data.batches(examples.take(9), 9)
    attacks = {"none": Shift(0.0)}
    result = worst_case(network, whole, attacks, tmp_path, THREAT, deterministic=False)
    assert result["attacks"][0]["fooled"] == result["recheck"]["classified_correctly"] > 0
    assert result["robust_accuracy"] == 0


def test_images_that_no_longer_fool_the_network_do_not_count(examples, tmp_path):
    batches = data.batches(examples, 30)
    attacks = {"shift": Shift(0.02)}
    first = worst_case(brightness, batches, attacks, tmp_path, THREAT)
    path = next(tmp_path.glob("*.npz"))
    with np.load(path) as file:
        arrays = dict(file)
    originals = examples.images[arrays["fooled_by"] != ""] / np.float32(255)
    np.savez(path, **{**arrays, "image": originals})  # as if the file had been tampered with
    again = worst_case(brightness, batches, attacks, tmp_path, THREAT)
    assert first["robust_accuracy"] < again["robust_accuracy"] == again["clean_accuracy"]
    assert again["recheck"]["classified_correctly"] == first["attacks"][0]["fooled"]


def test_goes_on_where_it_was_stopped(examples, tmp_path):
    batches = data.batches(examples, 7)
    whole = worst_case(brightness, batches, {"a": Shift(0.02)}, tmp_path / "1", THREAT)

    shown = []

    def stop(done):
        shown.append(done)
        if shown.count(14) == 2:
            raise KeyboardInterrupt

    attack = Shift(0.02)
    with pytest.raises(KeyboardInterrupt):
        worst_case(brightness, batches, {"a": attack}, tmp_path, THREAT, progress=stop)
    assert len(attack._calls) == 2
    assert shown == [7, 7, 14, 14]  # after the attack, and when the batch is written
    result = worst_case(brightness, batches, {"a": attack}, tmp_path, THREAT)
    assert len(attack._calls) == 5
    for one in (whole, result):
        del one["attacks"][0]["seconds"]
    assert result == whole
    # More images extend it.
    more = data.Examples(np.tile(examples.images, (2, 1, 1, 1)), np.tile(examples.labels, 2), 2)
    worst_case(brightness, data.batches(more, 7), {"a": attack}, tmp_path, THREAT)
    assert len(attack._calls) == 5 + 5  # the last batch, of 2 images, is made again, of 7
    assert len(np.unique(saved_images(tmp_path)["index"])) == len(saved_images(tmp_path)["index"])
    fewer = saved_images(tmp_path, 30)["index"]
    assert len(fewer) == whole["recheck"]["images"]
    assert fewer.max() < 30
    # Batches of another size take the place of those.
    worst_case(brightness, data.batches(more, 9), {"a": attack}, tmp_path, THREAT)
    assert len(list(tmp_path.glob("*.npz"))) == 7


def test_another_evaluation_is_refused(examples, tmp_path):
    batches = data.batches(examples, 30)
    arguments = (brightness, batches, {"a": Shift(0.02)}, tmp_path)
    worst_case(*arguments, THREAT, identity={"network": "1"})
    with pytest.raises(EvaluationError, match="evaluation of another network; remove it"):
        worst_case(*arguments, THREAT, identity={"network": "2"})
    with pytest.raises(EvaluationError, match="another epsilon, network"):
        worst_case(*arguments, Threat(0.2))
    (tmp_path / "evaluation.json").write_text("{")
    with pytest.raises(EvaluationError, match=r"evaluation\.json is damaged"):
        worst_case(*arguments, THREAT, identity={"network": "1"})


class Options:
    """An attack of some options."""

    def __init__(self, **options):
        vars(self).update(options)

    def __call__(self, network, x, y, *, seed):
        return x


FACTOR = 1.0


def read(network, x, y, *, seed):
    return FACTOR * x


def test_an_attack_of_other_options_is_another_evaluation(examples, tmp_path, monkeypatch):
    """Options of any of the types that an attack may have them of."""
    options = {
        "tuple": ((1, 2), (1, 3)),
        "list": ([1, 2.5], [1, 2]),
        "array": (np.arange(3.0), np.ones(3)),
        "integer": (np.int64(3), np.int64(4)),
        "float": (np.float32(0.5), np.float32(0.25)),
        "dict": ({"a": (1,)}, {"a": (2,)}),
        "functions": ((np.sum,), (np.mean,)),
        "paths": (pathlib.Path("a"), pathlib.Path("b")),
        "types": (tf.float16, tf.float32),
    }
    for name, pair in options.items():
        one, other = (described(Options(value=value)) for value in pair)
        assert json.loads(json.dumps(one)) == one != other, name
    first, last = FGSM(epsilon=0.1), FGSM(epsilon=0.2)
    made = [described(InTurn(*attacks)) for attacks in ((first, last), (first, first), (last,))]
    assert made[0] != made[1] != made[2] != made[0]
    assert json.loads(json.dumps(made)) == made
    assert described(FGSM(epsilon=0.1, norm=L2())) != described(first)

    def moved(network, x, y, *, seed, by=0.0):
        return x + by

    def around(by):
        return lambda network, x, y, *, seed: x + by

    def compiled(by):
        return tf.function(around(by))

    def held(by):
        return around(tf.constant([by] * 200))

    def of_class(method):
        return type("Own", (), {"__call__": method})()

    def source(seed):
        keras.utils.set_random_seed(seed)
        return keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])

    losses = (lambda logits, y: logits[:, 0]), (lambda logits, y: logits[:, 1])
    kept = (keras.losses.CategoricalCrossentropy(label_smoothing=by) for by in (0.0, 0.1))
    one = described(read)
    monkeypatch.setattr(sys.modules[__name__], "FACTOR", 2.0)
    assert described(read) != one
    for pair in (
        [functools.partial(moved, by=by) for by in (0.1, 0.2)],
        [around(0.1), around(0.2)],
        [moved, around(0.1)],
        [compiled(0.1), compiled(0.2)],
        [held(0.1), held(0.2)],
        [Options(by=tf.constant([by])) for by in (0.1, 0.2)],
        [Options(by=by).__call__ for by in (0.1, 0.2)],
        [of_class(read), of_class(moved)],
        [Transfer(first, source(seed)) for seed in (1, 2)],
        [PGD(epsilon=0.1, step_size=0.1, steps=1, loss=Options(by=by)) for by in (0.1, 0.2)],
        [PGD(epsilon=0.1, step_size=0.1, steps=1, loss=loss) for loss in kept],
        [PGD(epsilon=0.1, step_size=0.1, steps=1, loss=loss) for loss in losses],
    ):
        one, other = map(described, pair)
        assert json.loads(json.dumps(one)) == one == described(pair[0]) != other
    arguments = (brightness, data.batches(examples.take(5), 5))
    worst_case(*arguments, {"a": Options(value=(1, 2))}, tmp_path, THREAT)
    with pytest.raises(EvaluationError, match="another attacks"):
        worst_case(*arguments, {"a": Options(value=(1, 3))}, tmp_path, THREAT)


def test_damaged_and_foreign_files_are_named(examples, tmp_path):
    batches = data.batches(examples, 30)
    arguments = ({"a": Shift(0.02)}, tmp_path)
    worst_case(brightness, batches, *arguments, THREAT)
    for images, labels in (
        (examples.images, 1 - examples.labels),
        (examples.images[::-1].copy(), examples.labels),
    ):
        other = data.batches(data.Examples(images, labels, 2), 30)
        with pytest.raises(EvaluationError, match=r"or labels differ .* \(are they shuffled\?\)"):
            worst_case(brightness, other, *arguments, THREAT)
    path = next(tmp_path.glob("*.npz"))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(EvaluationError, match="is damaged; remove it"):
        worst_case(brightness, batches, *arguments, THREAT)
    with pytest.raises(EvaluationError, match="holds no evaluation"):
        saved_images(tmp_path / "missing")


def test_no_examples(tmp_path):
    with pytest.raises(ValueError, match="no examples"):
        worst_case(brightness, [], {}, tmp_path, THREAT)


def test_result_can_be_written_as_json(examples, tmp_path):
    batches = data.batches(examples, 30)
    result = worst_case(brightness, batches, {"a": Shift(0.02)}, tmp_path, THREAT)
    assert json.loads(json.dumps(result)) == result


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_the_same_for_all_batch_sizes(tmp_path, norm):
    """Attacks with random starts on a network that is not linear."""
    keras.utils.set_random_seed(2)
    stack = [keras.layers.Conv2D(5, 3, activation="relu"), keras.layers.Flatten()]
    network = keras.Sequential([keras.Input((6, 6, 1)), *stack, keras.layers.Dense(4)])
    images = np.random.default_rng(1).integers(0, 256, (16, 6, 6, 1), np.uint8)
    labels = np.argmax(network(images / np.float32(255)), -1).astype(np.int32)
    examples = data.Examples(images, labels, 4)
    epsilon, ball = (0.06, None) if norm == "Linf" else (0.25, L2())
    attacks = {
        "weak": PGD(epsilon=epsilon, step_size=epsilon / 8, steps=1, restarts=2, norm=ball),
        "pgd": PGD(epsilon=epsilon, step_size=epsilon / 3, steps=8, restarts=2, norm=ball),
    }
    results = []
    for size in (1, 5, 256):
        result = worst_case(
            network,
            data.batches(examples, size),
            attacks,
            tmp_path / str(size),
            Threat(epsilon, norm, seed=3),
        )
        results.append([(row["name"], row["fooled"]) for row in result["attacks"]])
    assert results[0] == results[1] == results[2]
    assert all(fooled > 0 for _, fooled in results[0])
    assert sum(fooled for _, fooled in results[0]) < 16


def changed(change):
    """The logits of `brightness`, changed, of three classes."""

    def network(x, training=False):
        logits = 20 * brightness(x)
        return change(tf.concat([logits, tf.reduce_mean(logits, -1, keepdims=True) - 0.5], -1))

    return network


@pytest.mark.parametrize(
    "change",
    [
        lambda z: z,
        lambda z: 1e-6 * z,
        lambda z: 1e-30 * z,
        lambda z: z + 1e5,
        tf.round,
        lambda z: 0 * z,
        lambda z: tf.nn.relu(z - 0.5),
        lambda z: tf.cast(z, tf.bfloat16),
    ],
    ids=["sound", "1e-6", "1e-30", "+1e5", "rounded", "all equal", "ReLU", "bfloat16"],
)
def test_no_logits_pass_for_robust(examples, tmp_path, change):
    """Right is whose logit is strictly ahead, counted in NumPy: a tie is not."""
    network, sizes = changed(change), (0.005, 0.02)
    attacks = {str(size): Shift(size) for size in sizes}
    batches = data.batches(examples, 30)
    result = worst_case(network, batches, attacks, tmp_path, THREAT)
    x = examples.images / np.float32(255)
    sign = (1 - 2 * examples.labels)[:, None, None, None].astype(np.float32)
    robust = np.ones(30, bool)
    for size in (0, *sizes):
        logits = np.asarray(network(x + size * sign), np.float64)
        own = logits[np.arange(30), examples.labels]
        logits[np.arange(30), examples.labels] = -np.inf
        robust &= own > logits.max(-1)
        if not size:
            assert result["clean_accuracy"] == pytest.approx(100 * np.mean(robust))
    assert result["robust_accuracy"] == pytest.approx(100 * np.mean(robust))
    assert result["recheck"]["classified_correctly"] == 0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_no_numbers_are_an_error(examples, tmp_path, value):
    def network(x, training=False):
        bad = tf.reduce_mean(x, [1, 2, 3]) > 0.5
        return tf.where(bad[:, None], np.float32(value), brightness(x))

    count = int(np.sum((examples.images / 255).mean((1, 2, 3)) > 0.5))
    with pytest.raises(LogitsError, match=f"NaN or infinite for {count} of 30 images"):
        worst_case(network, data.batches(examples, 30), {"a": Shift(0.0)}, tmp_path, THREAT)


def test_what_rounding_may_flip_counts_against_the_network(examples, tmp_path):
    """A lead of a millionth of the spread is right without an attack, and lost under any."""

    def network(x, training=False):
        zeros = tf.zeros_like(x[:, 0, 0, 0])
        return tf.stack([zeros + 1e-6, zeros, zeros - 1], -1)

    dark = data.Examples(examples.images, np.zeros(30, np.int32), 3)
    result = worst_case(network, data.batches(dark, 30), {"a": Shift(0.0)}, tmp_path, THREAT)
    assert (result["clean_accuracy"], result["robust_accuracy"]) == (100, 0)
    assert result["recheck"]["classified_correctly"] == 0


def test_parts_in_any_order_give_what_one_process_gives(examples, tmp_path):
    batches, attacks = data.batches(examples, 7), {"a": Shift(0.005), "b": Shift(0.02)}
    whole = worst_case(brightness, batches, attacks, tmp_path / "1", THREAT)
    arguments = (brightness, batches, attacks, tmp_path / "3", THREAT)
    assert worst_case(*arguments, part=(3, 3)) is None
    assert worst_case(*arguments, part=(1, 3)) is None
    assert len(list((tmp_path / "3").glob("*.npz"))) == 3
    assert worst_case(*arguments, part=(1, 3)) is None  # once more
    for part in ((0, 3), (4, 3)):
        with pytest.raises(ValueError, match=r"argument `part`. Expected a pair \(k, n\)"):
            worst_case(*arguments, part=part)
    result = worst_case(*arguments, part=(2, 3))
    again = worst_case(*arguments)
    for one in (whole, result, again):
        for attack in one["attacks"]:
            del attack["seconds"]
    assert result == again == whole
    for path in (tmp_path / "1").glob("*.npz"):
        with np.load(path) as one, np.load(tmp_path / "3" / path.name) as other:
            for name in ("label", "fooled_by", "image", "left_out"):
                np.testing.assert_array_equal(one[name], other[name])


def test_labels_may_be_a_column_of_any_integers(examples, tmp_path):
    x = examples.images / np.float32(255)
    results = []
    for index, y in enumerate((examples.labels, np.uint8(examples.labels)[:, None])):
        batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(8)
        folder = tmp_path / str(index)
        results.append(worst_case(brightness, batches, {"a": Shift(0.02)}, folder, THREAT))
        del results[-1]["attacks"][0]["seconds"]
    assert results[0] == results[1]
    batches = tf.data.Dataset.from_tensor_slices((x, np.eye(2)[examples.labels])).batch(8)
    with pytest.raises(ValueError, match=r"not one-hot. Received: float64 of shape"):
        worst_case(brightness, batches, {"a": Shift(0.02)}, tmp_path / "2", THREAT)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (lambda x: x, lambda y: y + 1, r"labels of \d+ of 30 images are no classes"),
        (lambda x: x, lambda y: -y, r"labels of \d+ of 30 images are no classes"),
        (lambda x: 255 * x, None, r"must be floats in \[0, 1\]: they are float32 from \d"),
        (lambda x: np.uint8(255 * x), None, "they are uint8 from"),
        (
            lambda x: np.where(np.arange(30)[:, None, None, None] == 7, np.nan, x),
            lambda y: y,
            "nan",
        ),
    ],
    ids=["above", "below", "pixels", "integers", "NaN"],
)
def test_labels_and_pixels_that_make_no_sense(examples, tmp_path, x, y, message):
    """Of a network that drops NaN, too, as a max-pooling may."""

    def network(pixels, training=False):
        pixels = tf.cast(pixels, tf.float32)
        return brightness(tf.where(tf.math.is_nan(pixels), 0.0, pixels))

    x = x(examples.images / np.float32(255))
    y = y(examples.labels) if y else examples.labels
    batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(30)
    with pytest.raises(ValueError, match=message) as error:
        worst_case(network, batches, {"a": Shift(0.0)}, tmp_path, THREAT)
    assert "\n" not in str(error.value)
