"""Each mask prunes a real network on MNIST, which slims and exports like the first."""

import json

import numpy as np
import pytest
import tensorflow as tf

from anp_tf import data
from anp_tf.layers import MASKS
from anp_tf.pruning import cost, slim, unit_sparsity
from anp_tf.serving import export_saved_model
from anp_tf.settings import Settings
from anp_tf.train.run import train
from anp_tf.workdir import Workdir

# What weighs the divergence, or penalty, of each mask.
BETAS = {
    "beta_bernoulli": 4.0,
    "hard_concrete": 30.0,
    "information_bottleneck": 5.0,
    "log_normal": 3.0,
}
COMMON = {
    "width_multiplier": 0.3,
    "batch_size": 32,
    "limit_train_examples": 3000,
    "validation_examples": 500,
    "schedule": "one_cycle",
    "learning_rate": 3e-3,
}


@pytest.fixture(scope="module")
def standard(data_dir, tmp_path_factory):
    workdir = Workdir(tmp_path_factory.mktemp("standard"))
    train(Settings(method="standard", epochs=3, **COMMON), workdir)
    return workdir.path


def test_every_mask_is_tested():
    assert BETAS.keys() == MASKS.keys()


@pytest.mark.slow
@pytest.mark.parametrize("mask", MASKS)
def test_mask_prunes_a_real_network(mask, standard, tmp_path):
    settings = Settings(
        method="bp",
        mask=mask,
        beta=BETAS[mask],
        init_from=str(standard),
        epochs=3,
        mask_learning_rate=0.1,
        kl_warmup_epochs=1.0,
        select="last",
        **COMMON,
    )
    workdir = Workdir(tmp_path / "run")
    network = train(settings, workdir)
    assert isinstance(network.get_layer("conv1_mask"), MASKS[mask])
    last = json.loads(workdir.metrics.read_text().splitlines()[-1])
    assert last["val_accuracy"] > 0.85
    assert unit_sparsity(network) > 30
    small = slim(network)
    assert cost(small).parameters < 0.6 * cost(network).parameters
    pixels = next(iter(data.batches(data.load("mnist", "test").take(100), 100)))[0]
    expected = np.array(network(pixels))
    np.testing.assert_allclose(small(pixels), expected, atol=1e-5 * np.abs(expected).max())
    path = export_saved_model(small, tmp_path / "served")
    served = tf.saved_model.load(str(path)).signatures["serving_default"](pixels=pixels)["logits"]
    np.testing.assert_allclose(served, expected, atol=1e-5 * np.abs(expected).max())
