"""The command `python -m anp_tf.evaluate` with `--attack` and `--checks`, as processes."""

import json
import shutil

import numpy as np
import pytest

from anp_tf import data
from anp_tf.evaluation import Threat, attack_subject, from_workdir
from anp_tf.training.progress import counting
from anp_tf.workdir import load_network

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
    expected, _ = attack_subject(
        from_workdir(copy, limit=30, data_dir=small_data_dir),
        ["fgsm", "pgd3"],
        tmp_path / "again",
        Threat(0.3, step_size=0.01, batch_size=30),
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


def test_stopped_by_a_kill_and_started_again(commands, copy):
    kill = """
import os, signal, sys
module = sys.modules["anp_tf.evaluation.worst_case"]
write = module.write_batch
def killing(path, batch):
    if path.name.startswith("000012"):
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, batch)
module.write_batch = killing
"""
    killed = commands.run("evaluate", f"--workdir={copy}", *FLAGS, before=kill)
    assert killed.code == -9
    assert not (copy / "robustness.json").exists()
    (folder,) = (copy / "attacks").iterdir()
    (first,) = folder.glob("*.npz")
    before = first.stat().st_mtime_ns
    assert commands.run("evaluate", f"--workdir={copy}", *FLAGS).code == 0
    assert first.stat().st_mtime_ns == before
    assert len(list(folder.glob("*.npz"))) == 3
    whole = without_times(copy / "robustness.json")
    shutil.rmtree(copy / "attacks")
    assert commands.run("evaluate", f"--workdir={copy}", *FLAGS).code == 0
    assert without_times(copy / "robustness.json") == whole


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


def test_the_default_folder_of_a_model(commands, copy, tmp_path):
    shutil.copy(copy / "network.keras", tmp_path / "network.keras")
    flags = ["--dataset=mnist", "--eps=2", "--norm=L2", "--attack=fgsm", "--limit_test_examples=10"]
    outcome = commands.run("evaluate", f"--model={tmp_path}/network.keras", *flags)
    assert outcome.code == 0, outcome.err
    (name,) = json.loads((tmp_path / "network.robustness" / "robustness.json").read_text())
    assert name == "fgsm, L2, 2"


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


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--workdir={0}", "--attack=pdg"], "--attack: expected one of"),
        (["--workdir={0}", "--attack=transfer"], "--source"),
        (["--workdir={0}", "--attack=fgsm", "--norm=L3"], "--norm: expected one of"),
        (["--workdir={0}", "--attack=fgsm", "--norm=L2"], "--epsilon: expected the radius"),
        (["--workdir={0}", "--attack=fgsm", "--batch_size=0"], "--batch_size"),
        (["--workdir={0}", "--attack=fgsm", "--eps=-1"], "--epsilon"),
        (["--workdir={0}", "--model={0}", "--attack=fgsm"], "either --workdir or --model"),
        (["--attack=fgsm"], "either --workdir or --model"),
        (["--model={0}/network.keras", "--attack=fgsm"], "--dataset"),
        (["--model={0}/network.keras"], "--attack: expected the attacks"),
        (["--model={0}", "--dataset=mnist", "--eps=0.1", "--attack=fgsm"], "nor a SavedModel"),
        (["--workdir={0}", "--checks", "--undefended={0}/none"], "network.keras"),
    ],
)
def test_errors(commands, finished, flags, message):
    run = finished.path / "anp_vs"
    outcome = commands.run("evaluate", *(flag.format(run) for flag in flags))
    assert outcome.code == 2, outcome.err
    assert outcome.err.count("\n") == 1
    assert message in outcome.err
    assert not (run / "robustness.json").exists()


def test_another_network_in_the_same_folder_is_refused(commands, copy, finished):
    flags = ["--attack=fgsm", "--limit_test_examples=10", f"--output={copy}"]
    assert commands.run("evaluate", f"--workdir={copy}", *flags).code == 0
    outcome = commands.run("evaluate", f"--workdir={finished.path / 'standard'}", *flags)
    assert outcome.code == 2
    assert "holds the evaluation of another network" in outcome.err
