"""The installed package, outside a checkout."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
SMALL = [
    *("--limit_train_examples=300", "--limit_test_examples=100", "--standard_epochs=1"),
    *("--epochs=1", "--attack_steps=1", "--eval_attack_steps=2", "--width_multiplier=0.2"),
    "--select_min_sparsity=0",
]


def run(*arguments, **options):
    outcome = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, **options
    )
    assert outcome.returncode == 0, outcome.stderr
    return outcome


@pytest.mark.slow
def test_quickstart_from_the_wheel(tmp_path):
    wheels, installed, home = (tmp_path / name for name in ("wheels", "installed", "home"))
    home.mkdir()
    source = tmp_path / "source"  # what a build leaves in a folder gets into the next wheel
    for name in ("anp_tf", "configs"):
        shutil.copytree(ROOT / name, source / name, symlinks=True)
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    build = ["wheel", "--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", wheels]
    run("-m", "pip", *build, source)
    (wheel,) = wheels.glob("anp_tf-*.whl")
    run("-m", "pip", "install", "--no-deps", "--quiet", "--target", installed, wheel)
    environment = {**os.environ, "PYTHONPATH": str(installed), "HOME": str(home)}
    environment.pop("TFDS_DATA_DIR", None)
    here = run("-c", "import anp_tf; print(anp_tf.__file__)", cwd=home, env=environment).stdout
    assert here.startswith(str(installed))
    flags = ["--config=quickstart", *SMALL]
    outcome = run("-m", "anp_tf", "train", *flags, cwd=home, env=environment)
    assert outcome.stderr == ""
    assert (home / "runs" / "quickstart" / "saved_model" / "1" / "saved_model.pb").exists()
    assert (installed / "anp_tf" / "py.typed").exists()
