"""The code of the pages on training and on data does what they say; the public names are listed."""

import pathlib
import re
import runpy
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

DOCS = pathlib.Path(__file__).parents[1] / "docs"


def blocks(page):
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where the blocks run, beside a folder of pictures of three classes."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name in ("bird", "cat", "frog"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(8):
            image = rng.integers(0, 256, (32, 32, 3), np.uint8)
            keras.utils.save_img(tmp_path / "pictures" / name / f"{number}.png", image, scale=False)
    return tmp_path


def run(block):
    """What a block of code defines, run as a script."""
    script = pathlib.Path("script.py")
    script.write_text(block)
    return runpy.run_path(str(script), run_name="example")


@pytest.mark.slow
def test_a_functional_network(folder, data_dir, capsys):
    found = run(blocks("training.md")[0])
    logs = found["history"].history
    assert {"top_3", "adversarial_top_3", "val_vulnerability"} <= logs.keys()
    assert "of" in capsys.readouterr().out
    small = keras.models.load_model(folder / "small.keras")
    assert small.output_shape == (None, 10)


@pytest.mark.slow
def test_a_network_of_keras_applications(folder):
    found = run(blocks("training.md")[1])
    assert found["names"] == ["bird", "cat", "frog"]
    served = tf.saved_model.load(str(folder / "served" / "1")).signatures["serving_default"]
    assert served(pixels=tf.zeros([1, 32, 32, 3]))["logits"].shape == (1, 3)


@pytest.mark.slow
def test_a_table(folder, capsys):
    found = run(blocks("training.md")[2])
    assert "height: " in capsys.readouterr().out
    raw = keras.models.load_model(folder / "people.keras")
    rows = found["rows"][:5].astype(np.float32)
    names, low, high = zip(*found["training"].columns, strict=True)
    scaled = (rows - np.array(low)) / (np.array(high) - np.array(low))
    assert names == ("height", "weight")
    np.testing.assert_allclose(raw(rows), found["network"](scaled.astype(np.float32)), atol=1e-4)


def test_arrays_as_data(folder, capsys):
    run(blocks("data.md")[0])
    assert capsys.readouterr().out == "(16, 8, 8, 3) <dtype: 'float32'> <dtype: 'int32'>\n"


def test_certificates(folder, capsys):
    first, second = blocks("certificates.md")[:2]
    found = run(f"{first}\n{second}")
    assert capsys.readouterr().out.startswith("tf.Tensor([ True]")
    assert found["model"].bound_loss.bound.weight == 0.1


def test_public_names_are_listed():
    """The page is what `python docs/api.py` writes."""
    assert runpy.run_path(str(DOCS / "api.py"))["page"]() == (DOCS / "api.md").read_text()


@pytest.mark.slow
def test_the_worked_example_on_a_folder(folder, data_dir):
    """On MNIST's first images, for an epoch; all else is as it stands there."""
    smaller = {
        'tfds.builder("cifar10")': f'tfds.builder("mnist", data_dir={str(data_dir)!r})',
        "train[:5000]": "train[:300]",
        "image, scale": "keras.ops.repeat(keras.ops.pad(image, [[2, 2], [2, 2], [0, 0]]), 3, -1), "
        "scale",
        "training, validation = data.split_validation(pictures, 400": "training, validation = "
        "data.split_validation(pictures, 40",
        "// 64, 20": "// 64, 2",
        "epochs=30": "epochs=1",
        "steps=20": "steps=2",
    }
    shutil.rmtree("pictures")
    for block in blocks("data.md")[1:]:
        for text, small in smaller.items():
            block = block.replace(text, small)
        found = run(block)
    served = tf.saved_model.load(str(folder / "served" / "1")).signatures["serving_default"]
    assert served(pixels=tf.zeros([1, 32, 32, 3]))["logits"].shape == (1, 10)
    assert found["small"].count_params() <= found["network"].count_params()
