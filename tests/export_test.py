"""The command `python -m anp_tf.export`, as processes."""

import pathlib
import re
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from anp_tf import layers  # noqa: F401 - registers the mask layers for loading


@pytest.fixture(scope="module")
def workdir(finished, tmp_path_factory):
    return shutil.copytree(finished.path / "anp_vs", tmp_path_factory.mktemp("export") / "a run")


@pytest.mark.slow
def test_versions(commands, workdir):
    outcome = commands.run("export", f"--workdir={workdir}", "--version=3")
    assert (outcome.code, outcome.err) == (0, "")
    path = workdir / "saved_model" / "3"
    assert outcome.out == (
        f"the slimmed network is in {path}; load it by tf.saved_model.load({str(path)!r})\n"
    )
    pixels = np.random.default_rng(0).random((4, 28, 28, 1), np.float32)
    signature = tf.saved_model.load(str(path)).signatures["serving_default"]
    network = keras.saving.load_model(workdir / "network.keras", compile=False)
    logits = signature(pixels=tf.constant(pixels))["logits"]
    np.testing.assert_allclose(logits, network(pixels), atol=1e-5)

    before = {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}
    outcome = commands.run("export", f"--workdir={workdir}", "--version=3")
    assert outcome.code == 2
    assert outcome.err == f"anp_tf.export: {path} exists already and is not overwritten\n"
    assert {p: p.read_bytes() for p in path.rglob("*") if p.is_file()} == before

    outcome = commands.run("export", f"--workdir={workdir}")
    assert outcome.code == 0, outcome.err
    names = {p.name for p in (workdir / "saved_model").iterdir()}
    configs = {"models.config", "batching.config"}
    assert names == {"3", "4", "README.md", "results.json", "labels.json", *configs}
    assert (path / "assets.extra" / "tf_serving_warmup_requests").is_file()
    assert 'name: "mnist_anp_vs"' in (workdir / "saved_model" / "models.config").read_text()


@pytest.mark.slow
def test_other_formats(commands, workdir, tmp_path):
    output = tmp_path / "out"
    flags = ["--format=litert,onnx", "--precision=float16", "--litert_examples=20"]
    outcome = commands.run("export", f"--workdir={workdir}", f"--output={output}", *flags)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == (
        f"the slimmed network is in {output}/1.float16.tflite\n"
        f"the slimmed network is in {output}/1.onnx\n"
    )
    outcome = commands.run("export", f"--workdir={workdir}", "--format=tflite")
    assert outcome.code == 2
    assert outcome.err == (
        "anp_tf.export: --format: expected one of saved_model, keras, litert, onnx, micro, "
        "received 'tflite'; did you mean litert?\n"
    )


@pytest.mark.parametrize("version", [0, -1])
def test_bad_version(commands, workdir, tmp_path, version):
    flags = [f"--workdir={workdir}", f"--output={tmp_path / 'out'}", f"--version={version}"]
    outcome = commands.run("export", *flags)
    assert outcome.code == 2
    assert len(outcome.err.splitlines()) == 1
    assert re.search(rf"--version: expected an integer of at least 1.* {version}$", outcome.err)
    assert not (tmp_path / "out").exists()


def test_output_that_is_a_file(commands, workdir, tmp_path):
    (tmp_path / "out").touch()
    outcome = commands.run("export", f"--workdir={workdir}", f"--output={tmp_path / 'out'}")
    assert outcome.code == 2
    assert len(outcome.err.splitlines()) == 1
    assert "--output: expected a folder, or a place for one" in outcome.err


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ("--name=a/b", "--name: expected letters, digits"),
        ("--precision=int8", "--precision: expected together with format litert"),
    ],
)
def test_what_would_have_no_effect_or_no_address(commands, workdir, flag, expected):
    outcome = commands.run("export", f"--workdir={workdir}", flag)
    assert outcome.code == 2
    assert expected in outcome.err


SHIPPED = pathlib.Path(__file__).parents[1] / "saved_models" / "mnist_cpu" / "anp_vs"


@pytest.mark.slow
def test_the_shipped_network_fits_a_microcontroller(commands, tmp_path):
    folder = shutil.copytree(SHIPPED, tmp_path / "anp_vs", ignore=lambda *_: ["1.micro"])
    start = "# A network\n\n| column |\n|---|\n| a |\n\n| file |\n|---|\n| `1` |\n"
    end = "\nTrained by\n\n```sh\npython -m anp_tf.train \\\n  --dataset=mnist\n```\n"
    (folder / "README.md").write_text(start + end)
    flags = [f"--model={folder}", "--format=micro"]
    outcome = commands.run("export", *flags)
    assert (outcome.code, outcome.out) == (
        0,
        f"the slimmed network is in {folder / '1.micro'}\n",
    ), outcome.err
    header = (folder / "1.micro" / "network.h").read_text()
    arena = int(re.search(r"an arena of ([\d,]+) bytes", header)[1].replace(",", ""))
    assert (folder / "1.micro" / "network.tflite").stat().st_size <= 24 * 1024
    assert arena <= 16 * 1024
    shipped = (SHIPPED / "1.micro" / "network.h").read_text()
    assert re.findall("Add.*", header) == re.findall("Add.*", shipped)
    card = (folder / "README.md").read_text()
    assert card.startswith(f"{start}| `1.micro` | 18,5")
    assert card.endswith(f" --format=micro`.\n{end}")
    outcome = commands.run("export", *flags)
    assert outcome.code == 2
    assert "exists already" in outcome.err


def test_a_model_is_for_microcontrollers(commands):
    outcome = commands.run("export", f"--model={SHIPPED}")
    assert outcome.code == 2
    assert outcome.err == (
        "anp_tf.export: --model goes with --format=micro or --format=card, received "
        "--format=saved_model\n"
    )


@pytest.mark.parametrize(
    ("format", "flag"),
    [("card", "--workdir=."), ("card", "--data_dir=."), ("micro", "--output=out")],
)
def test_what_has_no_effect_on_a_model_is_refused(commands, format, flag):
    outcome = commands.run("export", f"--model={SHIPPED}", f"--format={format}", flag)
    assert (outcome.code, len(outcome.err.splitlines())) == (2, 1), outcome.err
    assert f"{flag.partition('=')[0]}: expected in the export of a run" in outcome.err
