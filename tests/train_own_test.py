"""One's own networks, and runs that say what they are, through the commands."""

import json
import re
import shutil
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from anp_tf.errors import WorkdirError
from anp_tf.models import lenet5_caffe
from anp_tf.settings import Settings
from anp_tf.train.networks import own_network
from anp_tf.workdir import load_network

NET = """
import keras

def build(input_shape, num_classes):
    return keras.Sequential([
        keras.Input(input_shape),
        keras.layers.Conv2D(8, 3, strides=2),
        keras.layers.BatchNormalization(),
        keras.layers.ReLU(),
        keras.layers.Flatten(),
        keras.layers.Dense(16, activation="relu"),
        keras.layers.Dense(num_classes),
    ])

def rows(input_shape, num_classes):
    x = pixels = keras.Input(input_shape)
    x = keras.layers.Dense(12, activation="relu")(x)
    return keras.Model(pixels, keras.layers.Dense(num_classes)(x))

def broken(input_shape, num_classes):
    return undefined

def other(input_shape, num_classes):
    layers = [keras.Input(input_shape), keras.layers.Flatten(), keras.layers.Dense(3)]
    return keras.Sequential(layers)

def softmax(input_shape, num_classes):
    layers = [keras.Input(input_shape), keras.layers.Flatten()]
    return keras.Sequential([*layers, keras.layers.Dense(num_classes, activation="softmax")])

def nothing(input_shape, num_classes):
    return None
"""
GAIN = """
import keras
import numpy as np
from anp_tf.pruning import Handler, register_handler

@keras.saving.register_keras_serializable("gains")
class Gain(keras.layers.Layer):
    def build(self, shape):
        self.gain = self.add_weight(shape=(shape[-1],), initializer="ones")

    def call(self, x):
        return x * self.gain

class GainHandler(Handler):
    def multiply_adds(self, node):
        return int(np.prod(node.outputs[0].shape[1:]))

register_handler(Gain, GainHandler())

def build(input_shape, num_classes):
    x = pixels = keras.Input(input_shape)
    x = keras.layers.Dense(12, activation="relu")(keras.layers.Flatten()(x))
    x = keras.layers.Dense(12, activation="relu")(Gain()(x))
    return keras.Model(pixels, keras.layers.Dense(num_classes)(x))
"""
QUICK = ["--epochs=2", "--limit_train_examples=128", "--limit_test_examples=40", "--batch_size=32"]
QUICK += ["--attack_steps=1", "--validation_attack_steps=1", "--eval_attack_steps=2"]
QUICK += ["--learning_rate=1e-2"]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "net.py").write_text(NET)
    return tmp_path


def read(path):
    return json.loads(path.read_text())


def line(outcome):
    assert outcome.code == 2, outcome.err
    assert len(outcome.err.splitlines()) == 1, outcome.err
    return outcome.err


@pytest.mark.slow
def test_a_function_from_training_to_export(commands, folder):
    flags = ["--network=net:build", "--workdir=runs", "--method=standard,anp_vs", *QUICK]
    outcome = commands.run("train", *flags, "--export", cwd=folder)
    assert outcome.code == 0, outcome.err
    assert "anp_vs  net:build on 103 examples of mnist, batches of 32, ε = 0.3" in outcome.out
    run = folder / "runs" / "anp_vs"
    network = keras.saving.load_model(run / "network.keras", compile=False)
    assert "conv2d_mask" in [layer.name for layer in network.layers]
    row = read(run / "results.json")
    assert row["architecture"] == "net:build"
    assert row["training_examples"] == 103
    assert row["validation_examples"] == 25
    assert row["batch_size"] == 32
    assert row["seconds"] > 0
    assert all(row[name] for name in ("version", "date", "machine"))
    assert "anp_tf.train --network=net:build" in row["command"]
    assert row["flops_reduction"] == pytest.approx(1, abs=0.5)
    again = commands.run("evaluate", "--workdir=runs/anp_vs", cwd=folder)
    assert again.code == 0, again.err
    exported = tf.saved_model.load(str(folder / "runs" / "saved_model" / "1"))
    pixels = np.random.default_rng(0).random((3, 28, 28, 1), np.float32)
    logits = exported.signatures["serving_default"](pixels=tf.constant(pixels))["logits"]
    np.testing.assert_allclose(logits, network(pixels), atol=1e-4)
    report = commands.run("report", "--workdir=runs/standard", "--examples=20", cwd=folder)
    assert report.code == 0, report.err


