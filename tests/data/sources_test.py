"""A user's own data: folders of images, NumPy files, tables, and TFDS sets of any features."""

import io
import struct
import tempfile
import time
import tracemalloc
import zipfile

import numpy as np
import PIL.Image
import pyarrow
import pyarrow.parquet
import pytest
import tensorflow_datasets as tfds
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anp_tf import data
from anp_tf.data import image_folder, npz_file, on_disk

RNG = np.random.default_rng(0)


def write_image(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(pixels).save(path, **options)


def shade(value, size=(4, 6), channels=3):
    pixels = np.full((*size, channels), value, np.uint8)
    return pixels[..., 0] if channels == 1 else pixels


@pytest.fixture
def folder(tmp_path):
    """Two classes of five images, whose shades are their numbers."""
    for index, name in enumerate(["cat", "dog"]):
        for number in range(5):
            write_image(tmp_path / "pets" / name / f"{number}.png", shade(10 * index + number))
    return tmp_path / "pets"


def shades(examples):
    return examples.images[:, 0, 0, 0].tolist()


# ------------------------------------------------------------------------------ folders of images


def test_a_folder_of_classes_is_divided_by_the_share(folder):
    train, test = (data.load(folder, split, test_share=0.4) for split in ("train", "test"))
    assert train.class_names == test.class_names == ("cat", "dog")
    assert train.images.shape == (6, 4, 6, 3)
    assert np.bincount(train.labels).tolist() == [3, 3]
    assert np.bincount(test.labels).tolist() == [2, 2]
    assert sorted(shades(train) + shades(test)) == [*range(5), *range(10, 15)]
    assert [s // 10 for s in shades(train)] == train.labels.tolist()
    assert data.load(folder, "validation") is None
    # A further class leaves the division of the others as it was.
    for number in range(5):
        write_image(folder / "cow" / f"{number}.png", shade(20 + number))
    again = data.load(folder, "test", test_share=0.4)
    assert set(shades(test)) < set(shades(again))
    assert again.class_names == ("cat", "cow", "dog")


def test_any_part_of_a_folder_has_images_of_all_classes(tmp_path, caplog):
    for part, count in [("train", 40), ("test", 12)]:
        for label, name in enumerate("abc"):
            for number in range(count):
                path = tmp_path / "set" / part / name / f"{name} {number}.png"
                write_image(path, shade(80 * label + number))
    for part, count in [("train", 40), ("test", 12)]:
        examples = data.load(tmp_path / "set", part)
        assert np.bincount(examples.labels).tolist() == [count] * 3
        assert set(examples.take(12).labels.tolist()) == {0, 1, 2}
        assert [value // 80 for value in shades(examples)] == examples.labels.tolist()
    assert not caplog.text


def test_parts_of_a_set_in_the_order_of_its_classes_are_told(caplog):
    examples = data.from_arrays(np.zeros((90, 2, 2), np.uint8), np.arange(90) // 30)
    examples.take(61), examples.take(2), examples.take(31)
    assert not caplog.text
    examples.take(20)
    assert "the first 20 of 90 examples are of 1 of the 3 classes" in caplog.text


def test_a_folder_of_parts(tmp_path):
    for part, value in [("train", 1), ("validation", 2), ("test", 3)]:
        for index, name in enumerate("ab"):
            write_image(tmp_path / part / name / "x.bmp", shade(10 * index + value))
    for part, value in [("train", 1), ("validation", 2), ("test", 3)]:
        examples = data.load(tmp_path, part)
        assert shades(examples) == [value, 10 + value]
        assert examples.labels.tolist() == [0, 1]


@pytest.mark.parametrize("kind", ["png", "jpg", "jpeg", "bmp", "gif", "PNG"])
def test_formats(tmp_path, kind):
    for name, value in [("a", 40), ("b", 200)]:
        for number in range(2):
            write_image(tmp_path / name / f"{number}.{kind}", shade(value, channels=1))
    examples = data.load(tmp_path, "train", test_share=0.5)
    channels = 3 if kind == "gif" else 1  # whose pixels are entries of a palette of colours
    assert examples.images.shape == (2, 4, 6, channels)
    assert shades(examples) == pytest.approx([40, 200], abs=1)


def test_images_of_several_sizes_are_resized(tmp_path):
    for number, size in enumerate([(4, 6), (8, 8), (12, 3)]):
        write_image(tmp_path / "a" / f"{number}.png", shade(50, size))
        write_image(tmp_path / "b" / f"{number}.png", shade(90, size))
    with pytest.raises(
        data.DataError, match=r"several sizes.* \d+ x \d and .* \d+ x \d: an image size"
    ):
        data.load(tmp_path, "train")
    examples = data.load(tmp_path, "train", image_size=(5, 7), test_share=0.3)
    assert examples.images.shape == (4, 5, 7, 3)
    assert sorted(shades(examples)) == [50, 50, 90, 90]


def test_wrong_folders(tmp_path, folder, caplog):
    cases = [
        (tmp_path / "none", "there is no data set at"),
        (folder / "cat", "has no folders: expected one for each class"),
    ]
    (tmp_path / "half" / "train" / "a").mkdir(parents=True)
    cases.append((tmp_path / "half", "folder train and no folder test"))
    write_image(tmp_path / "empty" / "a" / "1.png", shade(1))
    (tmp_path / "empty" / "b").mkdir()
    cases.append((tmp_path / "empty", "class 'b' has no image"))
    write_image(tmp_path / "few" / "a" / "1.png", shade(1))
    cases.append((tmp_path / "few", "class 'a' has 1 images"))
    for part, name in [("train", "a"), ("test", "b")]:
        write_image(tmp_path / "other" / part / name / "1.png", shade(1))
    cases.append((tmp_path / "other", "no training image of class 'b' of test"))
    for name in ("val", "valid"):
        for part in ("train", name, "test"):
            write_image(tmp_path / f"with {name}" / part / "a" / "1.png", shade(1))
        cases.append((tmp_path / f"with {name}", f"has a folder {name} .* name it validation"))
    deep = PIL.Image.fromarray(np.zeros((4, 6), np.uint16))
    (folder / "cat" / "deep.png").write_bytes(b"")
    deep.save(folder / "cat" / "deep.png")
    cases.append((folder, "deep.png has pixels of the kind I;16"))
    for path, message in cases:
        for split in ("train", "test"):
            with pytest.raises(data.DataError, match=message) as caught:
                data.load(path, split)
            assert "\n" not in str(caught.value)
    (folder / "cat" / "deep.png").unlink()
    (folder / "cat" / "notes.txt").write_text("not an image")
    data.load(folder, "test")
    assert "1 files are no images and left out" in caplog.text


def damaged_png(content):
    return content[: len(content) // 2]


def huge_header(content):
    """Claims 60,000 x 60,000 pixels."""
    header = content[12:16] + struct.pack(">II", 60_000, 60_000) + content[24:29]
    import zlib

    return content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]


@pytest.mark.parametrize("damage", [damaged_png, huge_header, lambda content: b""])
def test_damaged_image(folder, damage):
    path = folder / "dog" / "3.png"
    path.write_bytes(damage(path.read_bytes()))
    split = "train" if "3.png" in str(image_folder._parts(folder, 0.2)["train"]) else "test"
    with pytest.raises(data.DataError, match=r"3\.png") as caught:
        data.load(folder, split)
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------------------------ NumPy files


def arrays(**changes):
    x = RNG.integers(0, 256, (6, 4, 5, 3)).astype(np.uint8)
    y = np.array([0, 1, 2, 0, 1, 2])
    return {"x_train": x, "y_train": y, "x_test": x[:3], "y_test": y[:3], **changes}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(tmp_path, save):
    held = arrays()
    save(tmp_path / "set.npz", **held)
    train, test = (data.load(tmp_path / "set.npz", split) for split in ("train", "test"))
    assert np.array_equal(train.images, held["x_train"])
    assert train.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert (len(test), test.class_names) == (3, ("0", "1", "2"))


def test_kinds_of_arrays(tmp_path):
    path = tmp_path / "set.npz"
    floats = RNG.random((6, 4, 5)).astype(np.float64)
    names = np.array(["x", "y", "z"] * 2)
    np.savez(
        path, **arrays(x_train=floats, x_test=floats[:3], y_train=names[:, None], y_test=names[:3])
    )
    train = data.load(str(path), "train")
    assert train.images.shape == (6, 4, 5, 1)
    assert train.images.dtype == np.float32
    assert train.class_names == ("x", "y", "z")
    (x, y), *_ = data.batches(train, 6)
    assert np.allclose(x[..., 0], floats)
    assert y.numpy().tolist() == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": np.full((6, 4), np.nan)}, "24 values are NaN or infinite"),
        ({"x_train": np.full((6, 4), 7.0)}, "expected uint8, or floats in .* from 7 to 7"),
        ({"x_train": np.ones((6, 4, 5, 1), np.uint8)}, "taken as of 0 to 255, got uint8 of 0 and"),
        ({"x_train": np.zeros((6, 4, 5, 1), complex)}, "got complex128"),
        ({"x_train": np.float32(1)}, r"expected images .*, got \(\)"),
        ({"x_train": np.zeros((6, 0, 3))}, r"expected images .*, got \(6, 0, 3\)"),
        (
            {"x_test": np.zeros((3, 4, 6, 1), np.uint8)},
            r"got \[4, 5, 3\] in x_train and \[4, 6, 1",
        ),
        ({"x_test": np.full((3, 4, 5, 3), np.nan)}, "x_test: 180 values are NaN or infinite"),
        ({"x_test": np.full((3, 4, 5, 3), 1.5, order="F")}, "x_test: .* in .* from 1.5 to 1.5"),
        ({"x_train": np.zeros((5, 4, 5, 3), np.uint8)}, "5 images x_train and 6 labels"),
        ({"y_train": np.eye(6)}, r"shape \[6, 6\].*not one-hot"),
        ({"y_train": np.linspace(0, 1, 6)}, "expected integers or names, got float64"),
        ({"y_train": np.array([0, 1, 3] * 2)}, "class 2 of 4 has no training example"),
        ({"y_train": np.array([0, 1, -1] * 2)}, "labels must be 0 or more, got -1"),
        ({"y_test": np.array([0, 1, 9])}, "class 3 of 10 has no training example"),
        ({"y_train": np.array([{}] * 6)}, "Python objects, which are not loaded"),
        ({"y_train": np.array(list("abcabc")), "y_test": np.array(list("abd"))}, "class 'd' of"),
        (
            {"y_train": np.array([b"a", b"b", b"\xff"] * 2)},
            r"set\.npz: labels of train: expected names in UTF-8, got b'\\xff'",
        ),
    ],
)
def test_wrong_arrays(tmp_path, changes, message):
    np.savez(tmp_path / "set.npz", **arrays(**changes))
    with pytest.raises(data.DataError, match=message) as caught:
        data.load(tmp_path / "set.npz", "train")
    assert "\n" not in str(caught.value)


def test_arrays():
    held = arrays()
    examples = data.from_arrays(held["x_train"], held["y_train"].astype("int64"), ["a", "b", "c"])
    assert np.array_equal(examples.images, held["x_train"])
    assert (examples.labels.dtype, examples.class_names) == (np.int32, ("a", "b", "c"))
    bits = data.from_arrays(np.eye(4, dtype=bool), np.array(["no", "yes"] * 2))
    assert np.array_equal(bits.images, np.eye(4))
    assert bits.class_names == ("no", "yes")
    rows = data.from_arrays(np.array([[0, 255], [51, 102]]), [0, 1])
    np.testing.assert_allclose(rows.images, [[0, 1], [0.2, 0.4]])
    for changes, message in [
        ({"y": [0, 1]}, "x has 6 examples and y 2 labels"),
        ({"class_names": ["a"]}, "class_names has 1 names, and y 3 classes"),
        ({"x": held["x_train"] * 1.0}, r"x: expected uint8, or floats in \[0, 1\], got float64"),
    ]:
        with pytest.raises(data.DataError, match=message):
            data.from_arrays(**{"x": held["x_train"], "y": held["y_train"], **changes})


def test_npz_without_a_part(tmp_path):
    np.savez(tmp_path / "set.npz", x_train=np.zeros((2, 3)), y_train=np.zeros(2, int))
    with pytest.raises(data.DataError, match=r"no array x_test: .* got x_train, y_train"):
        data.load(tmp_path / "set.npz", "train")


def test_a_declared_size_takes_no_memory(tmp_path):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": "|u1", "fortran_order": False, "shape": (10**13,)}
    )
    np.savez(tmp_path / "set.npz", **{k: v for k, v in arrays().items() if k != "x_train"})
    with zipfile.ZipFile(tmp_path / "set.npz", "a") as archive:
        archive.writestr("x_train.npy", file.getvalue())
    with pytest.raises(data.DataError, match="0 bytes, 10000000000000 are needed"):
        data.load(tmp_path / "set.npz", "train")


# ----------------------------------------------------------------------------------------- tables


def table(n=40):
    return {
        "age": RNG.integers(20, 60, n).astype(np.float64),
        "height": RNG.normal(170, 10, n),
        "same": np.full(n, 3),
        "label": np.array(["no", "yes"])[np.arange(n) % 2],
    }


def write_table(path, columns):
    whole = pyarrow.table(columns)
    if path.suffix == ".csv":
        pyarrow.csv.write_csv(whole, path)
    else:
        pyarrow.parquet.write_table(whole, path)
    return path


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_table(tmp_path, suffix):
    columns = table()
    path = write_table(tmp_path / f"people.{suffix}", columns)
    train, test = (data.load(path, split, test_share=0.25) for split in ("train", "test"))
    assert (len(train), len(test)) == (30, 10)
    assert train.class_names == ("no", "yes")
    assert np.bincount(test.labels).tolist() == [5, 5]
    assert [name for name, _, _ in train.columns] == ["age", "height", "same"]
    assert train.images.min(0).tolist() == [0, 0, 0]
    assert train.images.max(0).tolist() == [1, 1, 0]
    # By the ranges that are written down, the numbers are those of the file again.
    low, high = (np.array([column[i] for column in train.columns]) for i in (1, 2))
    rows = np.stack([columns[name] for name in ("age", "height", "same")], -1)
    ours = low + train.images * (high - low)
    distances = np.abs(ours[:, None] - rows[None]).max(-1).min(-1)
    assert distances.max() < 1e-4
    again = data.load(path, "test", test_share=0.25)
    assert np.array_equal(again.images, test.images)


def test_labels_of_a_table_may_be_whole_floats(tmp_path):
    path = write_table(tmp_path / "t.csv", {**table(), "label": np.arange(40) % 2.0})
    train = data.load(path, "train")
    assert (train.class_names, np.bincount(train.labels).tolist()) == (("0", "1"), [16, 16])


@pytest.mark.parametrize("kind", [pyarrow.large_string(), pyarrow.string_view()], ids=str)
def test_labels_of_a_table_may_be_any_text_of_arrow(tmp_path, kind):
    columns = table()
    names = pyarrow.array(columns["label"].tolist(), kind)
    try:
        path = write_table(tmp_path / "t.parquet", {**columns, "label": names})
    except pyarrow.ArrowNotImplementedError:
        pytest.skip(f"this PyArrow writes no {kind}")
    expected = data.load(write_table(tmp_path / "s.parquet", columns), "train")
    train = data.load(path, "train")
    assert train.class_names == ("no", "yes")
    assert np.array_equal(train.labels, expected.labels)


def test_options_that_a_set_has_no_use_for(tmp_path, folder):
    np.savez(tmp_path / "set.npz", **arrays())
    for path, option in [
        (tmp_path / "set.npz", {"image_size": (8, 8)}),
        (tmp_path / "set.npz", {"label_key": "y"}),
        (folder, {"label_key": "name"}),
        (folder, {"image_key": "image"}),
    ]:
        with pytest.raises(data.DataError, match=f"{next(iter(option))} is not for a set of this"):
            data.load(path, "train", **option)


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"label": None}, {}, "no column label or class or target or y"),
        ({}, {"label_key": "kind"}, "no column kind of labels, got age, height, same, label"),
        ({"age": np.r_[1.0, np.nan, np.ones(38)]}, {}, "'age' has 1 missing .* row 2"),
        ({"age": np.array(["?"] * 40)}, {}, "column 'age' must hold numbers"),
        ({"label": np.linspace(0, 1, 40)}, {}, "labels must hold integers or names"),
        ({"label": np.r_[np.nan, np.ones(39)]}, {}, "labels must hold integers or names"),
        (
            {"label": np.array(["x", "", "y", "y"] * 10)},
            {},
            "'label' of labels has no label in row 2",
        ),
        ({}, {"image_size": (2, 2)}, r"image_size is not for a set of this kind, got .*\(2, 2\)"),
        ({"label": np.arange(40)}, {}, "class 0 has 1 rows"),
    ],
)
def test_wrong_tables(tmp_path, changes, options, message):
    columns = {k: v for k, v in {**table(), **changes}.items() if v is not None}
    path = write_table(tmp_path / "people.csv", columns)
    with pytest.raises(data.DataError, match=message) as caught:
        data.load(path, "train", **options)
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------------------------- large sets


