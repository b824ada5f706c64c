"""Tests of how image folders, NumPy files and tables are read, beyond those of `sources_test`."""

import os
import shutil
import warnings

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest

from anp_tf import data
from anp_tf.data import image_files

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (12, 4, 6, 3)).astype(np.uint8)


def write_images(directory, count=4, suffix=".png", **options):
    directory.mkdir(parents=True)
    for number in range(count):
        path = directory / f"{number}{suffix}"
        PIL.Image.fromarray(IMAGES[number]).save(path, **options)


@pytest.fixture
def folder(tmp_path):
    for name in ("cat", "dog"):
        write_images(tmp_path / "pets" / name)
    return tmp_path / "pets"


def write_arrays(path, **changes):
    y = np.arange(12) % 2
    whole = {"x_train": IMAGES, "y_train": y, "x_test": IMAGES[:4], "y_test": y[:4]}
    np.savez(path, **whole, **changes)
    return path


# ------------------------------------------------------------------------------- image folders


def test_reading_leaves_the_filters_of_warnings_alone(folder, monkeypatch):
    before, seen = list(warnings.filters), []
    opened = PIL.Image.open

    def watched(*arguments, **options):
        seen.append(warnings.filters == before)
        return opened(*arguments, **options)

    monkeypatch.setattr(PIL.Image, "open", watched)
    data.load(folder, "train", test_share=0.5)
    assert len(seen) == 12
    assert all(seen)


@pytest.mark.parametrize(
    ("most", "message"),
    [(11, r"Image size \(24 pixels\)"), (23, "has 6 x 4 pixels: expected at most 23")],
    ids=["error", "warning"],  # of Pillow
)
def test_more_pixels_than_pillow_allows(folder, monkeypatch, most, message):
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", most)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(data.DataError, match=message) as caught:
            data.load(folder, "train", test_share=0.5)
    assert str(folder) in str(caught.value)
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", None)
    data.load(folder, "train", test_share=0.5)


def with_orientation(value):
    exif = PIL.Image.Exif()
    exif[PIL.ExifTags.Base.Orientation] = value
    return exif


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_images_are_turned_upright(tmp_path, orientation, suffix):
    for name in "ab":
        write_images(tmp_path / "set" / name, 2, suffix, exif=with_orientation(orientation))
    (tmp_path / "set" / "a" / f"1{suffix}").unlink()
    shutil.copy(tmp_path / "set" / "a" / f"0{suffix}", tmp_path / "set" / "a" / f"1{suffix}")
    with PIL.Image.open(tmp_path / "set" / "a" / f"0{suffix}") as image:
        expected = np.asarray(PIL.ImageOps.exif_transpose(image))
    examples = data.load(tmp_path / "set", "train", test_share=0.5)
    assert examples.image_shape == ((6, 4, 3) if 5 <= orientation <= 8 else (4, 6, 3))
    (of_a,) = examples.images[examples.labels == 0]
    np.testing.assert_array_equal(of_a, expected)
    assert image_files.header(tmp_path / "set" / "a" / f"0{suffix}")[0] == expected.shape[:2]


def test_damaged_notes_of_a_camera_leave_an_image_as_it_is(tmp_path):
    for name in "ab":
        write_images(tmp_path / "set" / name, 2, ".jpg", exif=b"Exif\0\0not a TIFF header")
    assert data.load(tmp_path / "set", "train", test_share=0.5).image_shape == (4, 6, 3)


def test_names_that_are_not_utf_8(folder):
    image = (folder / "cat" / "0.png").read_bytes()
    path = os.fsdecode(os.fsencode(folder / "cat") + b"/\xff.png")
    with open(path, "wb") as file:
        file.write(image)
    parts = [data.load(folder, part, test_share=0.4) for part in ("train", "test")]
    assert sum(np.sum(part.labels == 0) for part in parts) == 5
    with open(path, "wb") as file:
        file.write(image[:40])
    with pytest.raises(data.DataError, match=r"cat/\udcff.png cannot be read as an image"):
        data.load(folder, "train", test_share=0.4)
    shutil.copytree(folder / "dog", os.fsdecode(os.fsencode(folder) + b"/\xfe"))
    with pytest.raises(data.DataError, match=r"pets: expected names .* in UTF-8, got '\\udcfe'"):
        data.load(folder, "train")


def test_a_class_that_is_named_train(folder):
    (folder / "cat").rename(folder / "train")
    with pytest.raises(data.DataError, match="no folder test: if train is a class, rename it;"):
        data.load(folder, "train")


# ---------------------------------------------------------------------------------- NumPy files


@pytest.mark.parametrize("split", ["train", "validation", "test"])
@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_images_and_labels_of_each_part_are_as_many(tmp_path, split, part):
    arrays = {}
    for name in ("train", "validation", "test"):
        arrays |= {f"x_{name}": IMAGES[:10], f"y_{name}": np.arange(10 - (name == part)) % 2}
    np.savez(tmp_path / "set.npz", **arrays)
    with pytest.raises(data.DataError, match=f"has 10 images x_{part} and 9 labels y_{part}"):
        data.load(tmp_path / "set.npz", split)