@pytest.mark.slow
def test_a_stopped_run_of_ones_own_network_goes_on(commands, folder):
    flags = ["--network=net:build", "--method=anp", "--mask_layers=conv2d", *QUICK]
    flags += ["--deterministic", "--checkpoint_seconds=0"]
    whole = commands.run("train", *flags, "--workdir=whole", cwd=folder)
    assert whole.code == 0, whole.err
    killed = commands.run("train", *flags, "--workdir=cut", cwd=folder, kill_at="step:5")
    assert killed.code == -9
    outcome = commands.run("train", *flags, "--workdir=cut", cwd=folder)
    assert outcome.code == 0, outcome.err
    networks = [
        keras.saving.load_model(folder / name / "network.keras", compile=False)
        for name in ("whole", "cut")
    ]
    masks = [layer.name for layer in networks[0].layers if layer.name.endswith("_mask")]
    assert masks == ["conv2d_mask"]
    for ours, theirs in zip(*(network.weights for network in networks), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
def test_a_file_keeps_its_weights_unless_fresh(commands, folder):
    network = lenet5_caffe(width_multiplier=0.2)
    network.save(folder / "mine.keras")
    kernel = network.get_layer("conv1").kernel.numpy()
    flags = ["--network=mine.keras", "--method=at", "--learning_rate=1e-9", "--weight_decay=0"]
    for name, more in (
        ("kept", []),
        ("fresh", ["--fresh"]),
        ("started", ["--init_from=mine.keras", "--fresh"]),
    ):
        run = [*QUICK, *flags, "--epochs=1", f"--workdir={name}", *more]
        outcome = commands.run("train", *run, cwd=folder)
        assert outcome.code == 0, outcome.err
        trained = keras.saving.load_model(folder / name / "network.keras", compile=False)
        same = np.allclose(trained.get_layer("conv1").kernel, kernel, atol=1e-5)
        assert same == (name != "fresh")


def test_the_module_of_a_run_is_imported_again(tmp_path, monkeypatch):
    """A new process does not know the layers that it registers."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gains.py").write_text(GAIN)
    own_network("gains:build", (4, 4, 1), 3).save("mine.keras")
    runs = {"run": "gains:build", "other": "mine.keras", "moved": "elsewhere:build"}
    for name, network in runs.items():
        (tmp_path / name).mkdir()
        shutil.copy("mine.keras", f"{name}/network.keras")
        settings = Settings(dataset="mnist", network=network)
        (tmp_path / name / "config.cfg").write_text("\n".join(settings.flag_lines()))

    def forget():
        sys.modules.pop("gains", None)
        keras.saving.get_custom_objects().pop("gains>Gain", None)

    forget()
    for path in ("mine.keras", "other", "moved"):
        with pytest.raises(WorkdirError, match=r"has the class Gain, .* gains \(--imports=gains\)"):
            load_network(path)
    assert load_network("run").output_shape == (None, 3)
    forget()
    assert load_network("run/network.keras").output_shape == (None, 3)


@pytest.mark.slow
def test_layers_of_ones_own_from_training_to_export(commands, folder):
    (folder / "gains.py").write_text(GAIN)
    run = ["train", "--network=gains:build", "--method=anp_vs", "--workdir=run", *QUICK]
    judge = ["evaluate", "--workdir=run", "--limit_test_examples=20"]
    for command in (run, judge, ["export", "--workdir=run"], run):
        outcome = commands.run(*command, cwd=folder)
        assert outcome.code == 0, outcome.err
    judge = ["evaluate", "--model=mine.keras", "--dataset=mnist", "--limit_test_examples=20"]
    judge += ["--attack=pgd2", "--epsilon=0.1"]
    shutil.move(folder / "run" / "network.keras", folder / "mine.keras")
    assert "(--imports=gains)" in line(commands.run(*judge, cwd=folder))
    outcome = commands.run(*judge, "--imports=gains", cwd=folder)
    assert outcome.code == 0, outcome.err
    wrong = line(commands.run(*judge, "--imports=nowhere", cwd=folder))
    assert "--imports: cannot import nowhere: ModuleNotFoundError" in wrong


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("vgg_16", "received 'vgg_16'; did you mean "),
        ("resnet50", "did you mean ResNet50"),
        ("nowhere:build", "cannot import nowhere: ModuleNotFoundError"),
        ("net:missing", "net has no function 'missing', but build, rows"),
        ("net:broken", "NameError: name 'undefined' is not defined"),
        ("net:other", "10 logits, as the data set has them, received [28, 28, 1] and 3"),
        ("net:softmax", "ends in softmax"),
        ("net:nothing", "to be a keras.Model, received NoneType"),
        ("missing.keras", "there is no network at missing.keras"),
        ("damaged.keras", "cannot load a network from damaged.keras"),
        ("VGG19", "VGG19 failed for input_shape=(28, 28, 1), num_classes=10"),
    ],
)
def test_wrong_networks_are_one_line(commands, folder, network, message):
    (folder / "damaged.keras").write_bytes(b"PK\x03\x04 and so on")
    outcome = commands.run("train", f"--network={network}", "--workdir=run", *QUICK, cwd=folder)
    assert message in line(outcome)


@pytest.mark.slow
def test_random_weights_of_ones_own_network(commands, folder):
    """A table, whose network is trained by `at_bnn`, judged as a file, and reported on."""
    rng = np.random.default_rng(0)
    rows = [f"{a},{b},{'no' if a < 5 else 'yes'}" for a, b in rng.uniform(0, 10, (80, 2))]
    (folder / "marks.csv").write_text("\n".join(["a,b,passed", *rows]))
    flags = ["--dataset=marks.csv", "--label_key=passed", "--network=net:rows", "--method=at_bnn"]
    flags += [*QUICK, "--eval_samples=2", "--workdir=run,1"]
    outcome = commands.run("train", *flags, cwd=folder)
    assert outcome.code == 0, outcome.err
    row = read(folder / "run,1" / "results.json")
    assert row["sampled_draws"] == 2
    assert row["slim_parameter_bytes"] == 2 * row["dense_parameter_bytes"]
    # The file is of a workdir, which says of which data it is.
    judged = ["--model=run,1/network.keras", "--attack=pgd2", "--eps=0.1", "--output=judged"]
    outcome = commands.run("evaluate", *judged, cwd=folder)
    assert outcome.code == 0, outcome.err
    (judgement,) = read(folder / "judged" / "robustness.json").values()
    assert (judgement["dataset"], judgement["test_examples"]) == ("marks.csv", 16)
    report = commands.run("report", "--workdir=run,1", cwd=folder)
    assert report.code == 0, report.err
    figures = {path.stem for path in (folder / "report" / "figures").iterdir()}
    assert "accuracy_by_epsilon" in figures
    assert "adversarial_examples" not in figures
    wide = commands.run("train", *flags, "--width_multiplier=0.5", "--workdir=x", cwd=folder)
    assert "--width_multiplier: expected 1 for a network that is none of" in line(wide)


@pytest.mark.slow
def test_a_file_is_judged_on_a_folder_of_images(commands, folder):
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (folder / "pets" / name).mkdir(parents=True)
        for number in range(10):
            image = rng.integers(0, 256, (12 + number, 12, 3), np.uint8)
            path = folder / "pets" / name / f"{number}.png"
            keras.utils.save_img(path, image, scale=False)
    pixels = keras.Input((12, 12, 3))
    logits = keras.layers.Dense(2)(keras.layers.Flatten()(pixels))
    keras.Model(pixels, logits).save(folder / "x.keras")
    unknown = commands.run("evaluate", "--model=x.keras", "--attack=pgd2", cwd=folder)
    assert "--dataset: expected the data set of --model, received none" in line(unknown)
    flags = ["--model=x.keras", "--dataset=pets", "--attack=pgd2", "--epsilon=8/255"]
    assert "an image size to resize them to is needed" in line(
        commands.run("evaluate", *flags, cwd=folder)
    )
    sized = ["--image_size=12,12", "--test_share=0.5", "--source=x.keras"]
    outcome = commands.run("evaluate", *flags, *sized, cwd=folder)
    assert outcome.code == 0, outcome.err
    (judgement,) = read(folder / "x.keras.robustness" / "robustness.json").values()
    assert judgement["test_examples"] == 10
    assert judgement["test_share"] == 0.5
    assert judgement["image_size"] == [12, 12]
    other = [*flags, "--image_size=12,12", "--test_share=0.3", "--attack=fgsm"]
    message = line(commands.run("evaluate", *other, cwd=folder))
    assert "--output: expected a folder without results on other data" in message
    assert "with test_share 0.5, and not 0.3" in message


@pytest.mark.slow
def test_a_search_with_ones_own_network_and_data(commands, folder):
    (folder / "space.toml").write_text("[learning_rate]\nchoices = [1e-2]")
    x, y = np.random.default_rng(0).random((40, 6)), np.arange(40) % 2
    np.savez(folder / "set.npz", x_train=x, y_train=y, x_test=x[:8], y_test=y[:8])
    flags = ["--dataset=set.npz", "--network=net:rows", "--method=at", "--attack_steps=1"]
    flags += ["--epochs=1", "--space=space.toml", "--tuner=random", "--trials=1"]
    outcome = commands.run("tune", *flags, "--workdir=search", cwd=folder)
    assert outcome.code == 0, outcome.err
    assert "--network=net:rows" in (folder / "search" / "best.cfg").read_text()


def test_a_network_for_batches_of_one_size_is_refused(folder):
    pixels = keras.Input((4, 4, 1), batch_size=4)
    x = keras.layers.Flatten()(pixels)
    keras.Model(pixels, keras.layers.Dense(3)(x)).save(folder / "four.keras")
    with pytest.raises(ValueError, match=r"batches of any size, .* received one for batches of 4"):
        own_network(str(folder / "four.keras"), (4, 4, 1), 3)


def test_a_name_of_keras_applications():
    network = own_network("MobileNetV2", (32, 32, 3), 7)
    assert network.output_shape == (None, 7)
    assert network.layers[1].name == "normalise"


@pytest.mark.slow
def test_epsilon_and_network_by_the_data(commands, folder):
    """A fraction is taken; where none is given it is 8/255, and the network that of the images."""
    rng = np.random.default_rng(0)
    arrays = {
        "x_train": rng.integers(0, 256, (60, 32, 32, 3)).astype(np.uint8),
        "y_train": np.arange(60) % 3,
        "x_test": rng.integers(0, 256, (12, 32, 32, 3)).astype(np.uint8),
        "y_test": np.arange(12) % 3,
    }
    np.savez(folder / "small.npz", **arrays)
    flags = ["--dataset=small.npz", "--method=at", "--width_multiplier=0.05", "--workdir=run"]
    flags += ["--epochs=1", "--attack_steps=1", "--eval_attack_steps=1", "--batch_size=5000"]
    flags += ["--attack_step_size=2/255"]
    outcome = commands.run("train", *flags, cwd=folder)
    assert outcome.code == 0, outcome.err
    assert "vgg16 on 48 examples of small.npz, batches of 48, ε = 8/255" in outcome.out
    lines = (folder / "run" / "config.cfg").read_text().splitlines()
    assert {"--network=vgg16", "--batch_size=48", "--validation_examples=12"} <= set(lines)
    assert {"--epsilon=8/255", "--attack_step_size=2/255"} <= set(lines)
    assert "# asked for: --batch_size=5000" in lines
    assert read(folder / "run" / "results.json")["architecture"] == "vgg16"
    assert "guessing among 3 classes" in outcome.out
    again = commands.run("train", *flags, cwd=folder)  # the same flags are the same run
    assert again.code == 0, again.err
    assert outcome.out.endswith(again.out)
    message = line(commands.run("train", *flags, "--epsilon=1/x", cwd=folder))
    assert "--epsilon: expected a number such as 0.03 or 8/255, received '1/x'" in message


@pytest.mark.slow
def test_changed_and_longer_runs(commands, folder):
    flags = ["--method=standard", "--workdir=run", "--width_multiplier=0.1", *QUICK]
    assert commands.run("train", *flags, cwd=folder).code == 0
    outcome = commands.run("train", *flags, "--epochs=3", cwd=folder)
    assert outcome.code == 0, outcome.err
    assert "from step 6" in outcome.out
    epochs = [json.loads(x) for x in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in epochs] == [1, 2, 3]
    message = line(commands.run("train", *flags, "--epochs=1", cwd=folder))
    assert "--epochs=3 (now 1)" in message
    changed = [*flags, "--epochs=1", "--learning_rate=1e-4"]
    message = line(commands.run("train", *changed, cwd=folder))
    assert "--epochs=3 (now 1), --learning_rate=0.01 (now 0.0001)" in message
    assert "--overwrite" in message
    outcome = commands.run("train", *changed, "--overwrite", cwd=folder)
    assert outcome.code == 0, outcome.err
    assert "--learning_rate=0.0001" in (folder / "run" / "config.cfg").read_text()
    assert len((folder / "run" / "metrics.jsonl").read_text().splitlines()) == 1


@pytest.mark.slow
def test_data_and_workdir_that_were_moved(commands, folder):
    numbers, kind = np.random.default_rng(0).random((60, 2)), np.arange(60) % 2
    rows = [f"{x:.3f},{y:.3f},{k}" for (x, y), k in zip(numbers, kind, strict=True)]
    for place, content in (("old", rows), ("other", rows[:50])):
        (folder / place).mkdir()
        (folder / place / "set.csv").write_text("\n".join(["x,y,label", *content]))
    flags = [
        "--network=net:rows",
        "--method=at",
        *QUICK,
        "--checkpoint_seconds=0",
        "--batch_size=8",
    ]
    old = ["--dataset=set.csv", "--workdir=run"]
    (folder / "old" / "net.py").write_text(NET)
    killed = commands.run("train", *flags, *old, cwd=folder / "old", kill_at="step:4")
    assert killed.code == -9
    (folder / "old" / "run").rename(folder / "run")
    (folder / "old" / "set.csv").rename(folder / "renamed.csv")
    for dataset, expected in (
        ("renamed.csv", "a data set may be moved, but has to keep its name"),
        ("other/set.csv", "39 training examples, and the data set now has 32"),
    ):
        again = [*flags, f"--dataset={dataset}", "--workdir=run"]
        assert expected in line(commands.run("train", *again, cwd=folder))
    (folder / "new").mkdir()
    (folder / "renamed.csv").rename(folder / "new" / "set.csv")
    again = [*flags, "--dataset=new/set.csv", "--workdir=run"]
    outcome = commands.run("train", *again, cwd=folder)
    assert outcome.code == 0, outcome.err
    assert "from step " in outcome.out
    # Moved together, and named from elsewhere.
    (folder / "away").mkdir()
    for name in ("run", "new"):
        (folder / name).rename(folder / "away" / name)
    outcome = commands.run("evaluate", "--workdir=../away/run", cwd=folder / "other")
    assert outcome.code == 0, outcome.err
    # The data of a finished run alone.
    (folder / "away" / "new").rename(folder / "data")
    refused = commands.run("evaluate", "--workdir=away/run", cwd=folder)
    assert "expected --dataset, their new place" in line(refused)
    refused = commands.run(
        "train", *flags, "--dataset=other/set.csv", "--workdir=away/run", cwd=folder
    )
    assert "39 training examples, and the data set now has 32" in line(refused)
    for dataset, code in (("other/set.csv", 2), ("data/set.csv", 0)):
        flag = f"--dataset={dataset}"
        outcome = commands.run("evaluate", "--workdir=away/run", flag, cwd=folder)
        assert outcome.code == code, outcome.err


@pytest.mark.slow
def test_a_table_is_exported_with_its_ranges_and_classes(commands, folder):
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 2, 200)
    height = np.where(kind, 180, 120) + rng.normal(0, 5, 200)
    weight = rng.normal(60, 10, 200)
    rows = ["height,weight,class"]
    names = np.array(["child", "adult"])[kind]
    rows += [f"{h},{w},{n}" for h, w, n in zip(height, weight, names, strict=True)]
    (folder / "people.csv").write_text("\n".join(rows))
    flags = ["--dataset=people.csv", "--network=net:rows", "--method=at", "--workdir=run"]
    flags += ["--epochs=8", "--batch_size=16", "--attack_steps=2", "--eval_attack_steps=2"]
    flags += ["--learning_rate=3e-2", "--export"]
    outcome = commands.run("train", *flags, cwd=folder)
    assert outcome.code == 0, outcome.err
    assert "ε = 8/255 in shares of each column's range in the training part" in outcome.out
    assert read(folder / "run" / "labels.json") == ["adult", "child"]
    columns = read(folder / "run" / "columns.json")
    assert [column["name"] for column in columns] == ["height", "weight"]
    directory = folder / "run" / "saved_model"
    assert read(directory / "columns.json") == columns
    exported = tf.saved_model.load(str(directory / "1")).signatures
    values = np.array([[181.0, 60.0], [119.0, 60.0]], np.float32)
    answers = exported["rows"](values=tf.constant(values))
    low, high = (np.array([column[end] for column in columns]) for end in ("low", "high"))
    pixels = np.clip((values - low) / (high - low), 0, 1).astype(np.float32)
    network = keras.saving.load_model(folder / "run" / "network.keras", compile=False)
    np.testing.assert_allclose(answers["logits"], network(pixels), atol=1e-4)
    assert list(np.argmax(answers["logits"], -1)) == [0, 1]
    example = tf.train.Example(
        features=tf.train.Features(
            feature={"pixels": tf.train.Feature(float_list=tf.train.FloatList(value=pixels[0]))}
        )
    )
    classes = exported["classify"](inputs=tf.constant([example.SerializeToString()]))["classes"]
    assert classes.numpy().tolist() == [[b"adult", b"child"]]
    card = (directory / "README.md").read_text()
    assert "Classes, in the order of the logits: adult, child." in card
    assert re.search(r"\| height \| 1\d\d\.?\d* \| 19\d\.?\d* \|", card), card
    outcome = commands.run("train", *flags[:1], "--method=at", "--workdir=other", cwd=folder)
    assert "--network: expected one of your own for rows of numbers" in line(outcome)