TFDS_FORMATS = "tfrecord", "array_record"


def written(kind, root):
    """The name of a set of this kind, of 200 images or rows, and its place.

    The first 20 are for testing.
    """
    rng = np.random.default_rng(1)
    x, y = rng.integers(0, 256, (200, 100, 100, 3)).astype(np.uint8), np.arange(200) % 2
    if kind == "folder":
        for number, pixels in enumerate(x):
            part = "test" if number < 20 else "train"
            write_image(root / "set" / part / "ab"[number % 2] / f"{number}.bmp", pixels)
        return root / "set", None
    if kind in ("npz", "packed npz", "npz by columns", "floats"):
        scale = np.float32(1 / 255) if kind == "floats" else np.uint8(1)
        save = np.savez_compressed if kind == "packed npz" else np.savez
        x = np.asarray(x * scale, order="F" if kind == "npz by columns" else "C")
        save(root / "set.npz", x_train=x[20:], y_train=y[20:], x_test=x[:20], y_test=y[:20])
        return root / "set.npz", None
    if kind in TFDS_FORMATS:
        parts = {"train": x[20:], "test": x[:20]}
        stored(root, shape=(100, 100, 3), pictures=parts, file_format=kind)
        return "mine", root
    columns = {f"c{i}": x[:, i, 0, 0] * 0.5 for i in range(50)}
    return write_table(root / f"set.{kind}", {**columns, "label": np.array(["a", "b"])[y]}), None


