"""Tests of anp_tf.data."""

import collections
import hashlib
import os
import shutil
import signal
import struct
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from absl import logging as absl_logging
from hypothesis import given, settings
from hypothesis import strategies as st

from anp_tf import data
from anp_tf.data import on_disk, packaged_mnist
from anp_tf.settings import Settings
from anp_tf.train.prepare import examples_of

SHARD = "mnist-test.tfrecord-00000-of-00001"


def numbered(n, num_classes=10):
    """Examples of which both the image and, modulo the classes, the label tell the number."""
    images = np.stack(np.divmod(np.arange(n), 256), axis=-1).astype(np.uint8)
    labels = (np.arange(n) % num_classes).astype(np.int32)
    return data.Examples(images.reshape(n, 1, 2, 1), labels, num_classes)


def numbers(images):
    """The inverse of `numbered`, for bytes or for pixels in [0, 1]."""
    if images.dtype == np.float32:
        images = np.rint(images * 255)
    return images.reshape(-1, 2).astype(int) @ [256, 1]


def first(count, dataset):
    return [numbers(pixels).tolist() for pixels, _ in dataset.take(count).as_numpy_iterator()]


# ---------------------------------------------------------------------------------------- MNIST


def test_packaged_mnist_is_the_original_bit_for_bit():
    arrays = packaged_mnist.arrays()
    # MD5 of the four files that LeCun and Cortes published, unpacked.
    for name, header, expected in [
        ("train_images", (2051, 60000, 28, 28), "6bbc9ace898e44ae57da46a324031adb"),
        ("train_labels", (2049, 60000), "a25bea736e30d166cdddb491f175f624"),
        ("test_images", (2051, 10000, 28, 28), "2646ac647ad5339dbf082846283269ea"),
        ("test_labels", (2049, 10000), "27ae3e4e09519cfbb04c329615203637"),
    ]:
        content = struct.pack(f">{len(header)}I", *header) + arrays[name].tobytes()
        assert hashlib.md5(content).hexdigest() == expected, name


