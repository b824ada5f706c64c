"""The command `python -m anp_tf.evaluate` with `--attack` and `--checks`, as processes."""

import dataclasses
import json
import shutil
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from anp_tf import data
from anp_tf.evaluate import command
from anp_tf.evaluate.undefended import standard_beside
from anp_tf.progress import counting
from anp_tf.robustness import Candidate, Interface, Threat, attack_candidate, digest, from_workdir
from anp_tf.workdir import Workdir, load_network

FLAGS = ("--attack=fgsm,pgd3", "--limit_test_examples=30", "--batch_size=12")


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished.path / "anp_vs", tmp_path / "run")


def without_times(path):
    record = json.loads(path.read_text())
    for result in record.values():
        for attack in result["attacks"]:
            del attack["seconds"]
    return record


def test_a_workdir(commands, copy, tmp_path, small_data_dir):
    outcome = commands.run("evaluate", f"--workdir={copy}", *FLAGS, f"--images={tmp_path}/x.npz")
    assert outcome.code == 0, outcome.err
    record = without_times(copy / "robustness.json")
    (result,) = record.values()
    expected, _ = attack_candidate(
        from_workdir(copy, limit=30, data_dir=small_data_dir),
        ["fgsm", "pgd3"],
        tmp_path / "again",
        Threat(0.3, batch_size=30),
        steps=2,
        step_size=0.01,
        counter=counting,
    )
    for attack in expected["attacks"]:
        del attack["seconds"]
    assert result == expected
    assert f"robust accuracy {result['robust_accuracy']:.2f} %" in outcome.out
    assert outcome.out.splitlines()[-2:] == [str(copy / "robustness.json"), f"{tmp_path}/x.npz"]
    # The images that were saved fool the network, and keep to the threat model.
    saved = dict(np.load(tmp_path / "x.npz"))
    examples = data.load("mnist", "test", small_data_dir)
    originals = examples.images[saved["index"]] / np.float32(255)
    assert len(saved["index"]) == result["recheck"]["images"] > 0
    assert np.abs(saved["image"] - originals).max() <= 0.3 + 1e-6
    network = load_network(copy)
    assert np.all(np.argmax(network(saved["image"]), -1) != examples.labels[saved["index"]])


@pytest.mark.slow
def test_stopped_by_a_kill_and_started_again(commands, copy):
    killed = commands.run("evaluate", f"--workdir={copy}", *FLAGS, kill_at="000012-000023.npz:1")
    assert killed.code == -9
    assert not (copy / "robustness.json").exists()
    (folder,) = (copy / "attacks").iterdir()
    (first,) = folder.glob("[0-9]*.npz")
    before = first.stat().st_mtime_ns
    assert commands.run("evaluate", f"--workdir={copy}", *FLAGS).code == 0
    assert first.stat().st_mtime_ns == before
    assert len(list(folder.glob("[0-9]*.npz"))) == 3
    whole = without_times(copy / "robustness.json")
    shutil.rmtree(copy / "attacks")
    assert commands.run("evaluate", f"--workdir={copy}", *FLAGS).code == 0
    assert without_times(copy / "robustness.json") == whole


@pytest.mark.slow
def test_other_networks_by_their_files(commands, copy, finished, tmp_path):
    """A .keras file and the SavedModel give what the workdir gives."""
    shutil.copytree(finished.path / "saved_model", tmp_path / "saved")
    shutil.copy(copy / "network.keras", tmp_path / "network.keras")
    results = []
    for flag in (
        f"--workdir={copy}",
        f"--model={tmp_path}/network.keras",
        f"--model={tmp_path}/saved",
    ):
        flags = [flag, *FLAGS, "--eps=0.1", "--norm=Linf", f"--output={tmp_path / 'out'}"]
        outcome = commands.run(
            "evaluate", *flags, *([] if "workdir" in flag else ["--dataset=mnist"])
        )
        assert outcome.code == 0, outcome.err
        results.append(without_times(tmp_path / "out" / "robustness.json"))
        shutil.rmtree(tmp_path / "out")
    keys = ("test_examples", "clean_accuracy", "robust_accuracy", "epsilon")
    (one,), (two,), (three,) = (
        [[r[k] for k in keys] for r in result.values()] for result in results
    )
    assert one == two == three


@pytest.mark.slow
def test_the_default_folder_of_a_model(commands, copy, tmp_path):
    shutil.copy(copy / "network.keras", tmp_path / "network.keras")
    flags = ["--dataset=mnist", "--eps=2", "--norm=L2", "--attack=pgd2", "--limit_test_examples=10"]
    flags += ["--eval_attack_step_size=1.5"]  # as the radius, larger than in the other ball
    outcome = commands.run("evaluate", f"--model={tmp_path}/network.keras", *flags)
    assert outcome.code == 0, outcome.err
    folder = tmp_path / "network.keras.robustness"
    ((name, result),) = json.loads((folder / "robustness.json").read_text()).items()
    assert name == "pgd2 --eval_attack_step_size=1.5, L2, 2"
    # It says what was attacked, and how.
    assert result["network"] == digest(tmp_path / "network.keras")
    made_by = {"kind": "PGD", "epsilon": 2.0, "steps": 2, "loss": "cross_entropy"}
    assert made_by.items() <= result["attacks"][0]["made_by"].items()


