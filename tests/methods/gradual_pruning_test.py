"""The methods that prune by magnitude: their projections, schedules and zeros, against NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from anp_tf.layers import UnitMask
from anp_tf.methods import ADMM, MagnitudePruning
from anp_tf.pruning import cost, insert_masks, slim

FEATURES, HIDDEN, CLASSES = 12, 10, 3


def no_attack(network, x, y, seed=None, scale=1.0):
    return x


def data(n=40):
    rng = np.random.default_rng(0)
    x = rng.random((n, FEATURES)).astype(np.float32)
    return x, x[:, :CLASSES].argmax(-1)


def network(mask=None):
    keras.utils.set_random_seed(1)
    pixels = keras.Input((FEATURES,))
    x = keras.layers.Dense(HIDDEN, name="hidden")(pixels)
    x = x if mask is None else mask(x)
    x = keras.layers.ReLU()(x)
    return keras.Model(pixels, keras.layers.Dense(CLASSES, name="logits")(x), name="toy")


def trained(model, steps, rate=0.05):
    optimizer = keras.optimizers.Adam(rate)
    model.compile(optimizer)
    batches = tf.data.Dataset.from_tensors(data()).repeat()
    model.fit(batches, steps_per_epoch=steps, shuffle=False, verbose=0)
    return model


def kernels(model):
    return [np.array(kernel) for kernel in model.kernels]


def admm(**kwargs):
    return ADMM(network(), 40, attack=no_attack, **kwargs)


def magnitude(granularity, **kwargs):
    masked = network(UnitMask(name="mask"))
    return MagnitudePruning(masked, 40, attack=no_attack, granularity=granularity, **kwargs)


def keep_largest(weights, count):
    """The projection onto at most `count` weights that are not zero, by sorting."""
    flat = np.abs(weights).ravel()
    threshold = np.sort(flat)[::-1][count - 1]
    return np.where(np.abs(weights) >= threshold, weights, 0.0)


# ADMM


def test_admm_starts_at_its_own_projection_without_a_penalty():
    model = admm()
    for kernel, z, u in zip(model.kernels, model.z, model.u, strict=True):
        np.testing.assert_array_equal(z, kernel)
        assert not np.any(u)


def test_an_update_of_admm_is_numpys():
    model = admm(target_sparsity=0.75, pruning_steps=100, pruning_updates=50)
    rng = np.random.default_rng(2)
    start = [rng.normal(size=u.shape).astype(np.float32) for u in model.u]
    for u, value in zip(model.u, start, strict=True):
        u.assign(value)
    model.prune(1)
    for w, z, u, before in zip(kernels(model), model.z, model.u, start, strict=True):
        expected = keep_largest(w + before, round(0.25 * w.size))
        np.testing.assert_allclose(z, expected, rtol=1e-6)
        np.testing.assert_allclose(u, before + w - expected, atol=1e-6)
    assert float(model.rho) == pytest.approx(1.3e-3)
    assert all(np.all(np.array(kept) == 1) for kept in model.kept)


def test_the_penalty_of_admm_is_numpys():
    model = admm()
    rng = np.random.default_rng(3)
    for u, z in zip(model.u, model.z, strict=True):
        u.assign(rng.normal(size=u.shape))
        z.assign(rng.normal(size=u.shape))
    model.rho.assign(0.7)
    terms = _Terms()
    penalty = sum(
        0.35 * np.sum((w - np.array(z) + np.array(u)) ** 2)
        for w, z, u in zip(kernels(model), model.z, model.u, strict=True)
    )
    assert float(model.objective(terms)[0]) == pytest.approx(3.0 + 0.5 + penalty, rel=1e-5)


class _Terms:
    clean_loss, adversarial_loss, decay = 3.0, 3.0, 0.5


@pytest.mark.slow
def test_admm_moves_the_weights_to_their_projection():
    """The distance from W to the sparse set shrinks as rho grows, before anything is cut."""

    def distance(model):
        w = np.concatenate([kernel.ravel() for kernel in kernels(model)])
        z = np.concatenate([keep_largest(k, round(0.3 * k.size)).ravel() for k in kernels(model)])
        return np.linalg.norm(w - z) / np.linalg.norm(w)

    free = trained(admm(target_sparsity=0.7, pruning_steps=10_000), 300)
    pulled = trained(admm(target_sparsity=0.7, pruning_steps=310, pruning_updates=31), 300)
    assert float(pulled.rho) == pytest.approx(1e-3 * 1.3**30, rel=1e-4)
    assert distance(pulled) < 0.5 * distance(free)


def test_admm_cuts_at_the_end_and_keeps_zeros():
    model = trained(admm(target_sparsity=0.8, pruning_steps=20, pruning_updates=5), 20)
    at_the_cut = [kernel != 0 for kernel in kernels(model)]
    assert [kernel.sum() for kernel in at_the_cut] == [24, 6]
    assert float(model.rho) == 0.0
    before = kernels(model)
    model.fit(*data(), batch_size=40, epochs=10, verbose=0)
    for kernel, old, left in zip(kernels(model), before, at_the_cut, strict=True):
        np.testing.assert_array_equal(kernel != 0, left)
        assert np.all(kernel[left] != old[left])


# Magnitude pruning


@pytest.mark.parametrize(
    "share", [0.8, *(pytest.param(share, marks=pytest.mark.slow) for share in (0.5, 0.95))]
)
def test_weights_are_cut_gradually(share):
    model = magnitude("weight", target_sparsity=share, pruning_steps=40, pruning_updates=4)
    left = []
    for _ in range(5):
        trained(model, 10) if not left else model.fit(*data(), batch_size=40, epochs=10, verbose=0)
        left.append([np.count_nonzero(kernel) for kernel in kernels(model)])
    shares = [share * (1 - (1 - k / 4) ** 3) for k in (1, 2, 3, 4, 4)]
    assert left == [[round((1 - s) * size) for size in (120, 30)] for s in shares]


def test_the_smallest_weights_are_cut():
    model = magnitude("weight", target_sparsity=0.5, pruning_updates=1)
    before = kernels(model)
    model.prune(1)
    model.cut()
    for kernel, old in zip(kernels(model), before, strict=True):
        np.testing.assert_array_equal(kernel, keep_largest(old, round(0.5 * old.size)))


def test_the_filters_of_the_smallest_magnitude_are_cut():
    model = magnitude("filter", target_sparsity=0.6, pruning_updates=1)
    magnitudes = np.abs(kernels(model)[0]).mean(0)
    model.prune(1)
    kept = np.array(model.masks[0].kept)
    cut = int(HIDDEN - kept.sum())
    assert sorted(np.flatnonzero(kept == 0)) == sorted(np.argsort(magnitudes)[:cut])
    dense, small = cost(model.network).parameters, cost(slim(model.network)).parameters
    assert 1 - small / dense == pytest.approx(0.6, abs=1.01 / HIDDEN)


def test_cut_filters_stay_cut():
    model = magnitude("filter", target_sparsity=0.5, pruning_steps=30, pruning_updates=6)
    trained(model, 10)
    first = np.flatnonzero(np.array(model.masks[0].kept) == 0)
    assert first.size
    model.fit(*data(), batch_size=40, epochs=30, verbose=0)
    last = np.flatnonzero(np.array(model.masks[0].kept) == 0)
    assert set(first) < set(last)
    assert last.size == round(model.filters * HIDDEN)


def test_the_share_is_logged():
    model = magnitude("weight", target_sparsity=0.8, pruning_steps=2, pruning_updates=1)
    model.compile(keras.optimizers.Adam(0.01))
    logs = model.fit(*data(), batch_size=40, epochs=4, verbose=0).history["weight_sparsity"]
    # The second epoch's only step is the one after which weights are cut.
    assert logs == pytest.approx([0.0, 0.8, 0.8, 0.8], abs=1e-6)


@pytest.mark.parametrize("method", ["admm", pytest.param("magnitude", marks=pytest.mark.slow)])
def test_cut_weights_stay_zero_after_another_compile(method):
    """Steps count from 0 again, and none of them is one of pruning."""
    options = {"target_sparsity": 0.5, "pruning_steps": 8, "pruning_updates": 1}
    model = admm(**options) if method == "admm" else magnitude("weight", **options)
    trained(model, 8)
    pruned = [kernel == 0 for kernel in kernels(model)]
    assert np.mean(np.concatenate([cut.ravel() for cut in pruned])) == pytest.approx(0.5, abs=0.01)
    trained(model, 4)
    for kernel, cut in zip(kernels(model), pruned, strict=True):
        np.testing.assert_array_equal(kernel == 0, cut)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"target_sparsity": 1.0}, r"`target_sparsity`.*\[0, 1\)"),
        ({"target_sparsity": -0.1}, r"`target_sparsity`"),
        ({"pruning_steps": 0}, r"`pruning_steps`.*at least 1"),
        ({"pruning_updates": 1.5}, r"`pruning_updates`.*integer"),
    ],
)
def test_errors(argument, message):
    with pytest.raises(ValueError, match=message):
        admm(**argument)


def test_weights_are_cut_without_masks():
    masked = magnitude("weight", target_sparsity=0.5, pruning_steps=4, pruning_updates=2)
    plain = MagnitudePruning(
        network(), 40, attack=no_attack, target_sparsity=0.5, pruning_steps=4, pruning_updates=2
    )
    for value, other in zip(kernels(trained(plain, 6)), kernels(trained(masked, 6)), strict=True):
        np.testing.assert_allclose(value, other, atol=1e-6)
        assert np.count_nonzero(value) == value.size / 2


@pytest.mark.parametrize("granularity", ["filter", "unit"])
def test_filters_are_cut_by_masks(granularity):
    with pytest.raises(ValueError, match=r"`toy` has no masks.*insert_masks\(network, mask=Uni"):
        MagnitudePruning(network(), 40, attack=no_attack, granularity=granularity)
    masked = insert_masks(network(), mask=UnitMask)
    MagnitudePruning(masked, 40, attack=no_attack, granularity=granularity)


def test_unknown_granularity():
    with pytest.raises(ValueError, match=r"`granularity`.*'channel'"):
        magnitude("channel")


def test_several_steps_in_a_call_are_refused():
    """Weights are cut after each step, on the host."""
    with pytest.raises(ValueError, match=r"`steps_per_execution`.*cut after each step"):
        admm().compile("adam", steps_per_execution=4)
    admm().compile("adam", steps_per_execution=1)


def test_only_kernels_are_cut():
    pixels = keras.Input((4, 3))
    x = keras.layers.MultiHeadAttention(2, 3)(pixels, pixels)
    x = keras.layers.LayerNormalization(axis=[1, 2])(x)
    x = keras.layers.PReLU()(keras.layers.Embedding(5, 2)(keras.layers.Flatten()(x)))
    model = ADMM(
        keras.Model(pixels, keras.layers.Dense(3)(keras.layers.Flatten()(x))), 4, no_attack
    )
    assert [v.name for v in model.kernels] == ["kernel"] * 4 + ["embeddings", "kernel"]