def test_damaged_package_is_noticed_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(packaged_mnist, "_SHA256", "0" * 64)
    with pytest.raises(data.DataError, match=r"damaged: expected sha256 0{64}, got c8ca71"):
        data.load("mnist", "test", tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def mnist(data_dir):
    return {split: data.load("mnist", split) for split in ("train", "test")}


@pytest.mark.slow
@pytest.mark.parametrize(("split", "count"), [("train", 60000), ("test", 10000)])
def test_mnist(mnist, split, count):
    examples = mnist[split]
    assert len(examples) == count
    assert examples.images.shape == (count, 28, 28, 1)
    assert examples.image_shape == (28, 28, 1)
    assert (examples.images.dtype, examples.labels.dtype) == (np.uint8, np.int32)
    assert examples.num_classes == 10
    # TFDS's order, by which any result that it shuffles can be repeated.
    known = {"train": [4, 1, 0, 7, 8, 1, 2, 7, 1, 6], "test": [2, 0, 4, 8, 7, 6, 0, 6, 3, 1]}
    assert examples.labels[:10].tolist() == known[split]
    packed = packaged_mnist.arrays()
    assert np.array_equal(np.bincount(examples.labels), np.bincount(packed[f"{split}_labels"]))
    assert sorted(map(bytes, examples.images)) == sorted(map(bytes, packed[f"{split}_images"]))


PREPARE = """
import socket, sys
def no_network(*args, **kwargs):
    raise OSError("no network")
socket.socket.connect = socket.getaddrinfo = no_network
from anp_tf import data
from anp_tf.data import packaged_mnist
print("ready", flush=True)
sys.stdin.readline()
assert len(data.load("mnist", "test", sys.argv[1])) == 10000
"""
READ = """
import hashlib, sys
import tensorflow_datasets as tfds
for split in "train", "test":
    dataset = tfds.load("mnist", split=split, data_dir=sys.argv[1], download=False,
                        batch_size=10000, as_supervised=True)
    digest = hashlib.sha256()
    for images, labels in tfds.as_numpy(dataset):
        digest.update(images.tobytes() + labels.astype("int32").tobytes())
    print(split, digest.hexdigest())
assert "anp_tf" not in sys.modules
"""


def start(script, directory):
    return subprocess.Popen(
        [sys.executable, "-c", script, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


@pytest.mark.slow
def test_three_processes_prepare_at_once_one_is_killed_and_plain_tfds_reads_the_result(
    mnist, tmp_path
):
    def incomplete():
        return list(tmp_path.glob("mnist/incomplete.*"))

    killed, other = processes = [start(PREPARE, tmp_path) for _ in range(2)]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * 2
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    deadline = time.monotonic() + 60
    while len(incomplete()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    killed.kill()
    assert not (tmp_path / "mnist" / "3.0.1").exists()  # not even in part
    assert len(data.load("mnist", "test", tmp_path)) == 10000
    errors = other.communicate()[1]
    assert other.returncode == 0, errors
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert len(incomplete()) == 1  # what the killed one had written so far

    # `mnist` is another copy, written when nothing disturbed it.
    reader = start(READ, tmp_path)
    expected = []
    for split, examples in mnist.items():
        digest = hashlib.sha256()
        for i in range(0, len(examples), 10000):
            digest.update(examples.images[i : i + 10000].tobytes())
            digest.update(examples.labels[i : i + 10000].tobytes())
        expected.append(f"{split} {digest.hexdigest()}")
    output, errors = reader.communicate()
    assert output.splitlines() == expected, errors


def test_prepared_mnist(small_data_dir):
    """The first images, in an order of TFDS's own."""
    packed = packaged_mnist.arrays()
    for split, count in (("train", 400), ("test", 100)):
        examples = data.load("mnist", split, small_data_dir)
        assert examples.images.shape == (count, 28, 28, 1)
        assert (examples.images.dtype, examples.labels.dtype) == (np.uint8, np.int32)
        pairs, expected = (
            {bytes(image): int(label) for image, label in zip(images[:count], labels, strict=False)}
            for images, labels in (
                (examples.images, examples.labels),
                (packed[f"{split}_images"], packed[f"{split}_labels"]),
            )
        )
        assert pairs == expected
        assert list(pairs) != list(expected)


def test_loading_prints_and_logs_nothing(small_data_dir, capfd, caplog):
    before = absl_logging.get_verbosity()
    try:
        absl_logging.set_verbosity(absl_logging.INFO)
        data.load("mnist", "test", small_data_dir)
        assert absl_logging.get_verbosity() == absl_logging.INFO
    finally:
        absl_logging.set_verbosity(before)
    assert capfd.readouterr() == ("", "")
    assert not caplog.messages


# ------------------------------------------------------------------------------------ bad input


def overwrite(path, content):
    path.unlink()  # the file is a link to the good one
    path.write_bytes(content)


def truncate(directory):
    overwrite(directory / SHARD, (directory / SHARD).read_bytes()[:10_000])


def flip_a_bit(directory):
    content = bytearray((directory / SHARD).read_bytes())
    content[10_000] ^= 1
    overwrite(directory / SHARD, content)


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (truncate, "truncated record"),
        (flip_a_bit, "corrupted record"),
        (lambda d: overwrite(d / SHARD, b""), "contained only 0 elements"),
        (lambda d: (d / SHARD).unlink(), SHARD),
        (lambda d: overwrite(d / "dataset_info.json", b""), "ParseError"),
        (lambda d: overwrite(d / "dataset_info.json", b'{"name": "mn'), "ParseError"),
        (lambda d: overwrite(d / "dataset_info.json", b"\xff\xfe"), "decode"),
        (lambda d: (d / "dataset_info.json").unlink(), "dataset_info.json is missing"),
    ],
    ids=["truncated", "bit", "empty", "no-shard", "no-json", "half-json", "not-text", "no-info"],
)
def test_damaged_set(small_data_dir, tmp_path, damage, why):
    shutil.copytree(small_data_dir / "mnist", tmp_path / "mnist", copy_function=os.link)
    damage(tmp_path / "mnist" / "3.0.1")
    with pytest.raises(data.DataError) as caught:
        data.load("mnist", "test", tmp_path)
    message = str(caught.value)
    assert why in message
    assert str(tmp_path / "mnist") in message
    assert "delete" in message
    assert "run again" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("mnits", ["mnits", "mnist, cifar10, cifar100", "did you mean mnist"]),
        ("CIFAR100", ["CIFAR100", "did you mean cifar100"]),
        ("qqqqqq", ["qqqqqq", "mnist, cifar10, cifar100"]),
        ("", ["''", "cannot be opened"]),
        ("mnist/blue", ["mnist/blue", "blue not found"]),
        ("mnist:1.0.0", ["mnist:1.0.0", "only: 3.0.1"]),
        ("imdb_reviews", ["imdb_reviews", "not an image classification set", "text"]),
        ("imagenet2012", ["imagenet2012", "images of one size", "None"]),
    ],
)
def test_bad_name(small_data_dir, name, parts):
    with pytest.raises(data.DataError) as caught:
        data.load(name, "train", small_data_dir)
    message = str(caught.value)
    assert all(part in message for part in parts), message
    assert "\n" not in message
    assert len(message) < 600
    assert f"if {small_data_dir} is" not in message  # nobody is told to delete all data sets