@pytest.mark.slow
def test_fewer_images_do_not_take_the_place_of_more(commands, copy):
    for count in (30, 12):
        flags = [f"--workdir={copy}", "--attack=fgsm", f"--limit_test_examples={count}"]
        assert commands.run("evaluate", *flags).code == 0
    (result,) = json.loads((copy / "robustness.json").read_text()).values()
    assert result["test_examples"] == 30


@pytest.mark.slow
def test_probabilities_and_latents_out_of_reach_are_refused(commands, tmp_path, finished):
    layers = [keras.layers.Flatten(), keras.layers.Dense(10, activation="softmax")]
    keras.Sequential([keras.Input((28, 28, 1)), *layers]).save(tmp_path / "softmax.keras")
    flags = ["--dataset=mnist", "--eps=0.1", "--limit_test_examples=10"]
    outcome = commands.run("evaluate", f"--model={tmp_path}/softmax.keras", "--attack=pgd", *flags)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "returns probabilities" in outcome.err
    path = finished.path / "saved_model"
    flags.append(f"--output={tmp_path}")
    outcome = commands.run("evaluate", f"--model={path}", "--attack=latent", *flags)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "needs a functional Keras model" in outcome.err


@pytest.mark.slow
def test_a_stochastic_network_is_attacked_by_the_mean_of_draws(tmp_path, small_data_dir):
    """Noise so large that a single draw is wrong about images that the mean is right about."""
    examples = data.load("mnist", "test", small_data_dir).take(20)

    def noisy(x, training=False):
        sums = tf.reduce_sum(x[:, :, :10, 0], 1) / 28
        return 10 * sums + tf.random.normal(tf.shape(sums), stddev=2.0)

    sums = (examples.images / 255)[:, :, :10, 0].sum(1) / 28
    labels = sums.argmax(-1).astype(np.int32)
    examples = data.Examples(examples.images, labels, 10)
    candidate = Candidate(tmp_path, noisy, None, "digest", examples, "mnist")
    threat = Threat(0.01, samples=200)
    result, _ = attack_candidate(candidate, ["noise"], tmp_path, threat)
    assert result["draws"] == 200
    x = (examples.images / 255).astype(np.float32)
    alone = [np.mean(np.argmax(noisy(x), -1) == labels) for _ in range(20)]
    assert result["clean_accuracy"] > 100 * np.mean(alone)


@pytest.mark.slow
def test_checks(commands, copy, finished):
    flags = [f"--workdir={copy}", "--checks", "--limit_test_examples=10"]
    outcome = commands.run("evaluate", *flags, f"--undefended={finished.path / 'standard'}")
    assert outcome.code == 0, outcome.err
    record = json.loads((copy / "checks.json").read_text())
    assert [record[key] for key in ("dataset", "norm", "epsilon", "test_examples")] == [
        "mnist",
        "Linf",
        0.3,
        10,
    ]
    checks = {check["name"]: check for check in record["checks"]}
    for name in ("pixels", "logits", "deterministic", "gradients", "ball"):
        assert checks[name]["status"] == "pass", checks[name]
    assert checks["transfer"]["status"] != "not run"
    assert checks["masks"]["status"] != "not run"
    text = " ".join(outcome.out.split())
    assert all(check["title"] in text for check in record["checks"])