@pytest.mark.parametrize(
    "kind",
    [
        *("folder", "npz", "csv"),
        *(
            pytest.param(kind, marks=pytest.mark.slow)
            for kind in (
                *("packed npz", "npz by columns", "floats"),
                *("tfrecord", "parquet", "array_record"),
            )
        ),
    ],
)
def test_large_sets_are_read_from_disk_when_needed(tmp_path, monkeypatch, capfd, kind):
    name, where = written(kind, tmp_path)
    held, held_test = (data.load(name, part, where) for part in ("train", "test"))
    monkeypatch.setattr(on_disk, "HELD_BYTES", 0)
    monkeypatch.setattr(on_disk, "PART_BYTES", 2**14)
    monkeypatch.setattr(npz_file, "PART_BYTES", 2**14)
    monkeypatch.setattr(npz_file, "COLUMN_BYTES", 2**20)
    augmentation = "none" if held.columns else "crop_flip"
    next(iter(data.training_batches(data.load(name, "train", where), 9, 5, 0, augmentation)))
    tracemalloc.start()
    lazy = data.load(name, "train", where)
    for _ in data.training_batches(lazy, 9, seed=5, augmentation=augmentation).take(20):
        pass
    most = tracemalloc.get_traced_memory()[1]  # without TensorFlow's memory
    tracemalloc.stop()
    assert isinstance(lazy.images, on_disk.OnDisk)
    if not held.columns:
        assert most < held.images.nbytes / 2
    assert (lazy.class_names, lazy.columns) == (held.class_names, held.columns)
    assert np.array_equal(lazy.pixels, held.pixels)
    assert np.array_equal(data.load(name, "test", where).pixels, held_test.pixels)
    parts = [data.split_validation(examples, 60, seed=1) for examples in (lazy, held)]
    for ours, theirs in zip(*parts, strict=True):
        for (x, y), (other_x, other_y) in zip(
            data.training_batches(ours, 20, 5, start_step=1, augmentation=augmentation).take(5),
            data.training_batches(theirs, 20, 5, start_step=1, augmentation=augmentation).take(5),
            strict=True,
        ):
            assert x.shape == other_x.shape
            assert np.array_equal(x, other_x)
            assert np.array_equal(y, other_y)