def test_bad_split():
    with pytest.raises(
        data.DataError, match="split must be one of train, validation, test, got 'valid'"
    ):
        data.load("mnist", "valid")


def test_bad_directory(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(data.DataError, match=f"must be a directory, got a file: {file}"):
        data.load("mnist", "test", file)
    with pytest.raises(data.DataError, match="does not exist, nor does"):
        data.load("mnist", "test", tmp_path / "no" / "such")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "nor" / "this"))
    with pytest.raises(data.DataError, match=str(tmp_path / "nor" / "this")):
        data.load("mnist", "test")
    assert list(tmp_path.iterdir()) == [file]


def test_directory_that_cannot_be_written(tmp_path):
    (tmp_path / "mnist").write_text("in the way")
    with pytest.raises(data.DataError, match=r"could not be prepared in .*mnist/3.0.1: ") as caught:
        data.load("mnist", "test", tmp_path)
    assert "\n" not in str(caught.value)


# ----------------------------------------------------------------------------- other TFDS sets


OFFSETS = {"train": 0, "test": 10, "validation": 20}  # of the values of a part's images


class Toy(tfds.core.GeneratorBasedBuilder):
    """A set of six images, three of them to train on, with features of unusual names."""

    VERSION = tfds.core.Version("1.0.0")
    code_path = None
    shape = (3, 5, 3)
    dtype = np.uint8
    splits = "train", "test"

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "kind": tfds.features.ClassLabel(num_classes=2),
                    "species": tfds.features.ClassLabel(num_classes=7),
                    "picture": tfds.features.Image(shape=self.shape, dtype=self.dtype),
                }
            ),
            supervised_keys=("picture", "species"),
        )

    def _split_generators(self, _):
        return {split: self._generate_examples(split) for split in self.splits}

    def _generate_examples(self, split):
        for i in range(3):
            image = np.full((3, 5, 3), i + OFFSETS[split], np.uint8)
            yield i, {"kind": 0, "species": self.label(i), "picture": image}

    def label(self, i):
        return i + 4


class ToyVarying(Toy):
    shape = (None, None, 3)


class ToyDeep(Toy):
    dtype = np.uint16


class ToyOneSplit(Toy):
    splits = ("train", "validation")


