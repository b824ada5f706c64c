"""The losses of each method, by hand."""

import pytest
import tensorflow as tf

from anp_tf.layers import BetaBernoulliDropout
from anp_tf.methods import METHODS, Terms
from anp_tf.models import lenet5_caffe

TERMS = Terms(
    clean_loss=tf.constant(2.0),
    adversarial_loss=tf.constant(3.5),
    vulnerability=tf.constant(0.25),
    kl=tf.constant(7.0),
    decay=tf.constant(0.125),
)
# w and lambda, loss of the weights, loss of the masks
OBJECTIVES = [
    pytest.param("standard", 2.0, 0.5, 2.0 + 0.125, None, id="standard"),
    pytest.param("bp", 2.0, 0.5, 2.0 + 7 + 0.125, 2.0 + 7 + 0.125, id="bp"),
    pytest.param(
        "anp_vs", 2.0, 0.5, (2.0 + 2 * 3.5) / 3 + 0.5 * 0.25 + 0.125, 3.5 + 7.0, id="anp_vs"
    ),
    pytest.param("anp_vs", 1.0, 0.0, (2.0 + 3.5) / 2 + 0.125, 3.5 + 7.0, id="anp_vs-w1"),
    pytest.param("anp_vs", 0.0, 4.0, 2.0 + 4.0 * 0.25 + 0.125, 3.5 + 7.0, id="anp_vs-w0"),
]


def no_attack(network, x, y, seed=None, scale=1.0):
    return x


def model_of(method, **kwargs):
    method = METHODS[method]
    mask = (lambda name: BetaBernoulliDropout(name=name)) if method.uses_masks else None
    attack = no_attack if method.uses_attack else None
    return method(lenet5_caffe(mask, width_multiplier=0.01), 100, attack=attack, **kwargs)


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


@pytest.mark.parametrize(
    ("method", "uses_attack", "uses_masks"),
    [("standard", False, False), ("bp", False, True), ("anp_vs", True, True)],
)
def test_what_a_method_needs(method, uses_attack, uses_masks):
    assert METHODS[method].uses_attack == uses_attack
    assert METHODS[method].uses_masks == uses_masks


def test_every_method_is_tested():
    assert set(METHODS) == {case.values[0] for case in OBJECTIVES}
