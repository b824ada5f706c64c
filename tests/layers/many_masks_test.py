"""Masks that are computed together, against each by itself."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from anp_tf.layers import BetaBernoulliDropout, LogNormalDropout
from anp_tf.layers.many_masks import divergences, inference_masks, training_masks

SEEDS = [[3, 4], [5, 6], [7, 8], [9, 10]]


@pytest.fixture
def masks():
    """Masks of other sizes, settings and kinds, some of whose units are pruned."""
    keras.utils.set_random_seed(0)
    layers = [
        BetaBernoulliDropout(alpha=1e-4, temperature=0.1, initial_a=2.0),
        LogNormalDropout(),
        BetaBernoulliDropout(alpha=0.3, temperature=0.7, threshold=0.4),
        BetaBernoulliDropout(posterior="beta"),
    ]
    for layer, units in zip(layers, (3, 4, 5, 2), strict=True):
        layer.build((None, units))
        for weight in layer.trainable_weights:
            weight.assign_add(tf.random.stateless_normal(weight.shape, [units, 1]))
    layers[0].prune([1])
    return layers


def test_they_are_what_each_is_by_itself(masks):
    draws = training_masks(masks, 6, SEEDS)
    expected = inference_masks(masks)
    kl = divergences(masks)
    assert list(draws) == list(expected) == list(kl) == masks
    for mask, seed in zip(masks, SEEDS, strict=True):
        np.testing.assert_allclose(draws[mask], mask.training_mask(6, seed), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(expected[mask], mask.inference_mask(), rtol=1e-5)
        np.testing.assert_allclose(kl[mask], mask.kl(), rtol=1e-5)
    assert expected[masks[0]][1] == 0
    assert np.any(expected[masks[2]] == 0)


def test_a_subclass_keeps_its_own(masks):
    class Halved(BetaBernoulliDropout):
        def sample(self, batch_size, seed):
            return tf.fill([batch_size, self.units], 0.5)

    layer = Halved()
    layer.build((None, 4))
    draws = training_masks([*masks, layer], 2, [*SEEDS, [1, 2]])
    np.testing.assert_array_equal(draws[layer], 0.5)


def test_their_number_hardly_counts():
    def operations(count):
        layers = [BetaBernoulliDropout() for _ in range(count)]
        for layer in layers:
            layer.build((None, 4))
        function = tf.function(lambda: tf.add_n(list(divergences(layers).values())))
        graph = function.get_concrete_function().graph
        return sum(op.type == "PartitionedCall" for op in graph.get_operations())

    assert operations(5) == operations(1)