class ToyThreeParts(Toy):
    splits = ("train", "validation", "test")


class ToyUnlabelled(Toy):
    def label(self, i):
        return -1


class ToyOffline(Toy):
    def _split_generators(self, _):
        raise ConnectionError("Max retries exceeded\nno route to host")


class ToyMany(Toy):
    def _generate_examples(self, split):
        for i in range(100):
            yield i, {"kind": 0, "species": i % 7, "picture": np.full((3, 5, 3), i, np.uint8)}


def test_several_files_are_read_in_the_order_of_tfds(tmp_path, monkeypatch):
    builder = ToyMany(data_dir=tmp_path)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(num_shards=3))
    assert len(list(builder.data_path.glob("*train*"))) == 3
    expected = [x["picture"][0, 0, 0] for x in tfds.as_numpy(builder.as_dataset(split="train"))]
    held = data.load(builder.data_path, "train")
    monkeypatch.setattr(on_disk, "HELD_BYTES", 0)
    lazy = data.load(builder.data_path, "train")
    assert isinstance(lazy.images, on_disk.OnDisk)
    assert not isinstance(held.images, on_disk.OnDisk)
    for examples in (held, lazy):
        assert np.array_equal(np.asarray(examples.pixels)[:, 0, 0, 0] * 255, expected)
        assert np.array_equal(examples.labels, np.array(expected) % 7)


def test_any_image_classification_set(tmp_path):
    directory = tmp_path / "new"  # created, since its parent is there
    for split, offset in ("train", 0), ("test", 10):
        examples = data.load("toy", split, directory)
        assert examples.num_classes == 7
        assert examples.image_shape == (3, 5, 3)
        order = np.argsort(examples.labels)
        assert examples.labels[order].tolist() == [4, 5, 6]
        assert examples.images[order, 2, 4, 1].tolist() == [offset, offset + 1, offset + 2]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("toy_varying", "must have images of one size, got .None, None, 3.: an image size"),
        ("toy_deep", "must have uint8 images .* got uint16"),
        ("toy_one_split", "has no split 'test', got train, validation"),
        ("toy_unlabelled", "labels must be in 0 to 6, got -1 to -1"),
        (
            "toy_offline",
            "toy_offline/1.0.0 could not be prepared in .* no route .*no network, copy",
        ),
    ],
)
def test_unsuitable_set(tmp_path, name, why):
    with pytest.raises(data.DataError, match=why) as caught:
        data.load(name, "test", tmp_path)
    assert "\n" not in str(caught.value)


def test_a_missing_test_part_is_told_before_training(tmp_path):
    for split in ("train", "validation"):
        with pytest.raises(data.DataError, match="has no split 'test', got train, validation"):
            data.load("toy_one_split", split, tmp_path)


@pytest.mark.parametrize("by_name", [True, False], ids=["name", "folder"])
def test_a_validation_part_is_used(tmp_path, by_name):
    builder = ToyThreeParts(data_dir=tmp_path)
    builder.download_and_prepare()
    name = "toy_three_parts" if by_name else str(builder.data_path)
    training, validation = examples_of(Settings(dataset=name, data_dir=str(tmp_path)))
    for examples, offset in (training, 0), (validation, 20):
        assert sorted(examples.images[:, 0, 0, 0]) == [offset, offset + 1, offset + 2]


# ------------------------------------------------------------------------------------- examples


