"""Which epoch's network is kept."""

import types

import keras
import numpy as np
import pytest

from anp_tf.train.best import BestEpoch


def choose(logs, **kwargs):
    """The choice after epochs with these logs; the network's weight is the epoch's number."""
    best = BestEpoch(**kwargs)
    weight = keras.Variable(0.0)
    best.set_model(types.SimpleNamespace(network=types.SimpleNamespace(variables=[weight])))
    for epoch, values in enumerate(logs):
        weight.assign(epoch + 1)
        best.on_epoch_end(epoch, values)
    weight.assign(-1)
    if best.choice is None:
        assert best.weights == []
        return None
    np.testing.assert_array_equal(best.weights, [best.choice["epoch"]])
    return best.choice["epoch"], best.choice["score"]


def robust(*scores):
    return [{"val_accuracy": 1 - s, "val_adversarial_accuracy": s, "sparsity": s} for s in scores]


@pytest.mark.parametrize(
    ("logs", "kwargs", "expected"),
    [
        pytest.param(robust(0.1, 0.3, 0.2), {}, (2, 0.3), id="highest robust accuracy"),
        pytest.param(robust(0.3, 0.1, 0.3, 0.2), {}, (3, 0.3), id="the latest of equals"),
        pytest.param(robust(0.9, 0.1, 0.2), {"first_epoch": 2}, (3, 0.2), id="after the warm-up"),
        pytest.param(robust(0.9, 0.1, 0.2), {"first_epoch": 4}, None, id="warm-up only"),
        pytest.param(
            [{"val_accuracy": 0.5}, {"val_accuracy": 0.7}, {"val_accuracy": 0.6}],
            {"min_sparsity": 0.5},
            (2, 0.7),
            id="clean accuracy where nothing is attacked, no masks",
        ),
        pytest.param(
            [
                {"val_adversarial_accuracy": 0.9, "sparsity": 0.1},
                {"val_adversarial_accuracy": 0.5, "sparsity": 0.5},
                {"val_adversarial_accuracy": 0.4, "sparsity": 0.9},
            ],
            {"min_sparsity": 0.5},
            (2, 0.5),
            id="sparse enough",
        ),
        pytest.param(
            [
                {"val_adversarial_accuracy": attacked, "val_proved": proved}
                for attacked, proved in ((1.0, 0.0), (0.9, 0.7), (0.7, 0.8))
            ],
            {},
            (2, 0.8),
            id="between proved and attacked",
        ),
        pytest.param([{"accuracy": 0.5}], {}, None, id="no validation"),
    ],
)
def test_choice(logs, kwargs, expected):
    assert choose(logs, **kwargs) == expected
