"""The losses of each method, by hand."""

import types

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from anp_tf.layers import BayesConv2D, BayesDense, BetaBernoulliDropout, UnitMask
from anp_tf.losses import vulnerability
from anp_tf.methods import METHODS, Terms
from anp_tf.models import lenet5_caffe

TERMS = Terms(
    clean_loss=tf.constant(2.0),
    clean_logits=tf.constant([[0.0, np.log(3.0)], [0.0, 0.0]]),
    adversarial_loss=tf.constant(3.5),
    adversarial_logits=tf.constant([[0.0, 0.0], [0.0, np.log(3.0)]]),
    vulnerability=tf.constant(0.25),
    kl=tf.constant(7.0),
    decay=tf.constant(0.125),
)
MIXED = (2.0 + 2 * 3.5) / 3
# KL of (1/4, 3/4) from (1/2, 1/2), and of (1/2, 1/2) from (1/4, 3/4).
DIVERGENCE = np.mean([np.log(2) - scipy.stats.entropy([0.25, 0.75]), 0.5 * np.log(4 / 3)])
# w and lambda, loss of the weights, loss of the masks
OBJECTIVES = [
    pytest.param("standard", 2.0, 0.5, 2.0 + 0.125, None, id="standard"),
    pytest.param("bp", 2.0, 0.5, 2.0 + 7 + 0.125, 2.0 + 7 + 0.125, id="bp"),
    pytest.param("at", 2.0, 0.5, MIXED + 0.125, None, id="at"),
    pytest.param("at", 0.0, 0.5, 2.0 + 0.125, None, id="at-w0"),
    pytest.param("at_vs", 2.0, 0.5, MIXED + 0.5 * 0.25 + 0.125, None, id="at_vs"),
    pytest.param("at_bnn", 2.0, 0.5, MIXED + 7.0 + 0.125, None, id="at_bnn"),
    pytest.param("pretrained_at", 2.0, 0.5, MIXED + 0.125, None, id="pretrained_at"),
    pytest.param("admm", 2.0, 0.5, MIXED + 0.125, None, id="admm-start"),
    pytest.param("trades", 2.0, 0.5, 2.0 + 6 * DIVERGENCE + 0.125, None, id="trades"),
    pytest.param("anp", 2.0, 0.5, MIXED + 0.125, 3.5 + 7.0, id="anp"),
    pytest.param("anp_vs", 2.0, 0.5, MIXED + 0.5 * 0.25 + 0.125, 3.5 + 7.0, id="anp_vs"),
    pytest.param("anp_vs", 1.0, 0.0, (2.0 + 3.5) / 2 + 0.125, 3.5 + 7.0, id="anp_vs-w1"),
    pytest.param("anp_vs", 0.0, 4.0, 2.0 + 4.0 * 0.25 + 0.125, 3.5 + 7.0, id="anp_vs-w0"),
    pytest.param("magnitude", 2.0, 0.5, MIXED + 0.125, None, id="magnitude"),
]
# attack, masks, learned, random weights, starts from
NEEDS = {
    "standard": (False, False, False, False, None),
    "bp": (False, True, True, False, "standard"),
    "at": (True, False, False, False, None),
    "at_vs": (True, False, False, False, None),
    "at_bnn": (True, False, False, True, None),
    "pretrained_at": (True, False, False, False, "standard"),
    "admm": (True, False, False, False, "at"),
    "trades": (True, False, False, False, None),
    "anp": (True, True, True, False, "standard"),
    "anp_vs": (True, True, True, False, "standard"),
    "magnitude": (True, True, False, False, None),
}


def no_attack(network, x, y, seed=None, scale=1.0):
    return x


def model_of(method, width=0.01, **kwargs):
    method = METHODS[method]
    kind = BetaBernoulliDropout if method.learns_masks else UnitMask
    layers = keras.layers
    if method.uses_random_weights:
        layers = types.SimpleNamespace(Conv2D=BayesConv2D, Dense=BayesDense)
    network = lenet5_caffe(
        kind if method.uses_masks else None, width_multiplier=width, layers=layers
    )
    return method(network, 100, attack=no_attack if method.uses_attack else None, **kwargs)


@pytest.mark.parametrize(("method", "w", "suppression", "weights", "masks"), OBJECTIVES)
def test_objective(method, w, suppression, weights, masks):
    model = model_of(method, adversarial_weight=w, vulnerability_weight=suppression)
    weight_loss, mask_loss = model.objective(TERMS)
    assert float(weight_loss) == pytest.approx(weights, rel=1e-6)
    assert (mask_loss if mask_loss is None else float(mask_loss)) == (
        masks if masks is None else pytest.approx(masks, rel=1e-6)
    )


def test_the_weight_of_the_adversarial_loss_is_the_papers_by_default():
    weight_loss, _ = model_of("anp_vs").objective(TERMS)
    assert float(weight_loss) == pytest.approx((2.0 + 2 * 3.5) / 3 + 0.125)


@pytest.mark.parametrize("method", NEEDS)
def test_what_a_method_needs(method):
    kind = METHODS[method]
    assert NEEDS[method] == (
        kind.uses_attack,
        kind.uses_masks,
        kind.learns_masks,
        kind.uses_random_weights,
        kind.starts_from,
    )


@pytest.mark.parametrize("method", ["at_vs", "anp_vs"])
def test_suppression_reaches_every_layer(method):
    """The gradient of lambda V alone is not zero in any layer that latent features depend on."""
    model = model_of(method, width=0.3, vulnerability_weight=1.0)
    x = np.random.default_rng(0).random((8, 28, 28, 1), np.float32)
    moved = np.clip(x + 0.3 * np.random.default_rng(1).choice([-1, 1], x.shape), 0, 1)
    masks = {mask: mask.inference_mask() for mask in model.masks}
    with tf.GradientTape() as tape:
        (latents, _), (other_latents, _) = model.forward.paired(x, moved, masks, training=True)
        loss = model.vulnerability_weight * vulnerability(latents, other_latents)
    gradients = tape.gradient(loss, model.weight_variables)
    reached = {
        v.path
        for v, g in zip(model.weight_variables, gradients, strict=True)
        if g is not None and np.any(g)
    }
    layers = ("conv1", "conv2", "dense1")
    assert reached == {f"{layer}/{name}" for layer in layers for name in ("kernel", "bias")}


def test_every_method_is_tested():
    assert set(METHODS) == {case.values[0] for case in OBJECTIVES} == set(NEEDS)


def test_regularizers_of_random_weights_count_and_weight_decay_does_not():
    """One of its own, and weight decay by the method, whose place the prior takes."""

    def decay(regularizer, weight_decay):
        inputs = keras.Input((4,))
        logits = BayesDense(2, kernel_regularizer=regularizer)(inputs)
        network = keras.Model(inputs, logits)
        model = METHODS["at_bnn"](network, 10, attack=no_attack, weight_decay=weight_decay)
        return float(model.decay()), network.layers[1].kernel.numpy()

    assert decay(None, 5.0)[0] == 0
    found, kernel = decay(keras.regularizers.L2(3.0), 5.0)
    assert found == pytest.approx(3 * np.sum(kernel**2), rel=1e-5)


@pytest.mark.parametrize("weight", [-1.0, "6"])
def test_a_weight_of_trades_that_is_none(weight):
    with pytest.raises(ValueError, match="`trades_beta`"):
        model_of("trades", trades_beta=weight)