@pytest.mark.parametrize(
    ("images", "labels", "why"),
    [
        (np.zeros((2, 4, 4, 1)), [0, 1], "images must be uint8 .* float64"),
        (np.full((2, 4), np.nan, np.float32), [0, 1], "must be in .0, 1., got nan to nan"),
        (np.full((2, 4), 1.5, np.float32), [0, 1], "must be in .0, 1., got 1.5 to 1.5"),
        (np.zeros((2, 4, 4), np.uint8), [0, 1], r"images must be uint8 .* \[2, 4, 4\]"),
        (np.zeros((2, 4, 4, 1), np.uint8), [0, 1, 1], r"labels must be int32 \[2\], .* \[3\]"),
        (np.zeros((2, 4, 4, 1), np.uint8), [0, 3], "labels must be in 0 to 2, got 0 to 3"),
        (np.zeros((2, 4, 4, 1), np.uint8), [-1, 2], "labels must be in 0 to 2, got -1 to 2"),
    ],
)
def test_bad_examples(images, labels, why):
    with pytest.raises(data.DataError, match=why):
        data.Examples(images, np.array(labels, np.int32), 3)
    with pytest.raises(data.DataError, match=r"labels must be int32 .* int64"):
        data.Examples(np.zeros((2, 4, 4, 1), np.uint8), np.zeros(2, np.int64), 3)


def test_take():
    examples = numbered(20)
    assert numbers(examples.take(3).images).tolist() == [0, 1, 2]
    assert examples.take(3).labels.tolist() == [0, 1, 2]
    assert len(examples.take(21)) == 20
    for n in 0, -1:
        with pytest.raises(data.DataError, match=f"n must be at least 1, got {n}"):
            examples.take(n)


@given(n=st.integers(2, 600), part=st.floats(0, 1), seed=st.integers(-(2**63), 2**63 - 1))
@settings(max_examples=25, deadline=None)
def test_split_validation_is_a_partition_and_depends_on_the_seed_only(n, part, seed):
    count = 1 + int(part * (n - 2))
    parts = data.split_validation(numbered(n), count, seed)
    chosen = [numbers(part.images) for part in parts]
    assert [len(part) for part in parts] == [n - count, count]
    assert sorted(np.concatenate(chosen)) == list(range(n))
    for part, indices in zip(parts, chosen, strict=True):
        assert (part.labels == indices % 10).all()
        assert (np.diff(indices) > 0).all()
    again = data.split_validation(numbered(n), count, seed)[1]
    assert (numbers(again.images) == chosen[1]).all()


def test_skip_leaves_what_take_takes():
    examples = numbered(7)
    assert numbers(examples.skip(3).images).tolist() == [3, 4, 5, 6]
    assert examples.skip(3).labels.tolist() == [3, 4, 5, 6]
    assert len(examples.skip(0)) == 7
    for n in (-1, 7):
        with pytest.raises(data.DataError, match=f"n must be in 0 to 6, got {n}"):
            examples.skip(n)


def test_split_validation_differs_by_seed_and_is_spread_out():
    splits = [numbers(data.split_validation(numbered(1000), 100, s)[1].images) for s in range(20)]
    assert len({tuple(split) for split in splits}) == 20
    assert 450 < np.mean(splits) < 550
    assert len(np.unique(splits)) > 800


@pytest.mark.parametrize("count", [-1, 0, 20, 21])
def test_split_validation_refuses(count):
    with pytest.raises(data.DataError, match=f"in 1 to 19 .there are 20 .*got {count}"):
        data.split_validation(numbered(20), count, 0)


# -------------------------------------------------------------------------------------- batches


@given(
    n=st.integers(1, 40),
    batch_size=st.integers(1, 40),
    start_step=st.integers(0, 60),
    seed=st.integers(-(2**63), 2**63 - 1),
)
@settings(max_examples=6, deadline=None)
def test_resumed_stream_equals_the_uninterrupted_one(n, batch_size, start_step, seed):
    batch_size = min(batch_size, n)
    whole = first(start_step + 10, data.training_batches(numbered(n), batch_size, seed))
    resumed = data.training_batches(numbered(n), batch_size, seed, start_step)
    assert first(10, resumed) == whole[start_step:]