def test_no_room_to_unpack_a_large_set_is_one_line(tmp_path, monkeypatch):
    name, _ = written("packed npz", tmp_path)
    monkeypatch.setattr(on_disk, "HELD_BYTES", 0)
    message = r"0\.0 GB, to unpack a set in .*No space left"
    with open("/dev/full", "wb", buffering=0) as full:
        monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: full)
        with pytest.raises(data.DataError, match=message):
            data.load(name, "train")


# ---------------------------------------------------------------------------------------- fuzzing


@settings(max_examples=60, suppress_health_check=list(HealthCheck), deadline=None)
@given(
    suffix=st.sampled_from([".png", ".jpg", ".gif", ".bmp", ".npz", ".csv", ".parquet"]),
    cut=st.floats(0, 1),
    changed=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=4),
    noise=st.binary(max_size=64),
    held=st.sampled_from([0, 2**31]),
)
def test_any_content_is_data_or_one_line(tmp_path_factory, suffix, cut, changed, noise, held):
    root = tmp_path_factory.mktemp("fuzz")
    image = suffix in (".png", ".jpg", ".gif", ".bmp")
    path = root / f"file{suffix}"
    if image:
        for number in range(2):
            for name in "ab":
                write_image(root / name / f"{number}{suffix}", shade(9))
        path = root / "a" / f"0{suffix}"
    elif suffix == ".npz":
        np.savez(path, **arrays())
    else:
        write_table(path, table())
    share = {} if suffix == ".npz" else {"test_share": 0.5}
    content = bytearray(path.read_bytes())
    for place, value in changed:
        content[int(place * (len(content) - 1))] = value
    path.write_bytes(bytes(content[: int(cut * len(content))]) + noise)
    for split in ("train", "test"):
        message = ""
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(on_disk, "HELD_BYTES", held)
                examples = data.load(root if image else path, split, **share)
            assert np.isfinite(examples.pixels).all()
        except data.DataError as error:
            message = str(error)
        assert "\n" not in message
        assert len(message) < 600


