"""How steps are executed changes nothing but the time: `--jit`, `--steps_per_execution`, traces."""

import itertools

import keras
import numpy as np
import pytest

from anp_tf.methods import METHODS
from anp_tf.methods.slimming import FollowPruning
from anp_tf.settings import Settings
from anp_tf.train.build import build_network, build_training_model
from anp_tf.train.run import train
from anp_tf.workdir import Workdir

QUICK = {
    "width_multiplier": 0.1,
    "epochs": 2,
    "batch_size": 16,
    "limit_train_examples": 160,
    "validation_examples": 32,
    "attack_steps": 2,
    "attack_step_size": 0.1,
    "epsilon_warmup_epochs": 0,
    "kl_warmup_epochs": 0,
}
STEPS = 8  # of an epoch


@pytest.fixture
def trained(small_data_dir, tmp_path):
    """The weights after a run, and what it said of its epochs."""

    def run(name, **options):
        workdir = Workdir(tmp_path / name)
        settings = Settings(data_dir=str(small_data_dir), **{**QUICK, **options})
        network = train(settings, workdir)
        return [np.array(v) for v in network.trainable_variables], workdir.epochs()

    return run


@pytest.mark.slow
def test_several_steps_in_a_call(trained, monkeypatch):
    """Masks that prune and are fixed on the way, checkpoints within the epoch, too."""
    monkeypatch.setattr(FollowPruning, "every", 2)
    options = {"method": "anp_vs", "checkpoint_seconds": 0, "mask_learning_rate": 0.3}
    options |= {"mask_freeze_at": 0.75}
    expected, epochs = trained("one", **options)
    for count in (2, STEPS):
        actual, others = trained(f"{count}", steps_per_execution=count, **options)
        for value, other in zip(actual, expected, strict=True):
            np.testing.assert_allclose(value, other, atol=1e-5)
        for epoch, other in zip(epochs, others, strict=True):
            assert epoch["loss"] == pytest.approx(other["loss"], rel=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps_per_execution": 3}, "expected a divisor of the 8 steps of an epoch, received 3"),
        (
            {"steps_per_execution": 2, "method": "admm"},
            "expected 1 for admm, which cuts weights after every step, received 2",
        ),
    ],
)
def test_what_does_not_fit(trained, options, message):
    with pytest.raises(ValueError, match=f"steps_per_execution: {message}"):
        trained("no", **{"method": "at", **options})


@pytest.mark.slow
def test_compiled_by_xla(trained):
    """XLA draws other random numbers from the same seeds, so only `standard` is the same."""
    options = {"epochs": 1, "limit_train_examples": 60, "batch_size": 8}
    for method, equal in (("standard", True), ("anp_vs", False)):
        expected, (epoch,) = trained(f"{method} plain", method=method, **options)
        actual, (other,) = trained(f"{method} compiled", method=method, jit=True, **options)
        assert other["loss"] == pytest.approx(epoch["loss"], rel=1e-4 if equal else 0.1)
        for value, weight in zip(actual, expected, strict=True):
            np.testing.assert_allclose(value, weight, atol=1e-4 if equal else 0.1)


def model_and_data(method, steps=10, **options):
    random = np.random.default_rng(0)
    settings = Settings(**{**QUICK, "method": method, **options})
    images = random.integers(0, 256, (settings.batch_size * steps, 28, 28, 1)).astype(np.uint8)

    class Images:
        image_shape, num_classes = (28, 28, 1), 10

    network = build_network(settings, Images)
    model = build_training_model(settings, network, len(images), steps)
    return model, images / np.float32(255), random.integers(0, 10, len(images))


def count_traces(model, monkeypatch):
    """Lists that get an entry whenever a step is traced: of training and of validation."""
    counts = {}
    for name in ("train_step", "test_step"):
        calls, step = counts.setdefault(name, []), getattr(model, name)
        monkeypatch.setattr(
            model, name, lambda data, calls=calls, step=step: calls.append(1) or step(data)
        )
    return counts["train_step"], counts["test_step"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "method",
    [m if m == "anp_vs" else pytest.param(m, marks=pytest.mark.slow) for m in METHODS],
)
def test_a_step_is_traced_once(method, monkeypatch):
    """However long `fit` goes on; a graph for each step would fill the memory."""
    model, x, y = model_and_data(method, epochs=6)
    training, validation = count_traces(model, monkeypatch)
    model.fit(x, y, batch_size=16, epochs=6, validation_data=(x[:16], y[:16]), verbose=0)
    assert int(model.optimizer.iterations) == 60
    assert (len(training), len(validation)) == (1, 1)


@pytest.mark.slow
def test_a_step_is_traced_anew_for_a_smaller_network_alone(monkeypatch):
    """As often as the attack's network is made, which each time has a fifth less units, or less."""
    monkeypatch.setattr(FollowPruning, "every", 2)
    model, x, y = model_and_data("anp_vs", epochs=6, beta=200.0, mask_learning_rate=0.3)
    training, _ = count_traces(model, monkeypatch)
    total, sizes = sum(mask.units for mask in model.masks), []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            left = total - sum(int(np.sum(v)) for v in model.slimming.attacked.variables)
            if [left] != sizes[-1:]:
                sizes.append(left)

    model.fit(x, y, batch_size=16, epochs=6, verbose=0, callbacks=[Watch()])
    assert 2 < len(sizes) < 20
    assert all(b <= 0.8 * a for a, b in itertools.pairwise(sizes)), sizes
    assert len(training) == len(sizes)