@given(n=st.integers(1, 300), batch_size=st.integers(1, 300), seed=st.integers(0, 2**31))
@settings(max_examples=6, deadline=None)
def test_an_epoch_has_no_example_twice(n, batch_size, seed):
    batch_size = min(batch_size, n)
    steps = n // batch_size
    stream = first(3 * steps, data.training_batches(numbered(n), batch_size, seed))
    for epoch in range(3):
        seen = np.concatenate(stream[epoch * steps : (epoch + 1) * steps]).tolist()
        assert len(seen) == len(set(seen)) == steps * batch_size
        assert set(seen) <= set(range(n))


def test_every_epoch_and_every_seed_has_an_order_of_its_own():
    orders = set()
    for seed in range(4):
        orders |= set(map(tuple, first(4, data.training_batches(numbered(50), 50, seed))))
    assert len(orders) == 16
    assert all(sorted(order) == list(range(50)) for order in orders)


def test_dropped_examples_come_in_other_epochs():
    stream = first(20, data.training_batches(numbered(50), 40, seed=0))
    assert set(np.concatenate(stream)) == set(range(50))


def test_all_orders_are_equally_likely():
    stream = first(1800, data.training_batches(numbered(3), 3, seed=1))
    _, counts = np.unique(stream, axis=0, return_counts=True)
    assert len(counts) == 6
    assert np.sum((counts - 300) ** 2 / 300) < 20.5  # chi-squared, 5 degrees: p = 0.001


def test_training_batches_are_pixels_with_their_labels():
    examples = numbered(600, num_classes=7)
    dataset = data.training_batches(examples, 64, seed=3)
    assert dataset.element_spec == (
        tf.TensorSpec([64, 1, 2, 1], tf.float32),
        tf.TensorSpec([64], tf.int32),
    )
    for pixels, labels in dataset.take(9).as_numpy_iterator():
        indices = numbers(pixels)
        assert (labels == indices % 7).all()
        assert (pixels == examples.images[indices] / np.float32(255)).all()


@pytest.fixture(scope="module")
def coloured():
    rng = np.random.default_rng(5)
    images = rng.integers(1, 256, (6, 10, 12, 3), np.uint8)
    return data.Examples(images, np.arange(6, dtype=np.int32), 6)


def augmented(examples, steps, seed=0, start_step=0, augmentation="crop_flip", **options):
    stream = data.training_batches(examples, 3, seed, start_step, augmentation, **options)
    return list(stream.take(steps).as_numpy_iterator())


def views(image, most=4):
    """Every crop of the image with pixels of 0 around it, and its mirror image."""
    padded = np.pad(image / np.float32(255), [(most, most), (most, most), (0, 0)])
    places = range(2 * most + 1)
    crops = [padded[i : i + 10, j : j + 12] for i in places for j in places]
    return crops + [crop[:, ::-1] for crop in crops]


def test_augmented_images_are_crops_of_the_padded_image_and_mirrored(coloured):
    seen = collections.defaultdict(set)
    for pixels, labels in augmented(coloured, 150):
        assert pixels.shape == (3, 10, 12, 3)
        for image, label in zip(pixels, labels, strict=True):
            found = [
                k for k, view in enumerate(views(coloured.images[label])) if (view == image).all()
            ]
            assert len(found) == 1
            seen[label].update(found)
    every = np.array(sorted(set().union(*seen.values())))
    assert len(every) > 140  # of 162, after 450 draws: 152 are expected
    assert min(map(len, seen.values())) > 40
    assert np.mean([view >= 81 for views in seen.values() for view in views]) == pytest.approx(
        0.5, abs=0.1
    )


def test_alternating_flips_show_both_sides_in_two_epochs(coloured):
    sides = {label: [] for label in range(6)}
    for pixels, labels in augmented(coloured, 8, 1, augmentation="crop_alternate"):
        for image, label in zip(pixels, labels, strict=True):
            found = [(view == image).all() for view in views(coloured.images[label])]
            sides[label].append(found.index(True) >= 81)
    for first, *others in sides.values():  # an epoch has two steps
        assert others == [not first, first, not first]
    assert len({first for first, *_ in sides.values()}) == 2
    (later, _), *_ = augmented(coloured, 1, 1, 5, "crop_alternate")
    (_, _), (expected, _), *_ = augmented(coloured, 6, 1, augmentation="crop_alternate")[4:]
    np.testing.assert_array_equal(later, expected)