# ----------------------------------------------------------------------------- TFDS sets of others


def stored(
    directory, names=("a", "b"), shape=(3, 5, 3), pictures=None, file_format="tfrecord", **more
):
    """A set that `store_as_tfds_dataset` wrote, without supervised keys, of 6 and 2 images."""
    kinds = {
        "picture": tfds.features.Image(shape=shape),
        "kind": tfds.features.ClassLabel(names=names),
        **more,
    }

    if pictures is None:
        shades = np.arange(6, dtype=np.uint8)[:, None, None, None] * np.ones((3, 5, 3), np.uint8)
        pictures = {"train": shades, "test": shades[:2]}

    def part(images):
        every = [{"picture": x, "kind": i % 2, "second": i % 3} for i, x in enumerate(images)]
        return enumerate({key: example[key] for key in kinds} for example in every)

    tfds.dataset_builders.store_as_tfds_dataset(
        name="mine",
        version="1.0.0",
        features=tfds.features.FeaturesDict(kinds),
        split_datasets={name: part(images) for name, images in pictures.items()},
        data_dir=directory,
        file_format=file_format,
        disable_shuffling=True,
    )


@pytest.mark.parametrize("file_format", [*TFDS_FORMATS, "parquet"])
def test_images_of_several_sizes_of_tfds(tmp_path, monkeypatch, capfd, file_format):
    """As ImageNet has them: kept as they are, and resized when they are read."""
    rng = np.random.default_rng(0)
    sizes = [(60, 40), (30, 90), (45, 45), (100, 20)]
    pictures = [np.full((*size, 3), 40 * i, np.uint8) for i, size in enumerate(sizes)]
    pictures += [rng.integers(0, 256, (*size, 3)).astype(np.uint8) for size in sizes]
    parts = {"train": pictures, "test": pictures[:2]}
    stored(tmp_path, shape=(None, None, 3), pictures=parts, file_format=file_format)
    with pytest.raises(
        data.DataError, match=r"must have images of one size, got \(None, None, 3\)"
    ):
        data.load("mine", "train", tmp_path)
    held = data.load("mine", "train", tmp_path, image_size=(32, 24))
    assert np.unique(held.images[:4].reshape(4, -1), axis=1).tolist() == [[0], [40], [80], [120]]
    for image, picture in zip(held.images[4:], pictures[4:], strict=True):
        expected = PIL.Image.fromarray(picture).resize((24, 32), PIL.Image.Resampling.BILINEAR)
        assert np.abs(image.astype(int) - np.asarray(expected)).mean() < 2
    monkeypatch.setattr(on_disk, "HELD_BYTES", 0)
    lazy = data.load("mine", "train", tmp_path, image_size=(32, 24))
    assert isinstance(lazy.images, on_disk.OnDisk)
    assert np.array_equal(lazy.images[[6, 0, 3]], held.images[[6, 0, 3]])
    batch, labels = next(iter(data.training_batches(lazy, 8, seed=0)))
    assert sorted(labels.numpy()) == [0] * 4 + [1] * 4
    order = [np.flatnonzero((held.pixels == image.numpy()).all((1, 2, 3)))[0] for image in batch]
    assert sorted(order) == list(range(8))


