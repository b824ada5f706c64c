"""Tests of arrays as data: their kinds, their labels, and how far images are cropped."""

import numpy as np
import pytest

from anp_tf import data

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 6, 8, 3)).astype(np.uint8)


def test_names_are_numbered_by_class_names():
    for y in (["dog", "cat", "dog", "cat"], np.array([[b"dog"], [b"cat"], [b"dog"], [b"cat"]])):
        examples = data.from_arrays(IMAGES, y, class_names=["dog", "cat"])
        assert examples.class_names == ("dog", "cat")
        assert examples.labels.tolist() == [0, 1, 0, 1]
    part = data.from_arrays(IMAGES, ["dog", "dog", "cow", "dog"], ["dog", "cat", "cow"])
    assert part.labels.tolist() == [0, 0, 2, 0]
    assert part.num_classes == 3
    truth = data.from_arrays(IMAGES, [False, True, True, False], ["healthy", "ill"])
    assert truth.labels.tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["dog", "cow"], "y: expected one of class_names, dog, cow, got 'cat'"),
        (["dog", "cat", "dog"], "class_names must be different names, got dog, cat, dog"),
        ([], "class_names has 0 names, and y 2 classes"),
    ],
)
def test_class_names_that_do_not_fit_the_names(names, message):
    with pytest.raises(data.DataError, match=message):
        data.from_arrays(IMAGES, ["dog", "cat", "dog", "cat"], names)


@pytest.mark.parametrize("shape", [(4, 2, 6, 6, 3), (4,)])
def test_images_have_two_to_four_dimensions(shape):
    for dtype in (np.uint8, np.float32):
        with pytest.raises(data.DataError, match=r"x: expected images \[n, height, .*, got \(4,"):
            data.from_arrays(np.zeros(shape, dtype), [0, 1, 0, 1])


@pytest.mark.parametrize(
    ("array", "told"),
    [
        (IMAGES % 17, True),
        (IMAGES[..., 0] % np.int64(17), True),
        (IMAGES % 129, False),
        (IMAGES // np.float32(255), False),
    ],
    ids=["bytes", "integers", "dark", "floats"],
)
def test_integers_of_a_small_range_are_told(caplog, array, told):
    data.from_arrays(array, [0, 1, 0, 1])
    expected = "x: integers are taken as of 0 to 255, and the highest is 16"
    assert [expected in message for message in caplog.messages] == [True] * told


def test_crops_leave_something_of_an_image():
    examples = data.from_arrays(IMAGES, [0, 1, 0, 1])
    for most in (6, 1000):
        message = f"crop_pixels must be less than the images' shorter side, 6, got {most}"
        with pytest.raises(data.DataError, match=message):
            data.training_batches(examples, 2, 0, augmentation="crop", crop_pixels=most)
    data.training_batches(examples, 2, 0, augmentation="crop", crop_pixels=5)
    data.training_batches(examples, 2, 0, crop_pixels=1000)