# Of 81 crops, after 450 draws, 80.7 are expected; of 9, after 120, all.
@pytest.mark.parametrize(("most", "steps", "least"), [(4, 150, 76), (1, 40, 9)])
def test_crops_alone_are_not_mirrored(coloured, most, steps, least):
    seen = set()
    for pixels, labels in augmented(coloured, steps, augmentation="crop", crop_pixels=most):
        for image, label in zip(pixels, labels, strict=True):
            crops = views(coloured.images[label], most)[: (2 * most + 1) ** 2]
            (found,) = (k for k, crop in enumerate(crops) if (crop == image).all())
            seen.add(found)
    assert len(seen) >= least


def test_an_augmented_stream_goes_on_where_it_stopped(coloured):
    whole = augmented(coloured, 7, seed=3)
    for start in (1, 4):
        for (pixels, labels), (expected, expected_labels) in zip(
            augmented(coloured, 7 - start, seed=3, start_step=start), whole[start:], strict=True
        ):
            np.testing.assert_array_equal(pixels, expected)
            np.testing.assert_array_equal(labels, expected_labels)
    assert not np.array_equal(augmented(coloured, 1, seed=4)[0][0], whole[0][0])


def test_a_stream_can_be_read_again_from_its_start():
    dataset = data.training_batches(numbered(50), 8, seed=0, start_step=5)
    assert first(9, dataset) == first(9, dataset)


def test_batches_are_in_order_and_leave_nothing_out():
    examples = numbered(600, num_classes=7)
    dataset = data.batches(examples, 256)
    assert dataset.cardinality() == 3
    pixels, labels = zip(*dataset.as_numpy_iterator(), strict=True)
    assert [len(batch) for batch in pixels] == [256, 256, 88]
    assert np.concatenate(pixels).dtype == np.float32
    assert (np.concatenate(pixels) == examples.images / np.float32(255)).all()
    assert (np.concatenate(labels) == examples.labels).all()


def test_pixels_span_zero_to_one():
    images = np.array([0, 255], np.uint8).reshape(2, 1, 1, 1)
    examples = data.Examples(images, np.zeros(2, np.int32), 2)
    for dataset in data.batches(examples, 2), data.training_batches(examples, 2, 0).take(1):
        assert sorted(next(dataset.as_numpy_iterator())[0].ravel()) == [0.0, 1.0]


def test_bad_batches():
    examples = numbered(10)
    with pytest.raises(data.DataError, match="at most the number of examples, 10, got 11"):
        data.training_batches(examples, 11, seed=0)
    with pytest.raises(data.DataError, match="batch_size must be at least 1, got 0"):
        data.training_batches(examples, 0, seed=0)
    with pytest.raises(
        data.DataError, match="one of none, crop, crop_flip, crop_alternate, got 'flip'"
    ):
        data.training_batches(examples, 2, seed=0, augmentation="flip")
    with pytest.raises(data.DataError, match="crop_pixels must be at least 1, got 0"):
        data.training_batches(examples, 2, seed=0, augmentation="crop", crop_pixels=0)
    with pytest.raises(data.DataError, match="start_step must be at least 0, got -1"):
        data.training_batches(examples, 2, seed=0, start_step=-1)
    with pytest.raises(data.DataError, match="batch_size must be at least 1, got 0"):
        data.batches(examples, 0)
    rows = data.from_arrays(np.zeros((4, 2)), [0, 1, 0, 1])
    with pytest.raises(data.DataError, match=r"must be 'none' for .* \[2\], .* got 'crop'"):
        data.training_batches(rows, 2, seed=0, augmentation="crop")
