"""The README's code and commands do what they say."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
SMALL = {
    "train": [
        "--limit_train_examples=300",
        "--limit_test_examples=100",
        "--epochs=1",
        "--attack_steps=1",
        "--eval_attack_steps=2",
        "--width_multiplier=0.2",
    ],
    "evaluate": ["--limit_test_examples=100", "--eval_attack_steps=2"],
    "export": [],
    "reproduce": [
        "--methods=at",
        "--limit_train_examples=300",
        "--limit_test_examples=100",
        "--epochs=1",
        "--attack_steps=1",
        "--validation_attack_steps=1",
        "--eval_attack_steps=2",
        "--width_multiplier=0.2",
    ],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the README's blocks run, one after the other, as a reader would run them."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "configs").symlink_to(ROOT / "configs")
    return folder


def run(arguments, folder):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_python_blocks(folder):
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    outputs = [run(["-c", block], folder) for block in blocks]
    assert "kept" in outputs[0]
    assert (folder / "pruned.keras").exists()
    assert "adversarial_accuracy" in outputs[2]
    assert "0." in outputs[3]


def test_commands(folder):
    commands = re.findall(r"^python -m anp_tf\.(\w+) (.*)$", README, re.MULTILINE)
    assert [name for name, _ in commands] == ["train", "evaluate", "export", "reproduce"]
    for name, flags in commands:
        run(["-m", f"anp_tf.{name}", *flags.split(), *SMALL[name]], folder)
    assert (folder / "runs/mnist/anp_vs/results.json").exists()
    assert (folder / "served/mnist/1/saved_model.pb").exists()
    assert "| `at` |" in (folder / "runs/mnist_cpu/table.md").read_text()


def test_quickstart_command_uses_known_flags(folder):
    (flagfile,) = re.findall(r"anp_tf\.train --flagfile=(configs/quickstart\.cfg)$", README, re.M)
    run(
        ["-m", "anp_tf.train", f"--flagfile={flagfile}", "--standard_epochs=1", *SMALL["train"]],
        folder,
    )
    assert (folder / "runs/quickstart/saved_model/1/saved_model.pb").exists()


def test_methods_are_described():
    from anp_tf.methods import METHODS

    for method in METHODS:
        assert f"| `{method}` |" in README