def test_a_set_without_supervised_keys(tmp_path, capfd):
    stored(tmp_path)
    for name, where in [("mine", tmp_path), (tmp_path / "mine" / "1.0.0", None)]:
        examples = data.load(name, "train", where)
        assert examples.class_names == ("a", "b")
        assert shades(examples) == list(range(6))
    resized = data.load("mine", "test", tmp_path, image_size=(2, 2))
    assert resized.images.shape == (2, 2, 2, 3)


def test_features_by_name(tmp_path, capfd):
    stored(tmp_path, second=tfds.features.ClassLabel(num_classes=3))
    with pytest.raises(data.DataError, match="got picture and None of the features"):
        data.load("mine", "train", tmp_path)
    examples = data.load("mine", "train", tmp_path, label_key="second")
    assert examples.labels.tolist() == [0, 1, 2, 0, 1, 2]
    with pytest.raises(data.DataError, match=r"label_key: expected one of the features .*picture"):
        data.load("mine", "train", tmp_path, label_key="label")
    with pytest.raises(data.DataError, match="got kind and second"):
        data.load("mine", "train", tmp_path, image_key="kind", label_key="second")


def test_a_set_that_no_server_gives_is_one_line_at_once(tmp_path, monkeypatch):
    def no_network(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr("socket.create_connection", no_network)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    began = time.monotonic()
    with pytest.raises(data.DataError, match=r"cifar10.* could not be prepared.* no network"):
        data.load("cifar10", "train", tmp_path)
    assert time.monotonic() - began < 20


def test_a_path_or_a_name(tmp_path, monkeypatch, folder):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mnist").mkdir()
    assert data.as_path("mnist") is None
    assert data.as_path("./mnist") is not None
    assert data.as_path("pets") is not None
    assert data.as_path("cifar10_corrupted/fog_3") is None
    assert data.as_path("missing.csv") is not None
    with pytest.raises(data.DataError, match="test_share must be in"):
        data.load(folder, "train", test_share=1)
