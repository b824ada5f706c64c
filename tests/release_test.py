"""Model cards and what is released with them."""

import json
import re
import shlex
import shutil
import sys

import keras
import numpy as np
import onnxruntime
import pytest
import tensorflow as tf

import anp_tf
from anp_tf import data, layers
from anp_tf.evaluate.row import evaluation_attack
from anp_tf.export.beside import OTHERS, VERDICTS, check_own
from anp_tf.export.card import ReleasedFile, model_card
from anp_tf.export.release import FORMAT_PACKAGES, ReleaseForm, release
from anp_tf.export.written_card import renew_card
from anp_tf.intervals import with_interval
from anp_tf.robustness import Robustness, digest, evaluate_robustness
from anp_tf.serving import litert_network
from anp_tf.settings import Settings
from anp_tf.workdir import Workdir


def test_release(finished, tmp_path):
    workdir = Workdir(shutil.copytree(finished.path / "anp_vs", tmp_path / "run"))
    (path,) = release(workdir, tmp_path / "served")
    assert path == tmp_path / "served" / "1"
    assert (path / "saved_model.pb").is_file()
    row = json.loads((tmp_path / "served" / "results.json").read_text())
    assert row == workdir.load_results()
    card = (tmp_path / "served" / "README.md").read_text()
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    assert f"| `1` | {size:,} |  |  |" in card
    lines = [line for line in card.splitlines() if line.startswith("| ") and line.count("|") == 3]
    lines.remove("| | |")
    figures = dict(line.strip("| ").split(" | ") for line in lines)
    assert figures["clean accuracy, %"] == with_interval(row["clean_accuracy"], 50)
    assert figures["units pruned, %"] == f"{row['sparsity_percent']:.4g}"
    assert figures["parameter bytes"] == f"{row['slim_parameter_bytes']:,}"
    assert figures["latency, batch 1, ms"] == f"{row['latency_milliseconds']['1']['slim']:.3g}"
    assert "black-box accuracy, %" not in figures  # it was not measured
    release(workdir, tmp_path / "served")
    assert (tmp_path / "served" / "2").is_dir()
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(FileExistsError, match=r"has README\.md, and no version of a network"):
        release(workdir, tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"


def test_nothing_is_left_of_an_export_that_fails(finished, tmp_path, monkeypatch):
    def fails(network, path):
        raise ValueError("no such operation")

    workdir = Workdir(shutil.copytree(finished.path / "anp_vs", tmp_path / "run"))
    monkeypatch.setattr("anp_tf.export.release.export_onnx", fails)
    form = ReleaseForm(("saved_model", "litert", "onnx"), ("float32",), litert_examples=10)
    with pytest.raises(ValueError, match="no such operation"):
        release(workdir, tmp_path / "served", form=form)
    assert not list((tmp_path / "served").glob("*"))


def test_stronger_attacks_and_checks_go_with_the_network(finished, tmp_path):
    workdir = Workdir(shutil.copytree(finished.path / "anp_vs", tmp_path / "run"))
    attacks = [
        {"name": "apgd-ce", "fooled": 7, "robust_accuracy": 91.25, "seconds": 1.0},
        {"name": "square", "fooled": 0, "robust_accuracy": 91.25, "seconds": 1.0},
    ]
    asked = {"dataset": "mnist", "norm": "Linf", "epsilon": 0.3, "test_examples": 1000}
    asked["network"] = digest(workdir.network)
    result = {**asked, "attack": "standard", "clean_accuracy": 98.5, "attacks": attacks}
    result |= {"robust_accuracy": 91.25, "draws": None}
    outdated = {**result, "network": "of another network", "clean_accuracy": 1.0}
    check = {"status": "warn", "title": "PGD is not weaker", "figure": "PGD 90 %, FGSM 89 %"}
    records = {
        workdir.robustness: {"standard": result, "outdated": outdated},
        workdir.checks: {**asked, "checks": [check]},
    }
    for path, record in records.items():
        path.write_text(json.dumps(record))
    release(workdir, tmp_path / "served")
    card = (tmp_path / "served" / "README.md").read_text()
    assert "1,000 test images, Linf, ε = 0.3" in card
    assert "| none | | 98.50 (97.54-99.16) |" in card
    assert f"| apgd-ce | 7 | {with_interval(91.25, 1000)} |" in card
    assert "| WARN | PGD is not weaker | PGD 90 %, FGSM 89 % |" in card
    assert "finds more" not in card
    assert "1.00" not in card
    served = tmp_path / "served"
    assert json.loads((served / "robustness.json").read_text()) == {"standard": result}
    assert json.loads((served / "checks.json").read_text()) == records[workdir.checks]


@pytest.mark.slow
def test_what_is_beside_the_versions_is_of_the_newest(finished, tmp_path):
    workdir = Workdir(shutil.copytree(finished.path / "anp_vs", tmp_path / "run"))
    served, form = tmp_path / "served", ReleaseForm(warmup_images=0)
    (path,) = release(workdir, served, form=form)
    shown = ("attack", "dataset", "norm", "epsilon", "clean_accuracy", "robust_accuracy")
    result = dict.fromkeys(shown, 12.34) | {"test_examples": 100, "attacks": [], "draws": None}
    result["network"] = digest(path)
    (served / "robustness.json").write_text(json.dumps({"standard": result}))
    with_onnx = ReleaseForm(format=("onnx",))
    release(workdir, served, 1, with_onnx)  # of the network that the verdict is of
    assert "12.34 (" in (served / "README.md").read_text()

    network = workdir.load_network()
    network.set_weights([0.5 * weight for weight in network.get_weights()])
    workdir.save_network(network)
    workdir.results.unlink()
    workdir.labels.unlink()
    older = (served / "README.md").read_text()
    with pytest.raises(ValueError, match=r"`version` must be a new one.* Received: version=1"):
        release(workdir, served, 1, ReleaseForm(format=("keras",)))
    assert (served / "README.md").read_text() == older
    release(workdir, served, form=form)
    configs = {"models.config", "batching.config"}
    names = {path.name for path in served.iterdir()}
    assert names == {"1", "1.onnx", "2", "README.md", *configs}
    before = renew_card(served).read_text()
    assert "It was not evaluated" in before
    assert "Worst case" not in before

    shutil.rmtree(served / "1")
    (served / "1.onnx").unlink()
    workdir.save_results({"method": "of the older"})
    release(workdir, served, 1, with_onnx)
    assert (served / "1.onnx").is_file()
    assert (served / "README.md").read_text() == before
    assert not (served / "results.json").exists()


def test_a_version_is_of_one_network(finished, tmp_path, monkeypatch):
    written = "anp_tf.export.release.export_onnx"
    monkeypatch.setattr(written, lambda network, path: path.write_bytes(bytes(1234)))
    workdir = Workdir(finished.path / "anp_vs")
    keras_form, with_onnx = ReleaseForm(format=("keras",)), ReleaseForm(format=("onnx",))
    release(workdir, tmp_path, form=keras_form)
    release(workdir, tmp_path, 1, with_onnx)
    size = (tmp_path / "1.keras").stat().st_size
    assert rows_of(tmp_path) == {"1.keras": size, "1.onnx": 1234}
    (tmp_path / "1.onnx").unlink()

    def is_refused(run):
        before = {path: path.read_bytes() for path in tmp_path.iterdir()}
        with pytest.raises(
            ValueError, match=r"`version` must be a new one.* version=1, .* already"
        ):
            release(run, tmp_path, 1, with_onnx)
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before

    other = Workdir(finished.path / "standard")
    is_refused(other)
    release(other, tmp_path, form=keras_form)
    assert list(rows_of(tmp_path)) == ["2.keras"]
    is_refused(workdir)  # the card, which is of the newest, does not say of which network it is


def rows_of(folder):
    """The files in the table of a card, with their bytes."""
    rows = re.findall(
        r"^\| `(.*)` \| ([\d,]+) \|", (folder / "README.md").read_text(), re.MULTILINE
    )
    return {name: int(size.replace(",", "")) for name, size in rows}


def test_a_release_loses_no_files_of_ones_own(finished, tmp_path):
    (tmp_path / "1").mkdir()
    mine = {tmp_path / name for name in ("1/saved_model.pb", *VERDICTS, *OTHERS)}
    for path in mine:
        path.write_text("{}")
    with pytest.raises(FileExistsError, match=r"no model card \(README\.md\) of an export"):
        release(Workdir(finished.path / "anp_vs"), tmp_path)
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == mine
    assert {path.read_text() for path in mine} == {"{}"}


def test_an_export_that_was_cut_off_is_made_again(finished, tmp_path, monkeypatch):
    def cut_off(directory, contents):
        raise OSError("no space left")

    workdir, form = Workdir(finished.path / "anp_vs"), ReleaseForm(warmup_images=0)
    monkeypatch.setattr("anp_tf.export.release.write_beside", cut_off)
    with pytest.raises(OSError, match="no space left"):
        release(workdir, tmp_path, form=form)
    assert (tmp_path / "models.config").is_file()
    check_own(tmp_path)


def test_what_cannot_be_written_whole_leaves_nothing_for_a_server(finished, tmp_path, monkeypatch):
    workdir = Workdir(shutil.copytree(finished.path / "anp_vs", tmp_path / "run"))
    form, served = ReleaseForm(format=("saved_model", "onnx"), warmup_images=0), tmp_path / "served"
    served.mkdir()
    (served / "7.onnx").touch()
    with pytest.raises(FileExistsError, match=r"7\.onnx exists already"):
        release(workdir, served, 7, form)

    def failing(network, path):
        raise ValueError("no such operator")

    monkeypatch.setattr("anp_tf.export.release.export_onnx", failing)
    with pytest.raises(ValueError, match="no such operator"):
        release(workdir, served, 8, form)
    assert [path.name for path in served.iterdir()] == ["7.onnx"]


def test_a_file_of_keras_can_be_trained_and_attacked(finished, tmp_path):
    workdir = Workdir(shutil.copytree(finished.path / "anp_vs", tmp_path / "run"))
    pixels = keras.Input((28, 28, 1))
    x = keras.layers.Flatten()(keras.layers.AveragePooling2D(4)(pixels))
    x = layers.LeakyGradientReLU(max_value=1.0)(keras.layers.BatchNormalization()(x))
    mask = layers.BetaBernoulliDropout()
    masked = keras.Model(pixels, keras.layers.Dense(10)(mask(keras.layers.Dense(8)(x))))
    mask.prune([1, 5])
    workdir.save_network(masked)
    (path,) = release(workdir, tmp_path / "served", form=ReleaseForm(format=("keras",)))
    assert path == tmp_path / "served" / "1.keras"
    assert f"| `1.keras` | {path.stat().st_size:,} |" in (path.parent / "README.md").read_text()
    loaded = anp_tf.load(path)
    kinds = [type(layer) for layer in loaded.layers]
    assert {keras.layers.BatchNormalization, layers.LeakyGradientReLU} < set(kinds)
    assert [w.shape for w in loaded.weights[-4:]] == [(49, 6), (6,), (6, 10), (10,)]
    x = np.random.default_rng(0).random((5, 28, 28, 1), np.float32)
    np.testing.assert_allclose(loaded(x), masked(x), atol=1e-5)
    (path,) = release(workdir, tmp_path / "served")  # the next version
    assert path.name == "2"


@pytest.mark.slow
def test_all_formats(finished, small_data_dir, tmp_path):
    workdir = Workdir(shutil.copytree(finished.path / "anp_vs", tmp_path / "run"))
    form = ReleaseForm(
        format=("saved_model", "keras", "litert", "onnx", "micro"),
        precision=("float32", "int8"),
        name="digits",
        litert_examples=40,
        data_dir=str(small_data_dir),
    )
    served = tmp_path / "served"
    served.mkdir()
    (served / "6.float16.tflite").touch()
    names = ["7", "7.keras", "7.float32.tflite", "7.int8.tflite", "7.onnx", "7.micro"]
    paths = release(workdir, served, form=form)
    assert paths == [served / name for name in names]
    examples = data.load("mnist", "test", small_data_dir).take(40)
    pixels = examples.images.astype(np.float32) / 255
    logits = np.asarray(workdir.load_network()(pixels))
    signatures = tf.saved_model.load(str(paths[0])).signatures
    serve = signatures["serving_default"]
    np.testing.assert_allclose(serve(pixels=pixels)["logits"], logits, atol=1e-5)
    litert, int8 = (litert_network(path)(pixels) for path in paths[2:4])
    np.testing.assert_allclose(litert, logits, atol=1e-5)
    assert 1e-5 < np.abs(int8 - logits).max() < 0.1 * np.abs(logits).max()
    onnx = onnxruntime.InferenceSession(paths[4]).run(["logits"], {"pixels": pixels})[0]
    np.testing.assert_allclose(onnx, logits, atol=1e-5)
    assert 'name: "digits"' in (served / "models.config").read_text()

    card = (served / "README.md").read_text()
    rows = [line.strip("| ").split(" | ") for line in card.splitlines() if "| `7" in line]
    assert [row[0] for row in rows] == [f"`{name}`" for name in names]
    files = [*paths[1:-1], paths[-1] / "network.tflite"]
    sizes = [path.stat().st_size for path in files]
    assert [int(row[1].replace(",", "")) for row in rows[1:]] == sizes
    clean = 100 * np.mean(litert.argmax(-1) == examples.labels)
    int8_clean = 100 * np.mean(int8.argmax(-1) == examples.labels)
    attacked = 100 * attacked_accuracy(workdir, examples)
    assert rows[2][2:] == [with_interval(figure, 40) for figure in (clean, attacked)]
    assert rows[3][2] == with_interval(int8_clean, 40)
    assert 0 <= float(rows[3][3].split()[0]) <= int8_clean
    assert "The figures of `7.float32.tflite`, `7.int8.tflite` are of 40 test images" in card
    assert "`7.micro` is for microcontrollers" in card
    assert re.search(
        r"arena of [\d,]+ bytes; on 50 test images .* [\d.]+ % have the same class", card
    )


def attacked_accuracy(workdir, examples):
    """White-box accuracy of the Keras network, by the evaluation of the package."""
    settings = workdir.settings()
    attack = evaluation_attack(settings)
    network = workdir.load_network()
    result = evaluate_robustness(network, data.batches(examples, 250), attack, seed=settings.seed)
    return result.adversarial_accuracy


def test_without_warmup_no_data_are_read(finished, tmp_path):
    workdir = Workdir(shutil.copytree(finished.path / "anp_vs", tmp_path / "run"))
    form = ReleaseForm(warmup_images=0, data_dir=str(tmp_path / "nowhere"))
    (path,) = release(workdir, tmp_path / "served", form=form)
    assert not (path / "assets.extra").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"format": ("tflite",)},
            "format: expected one of saved_model, keras, litert, onnx, micro",
        ),
        (
            {"format": ()},
            "format: expected some of saved_model, keras, litert, onnx, micro, received none",
        ),
        ({"precision": ("int4",)}, "precision: expected one of float32, float16, int8"),
        (
            {"format": ("litert",), "precision": ("int8", "int8")},
            "precision: expected each once, received int8,int8",
        ),
        ({"format": ("onnx", "onnx")}, "format: expected each once, received onnx,onnx"),
        ({"warmup_images": -1}, "warmup_images: expected a value at least 0, received -1"),
        ({"litert_examples": 0}, "litert_examples: expected a value at least 1, received 0"),
    ],
)
def test_invalid_forms(arguments, message):
    with pytest.raises(ValueError, match=message):
        ReleaseForm(**arguments)


