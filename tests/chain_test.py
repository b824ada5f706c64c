"""One network through the real command lines: trained, killed, trained on, exported."""

import json
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

from anp_tf import layers  # noqa: F401 - registers the mask layers for loading

# Neither the package nor Keras can be imported by what loads the SavedModel.
LOAD = """
import sys
sys.modules["anp_tf"] = sys.modules["keras"] = None
import numpy as np
import tensorflow as tf
path, pixels, logits = sys.argv[1:]
signature = tf.saved_model.load(path).signatures["serving_default"]
np.save(logits, signature(pixels=tf.constant(np.load(pixels)))["logits"])
"""


def weights(workdir):
    network = keras.saving.load_model(workdir / "network.keras", compile=False)
    return [variable.numpy() for variable in network.weights]


def results(workdir):
    row = json.loads((workdir / "results.json").read_text())
    for name in ("latency_milliseconds", "core_minutes", "date", "command", "seconds"):
        row.pop(name)
    return row


@pytest.mark.slow
def test_from_training_to_serving(finished, commands, tmp_path):
    workdir, reference = tmp_path / "a run", finished.path / "anp_vs"
    flags = [f"--flagfile={reference / 'config.cfg'}", f"--workdir={workdir}"]
    flags += ["--checkpoint_seconds=0"]
    process = commands.start("train", *flags)
    deadline = time.monotonic() + 300
    while not list(workdir.glob("checkpoints/0*/meta.json")):
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.signal(signal.SIGKILL)
    assert process.wait().code == -signal.SIGKILL
    outcome = commands.run("train", *flags)
    assert outcome.code == 0, outcome.err
    assert "from step" in outcome.out
    for value, expected in zip(weights(workdir), weights(reference), strict=True):
        np.testing.assert_array_equal(value, expected)
    assert results(workdir) == results(reference)

    outcome = commands.run("export", f"--workdir={workdir}")
    assert outcome.code == 0, outcome.err
    pixels = np.random.default_rng(0).random((4, 28, 28, 1), np.float32)
    np.save(tmp_path / "pixels.npy", pixels)
    paths = [workdir / "saved_model" / "1", tmp_path / "pixels.npy", tmp_path / "logits.npy"]
    subprocess.run([sys.executable, "-I", "-c", LOAD, *paths], cwd=tmp_path, check=True)
    network = keras.saving.load_model(workdir / "network.keras", compile=False)
    np.testing.assert_allclose(np.load(paths[2]), network(pixels), atol=1e-5)