def test_a_validation_part_of_arrays(tmp_path):
    path = write_arrays(tmp_path / "set.npz")
    assert data.load(path, "validation") is None
    write_arrays(path, x_validation=IMAGES[4:7], y_validation=np.array([1, 1, 0]))
    validation = data.load(path, "validation")
    assert np.array_equal(validation.images, IMAGES[4:7])
    assert validation.labels.tolist() == [1, 1, 0]
    assert [len(data.load(path, part)) for part in ("train", "test")] == [12, 4]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_val": IMAGES, "y_val": np.zeros(12, int)}, "array x_val: name it x_validation"),
        ({"y_valid": np.zeros(12, int)}, "has an array y_valid: name it y_validation"),
        (
            {"x_validation": IMAGES},
            "no array y_validation: expected x_train, .*, y_validation, got",
        ),
        (
            {"x_validation": IMAGES[:, 1:], "y_validation": np.zeros(12, int)},
            r"got \[4, 6, 3\] in x_train and \[3, 6, 3\] in x_validation",
        ),
        (
            {"x_validation": np.full((2, 4, 6, 3), 2.0), "y_validation": np.zeros(2, int)},
            r"x_validation: expected uint8, .* from 2 to 2",
        ),
        (
            {"x_validation": IMAGES[:1], "y_validation": np.array([2])},
            "class 2 of 3 has no training example",
        ),
    ],
)
def test_wrong_validation_parts_are_told_before_training(tmp_path, changes, message):
    path = write_arrays(tmp_path / "set.npz", **changes)
    with pytest.raises(data.DataError, match=message):
        data.load(path, "train")


# --------------------------------------------------------------------------------------- tables


def write_table(path, header, rows):
    path.write_text("\n".join([header, *rows]))
    return path


def test_numbers_beyond_a_constant_column_are_clipped(tmp_path, caplog):
    path = tmp_path / "t.csv"
    for other in range(20):  # until that row is for testing
        rows = [f"{5.5 if n == other else 5},{n},{n % 2}" for n in range(20)]
        columns = data.load(write_table(path, "same,more,label", rows), "train").columns
        if columns[0] == ("same", 5.0, 5.0):
            break
    test = data.load(path, "test")
    assert test.columns[0] == ("same", 5.0, 5.0)
    assert test.images[:, 0].tolist() == [0] * 4
    assert "numbers are outside the range" in caplog.text


def test_columns_that_may_be_labels_are_told(tmp_path, caplog):
    rows = [f"{number},{number % 3},{number % 2}" for number in range(30)]
    path = write_table(tmp_path / "t.csv", "age,class,label", rows)
    train = data.load(path, "train")
    assert train.num_classes == 2
    assert [name for name, _, _ in train.columns] == ["age", "class"]
    (message,) = caplog.messages
    assert "'label' is taken for the labels, and 2 others for features, 'class' among" in message
    caplog.clear()
    assert data.load(path, "train", label_key="class").num_classes == 3
    write_table(path, "age,height,label", rows)
    data.load(path, "train")
    assert not caplog.messages


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "__index_level_0__"])
def test_a_column_without_a_name_is_no_feature(tmp_path, caplog, name):
    rows = [f"{number},{number % 7},{'ab'[number % 2]}" for number in range(30)]
    path = write_table(tmp_path / "t.csv", f"{name},age,label", rows)
    train = data.load(path, "train")
    assert [column for column, _, _ in train.columns] == ["age"]
    assert train.image_shape == (1,)
    (message,) = caplog.messages
    assert message.endswith(f"are left out: {name!r}")
    write_table(path, f"{name},label", [f"{number},{number % 2}" for number in range(30)])
    with pytest.raises(data.DataError, match=r"t\.csv has no column of numbers with a name"):
        data.load(path, "train")


# ------------------------------------------------------------------------------------ arguments


def test_a_share_is_for_sets_that_are_divided(tmp_path, folder, small_data_dir):
    for part in ("train", "test"):
        shutil.copytree(folder, tmp_path / "parts" / part)
    path = write_arrays(tmp_path / "set.npz")
    prepared = next((small_data_dir / "mnist").glob("3*"))
    for name in (path, tmp_path / "parts", "mnist", prepared):
        for split in ("train", "test"):
            with pytest.raises(data.DataError, match="test_share is for a set without a test part"):
                data.load(name, split, small_data_dir, test_share=0.3)
    assert len(data.load(path, "test", test_share=0.2)) == 4


@pytest.mark.parametrize("size", [(0, 4), (4, -1), (4,), (4, 4, 3), 4, (4.0, 4.0), "44"])
def test_an_image_size_is_two_positive_integers(folder, small_data_dir, size):
    for name in ("mnist", folder):
        with pytest.raises(data.DataError, match="image_size must be a height and a width, two"):
            data.load(name, "train", small_data_dir, image_size=size)


def test_an_image_size_of_numpy(folder):
    size = np.array([2, 3])
    assert data.load(folder, "train", image_size=size, test_share=0.5).image_shape == (2, 3, 3)
