"""Runs that are stopped and go on, with the options that keep a state of their own."""

import numpy as np
import pytest

from anp_tf.errors import Stopped
from anp_tf.methods.slimming import FollowPruning
from anp_tf.settings import Settings
from anp_tf.train.run import train
from anp_tf.train.saver import Saver
from anp_tf.workdir import Workdir

QUICK = {
    "width_multiplier": 0.1,
    "epochs": 4,
    "batch_size": 16,
    "limit_train_examples": 80,
    "validation_examples": 16,
    "validation_attack_steps": 1,
    "validation_attack_queries": 2,
    "attack_steps": 1,
    "attack_step_size": 0.1,
    "epsilon_warmup_epochs": 0,
    "kl_warmup_epochs": 0,
    "keep_checkpoints": 99,
}
STEPS = 4  # of an epoch
# Of 2 + 5 + 80 + 50 units; `phases` keeps 2 + 4 + 30 + 12.
SPARSITY = {"phases": 89 / 137, "units": 104 / 137}
RECIPE = {
    "optimizer": "sgd",
    "learning_rate": 0.02,
    "schedule": "one_cycle",
    "average_decay": 0.9,
    "label_smoothing": 0.1,
    "decayed": "kernels",
    "augmentation": "crop_alternate",
    "train_epsilon": 0.1,
    "attack": "n_fgsm",
    "last_attack_at": 0.6,
    "adversarial_weight": float("inf"),
}
PHASES = {
    **RECIPE,
    "schedule": "restart",
    "mask_freeze_at": 0.5,
    "fix_sparsity": 0.6,
    "target_units": (2.0, 4.0, 30.0, 12.0),
    "adversarial_weight": 2.0,
}
CASES = {
    "phases": {"method": "anp_vs", **PHASES, "vulnerability_weight": 0},
    "units": {
        "method": "magnitude",
        "granularity": "unit",
        "prune_until": 0.3,
        "prune_updates": 1,
        "target_units": (1.0, 3.0, 20.0, 9.0),
        "schedule": "restart",
    },
    "at": {"method": "at", **RECIPE},
    "anp_vs": {"method": "anp_vs", **RECIPE, "mask_freeze_at": 0.5, "mask_learning_rate": 0.3},
}


@pytest.fixture
def run(small_data_dir, tmp_path, monkeypatch):
    """Trains; stops after the given step if there is one."""
    monkeypatch.setattr(FollowPruning, "every", 2)

    def run(name, options, stop=None):
        def save(self):
            original(self)
            if int(self.model.optimizer.iterations) == stop:
                raise Stopped

        workdir = Workdir(tmp_path / name)
        settings = Settings(data_dir=str(small_data_dir), **{**QUICK, **options})
        original = Saver._save
        with monkeypatch.context() as patch:
            patch.setattr(Saver, "_save", save)
            network = train(settings, workdir)
        epochs = [
            {k: v for k, v in e.items() if k not in ("seconds", "core_seconds")}
            for e in workdir.epochs()
        ]
        return [v.numpy() for v in network.variables], epochs

    return run


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_goes_on_with_the_same_bits(run, name):
    options = {**CASES[name], "checkpoint_seconds": 0}
    weights, epochs = run("whole", options)
    assert len(epochs) == 4
    for stop in (3, STEPS, 11):
        with pytest.raises(Stopped):
            run("run", options, stop)
    if name in SPARSITY:
        assert epochs[-1]["sparsity"] == pytest.approx(SPARSITY[name], abs=1e-3)
    others, records = run("run", options)
    assert records == epochs
    for weight, other in zip(weights, others, strict=True):
        np.testing.assert_array_equal(weight, other)


@pytest.mark.slow
def test_goes_on_in_another_precision(run, tmp_path):
    options = {"method": "standard", "epochs": 2, "checkpoint_seconds": 0}
    with pytest.raises(Stopped):
        run("run", {**options, "mixed_precision": "bfloat16"}, STEPS + 1)
    workdir = Workdir(tmp_path / "run")
    (before,) = workdir.epochs()
    weights, _ = run("run", options)
    first, second = workdir.epochs()
    assert first == before
    assert second["loss"] < first["loss"]
    assert workdir.settings().mixed_precision == "none"
    assert all(np.all(np.isfinite(weight)) for weight in weights)