def test_a_source_takes_pixels_as_the_model_does(finished, tmp_path, monkeypatch):
    """A file does; a run has pixels in [0, 1]."""
    found = []
    monkeypatch.setattr(command, "from_model", lambda *args, **given: found.append(given))
    monkeypatch.setattr(command.flags, "FLAGS", types.SimpleNamespace(data_dir=None))
    model = types.SimpleNamespace(
        interface=Interface((0, 255)), settings=None, dataset="mnist", data_options={}
    )
    for path in (tmp_path / "net.keras", finished.path / "anp_vs"):
        command._other(path, model)
    assert [given["interface"] for given in found] == [Interface((0, 255)), None]


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"init_from": "elsewhere/base"}, "base"),
        ({"init_from": None}, "standard"),
        ({"init_from": "elsewhere/robust"}, "standard"),
        ({"init_from": None, "width_multiplier": 0.5}, None),
    ],
)
def test_the_undefended_network_is_looked_for_beside_the_run(finished, copy, changed, found):
    for name in ("base", "standard"):
        shutil.copytree(finished.path / "standard", copy.parent / name)
    candidate = types.SimpleNamespace(
        path=copy, settings=dataclasses.replace(Workdir(copy).settings(), **changed)
    )
    assert standard_beside(candidate) == (found and copy.parent / found)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--workdir={0}", "--attack=pdg"], "--attack: expected one of"),
        (["--workdir={0}", "--attack=transfer"], "transfer needs another network, source"),
        (["--workdir={0}", "--attack=fgsm", "--norm=L3"], "--norm: expected one of"),
        (["--workdir={0}", "--attack=fgsm", "--norm=L2"], "--epsilon: expected the radius"),
        (["--workdir={0}", "--attack=fgsm", "--batch_size=0"], "--batch_size"),
        (["--workdir={0}", "--attack=fgsm", "--eps=-1"], "--epsilon"),
        (["--workdir={0}", "--model={0}", "--attack=fgsm"], "either --workdir or --model"),
        (["--attack=fgsm"], "either --workdir or --model"),
        (["--model={0}/network.keras", "--attack=fgsm"], "--epsilon: expected the radius"),
        (
            ["--model={0}/network.keras"],
            "--model: expected together with --attack, --checks or --prove",
        ),
        (["--model={0}", "--dataset=mnist", "--eps=0.1", "--attack=fgsm"], "nor a SavedModel"),
        (
            ["--workdir={0}", "--checks", "--undefended={0}/none"],
            "--undefended: expected a place that",
        ),
        (
            ["--workdir={0}", "--norm=L2"],
            "--norm: expected together with --attack, --checks or --prove",
        ),
        (["--workdir={0}", "--checks", "--restarts=3"], "--restarts: expected together with"),
        (["--workdir={0}", "--attack=fgsm", "--undefended={0}"], "--undefended: expected together"),
        (["--workdir={0}", "--attack=fgsm", "--eps=8"], "--epsilon: expected a value in (0, 1]"),
        (["--workdir={0}", "--attack=fgsm", "--seed=3000000000"], "--seed"),
        (["--workdir={0}", "--attack=standard", "--restarts=3"], "--restarts: expected with an"),
        (
            ["--workdir={0}", "--attack=fgsm", "--eval_attack_steps=3"],
            "--eval_attack_steps: expected with an attack",
        ),
        (["--workdir={0}", "--attack=pgd0"], "--attack: expected one of"),
        (
            ["--workdir={0}", "--attack=pgd", "--restarts=-1"],
            "--restarts: expected an integer of at least 1, received -1",
        ),
        (
            ["--workdir={0}", "--attack=fgsm", "--output={0}/config.cfg/x"],
            "--output: expected a folder, or a place for one",
        ),
        (["--workdir={0}", "--source={0}/.."], "--source: expected the folder of one run"),
        (
            ["--workdir={0}", "--attack=fgsm", "--source={0}/.."],
            "--source: expected the folder of one run",
        ),
        (["--workdir={0}", "--attack=square", "--restarts=3"], "--restarts: expected with an"),
        (["--workdir={0}", "--attack=fgsm", "--limit_test_examples=0"], "--limit_test_examples"),
        (["--workdir={0}", "--limit_test_examples=0"], "--limit_test_examples: expected a value"),
        (["--workdir={0}", "--attack=fgsm", "--part=3/2"], "--part: expected k/n such as 2/8"),
        (["--workdir={0}", "--part=1/2"], "--part: expected together with --attack"),
        (
            ["--workdir={0}", "--attack=fgsm", "--prove", "--part=1/2"],
            "--part: expected with --attack alone, received with --prove",
        ),
        (["--workdir={0}", "--attack=fgsm", "--pixels=0,255"], "--pixels: expected together with"),
        (["--workdir={0}", "--attack=fgsm", "--binary"], "--binary: expected together with"),
        (["--workdir={0}", "--attack=fgsm", "--images={0}/none/x.npz"], "--images"),
        (
            ["--workdir={0}", "--attack=fgsm", "--images={0}/network.keras"],
            "--images: expected a new file, or one that this command wrote, received",
        ),
        (["--workdir={0}", "--output={0}/network.keras"], "--output: expected a new file, or one"),
    ],
)
def test_errors(commands, finished, flags, message):
    run = finished.path / "anp_vs"
    outcome = commands.run("evaluate", *(flag.format(run) for flag in flags))
    assert outcome.code == 2, outcome.err
    assert outcome.err.count("\n") == 1
    assert message in outcome.err
    assert not (run / "robustness.json").exists()


@pytest.mark.slow
def test_another_network_in_the_same_folder_is_refused(commands, copy, finished):
    flags = ["--attack=fgsm", "--limit_test_examples=10", f"--output={copy}"]
    assert commands.run("evaluate", f"--workdir={copy}", *flags).code == 0
    outcome = commands.run("evaluate", f"--workdir={finished.path / 'standard'}", *flags)
    assert outcome.code == 2
    assert "expected a folder without results of other networks" in outcome.err