@pytest.mark.parametrize(("name", "package"), FORMAT_PACKAGES.items())
def test_packages_that_are_missing_are_named(monkeypatch, name, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match=rf"needs more: pip install 'anp_tf\[{name}\]'"):
        ReleaseForm(format=(name,))


def test_the_cards_command_repeats_the_run():
    settings = Settings(init_from="a folder/of mine", epsilon=0.2, method="anp", seed=5)
    card = model_card(settings, None, [])
    assert "`anp_tf.load(path)` loads it" in card
    assert "not evaluated" in card
    command = card.split("```sh\n")[1].split("```")[0].replace("\\\n", "")
    _, _, module, workdir, *flags = shlex.split(command)
    assert (module, workdir) == ("anp_tf.train", "--workdir=WORKDIR")
    assert Settings.from_flag_lines(flags) == settings


def test_the_card_names_the_attack_of_its_figures(tmp_path):
    settings = Settings(epsilon=8 / 255, eval_attack_steps=7, eval_attack_step_size=0.005)
    accuracy = Robustness(20, 0.5, 0.25, 0.1)
    files = [
        ReleasedFile(tmp_path / f"1.{name}.tflite", 1, accuracy) for name in ("int8", "float16")
    ]
    card = model_card(settings, None, files)
    (line,) = (line for line in card.splitlines() if "The figures of" in line)
    assert "`1.int8.tflite`, `1.float16.tflite` are of 20 test images" in line
    assert "the attack, PGD-7 with ε = 8/255 and steps of 0.005, is made" in line
    assert "not evaluated" in card
    assert "probabilities except from files of Keras" in card


def test_data_dir_is_not_in_the_card():
    card = model_card(Settings(data_dir="/private"), None, [])
    assert "private" not in card


@pytest.mark.parametrize("drawn", [None, 77.5])
def test_drawn_weights_are_in_the_card_where_measured(finished, drawn):
    row = Workdir(finished.path / "anp_vs").load_results()
    if drawn is not None:
        row["sampled_white_box_accuracy"] = drawn
    card = model_card(Settings(), row, [])
    assert ("drawn weights, % | 77.50 (" in card) == (drawn is not None)
