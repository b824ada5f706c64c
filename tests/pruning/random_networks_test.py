"""Random networks of the kinds of layers that `slim` knows, with masks at random places."""

import hypothesis
import hypothesis.strategies as st
import keras
import numpy as np
import pytest
from keras import layers

from anp_tf.layers import (
    BayesianMask,
    BetaBernoulliDropout,
    FusedBatchNormalization,
    UnitMask,
    mask_layers,
)
from anp_tf.pruning import insert_masks, slim

FUNCTIONS = [
    *("relu", "sigmoid", "tanh", "elu", "gelu", "selu", "silu", "softplus", "softsign"),
    *("leaky_relu", "linear", "softmax"),
]
JOINS = ["Add", "Add", "Add", "Multiply", "Subtract", "Average", "Maximum", "Minimum"]


class RandomNetwork:
    """Draws layers one after the other; `model` is the network of all that was drawn."""

    def __init__(self, seed, rank, has_masks=True):
        self.has_masks = has_masks
        self.rng = np.random.default_rng(seed)
        self.rank = rank
        self.input = keras.Input((*(9 + np.arange(rank)).tolist(), 2))
        self.masks = 0
        self.shared = {}
        x = self.convolution(self.input)
        tensors = [x]
        for _ in range(self.rng.integers(3, 9)):
            x = self.draw(tensors)
            tensors.append(x)
        outputs = [self.head(x)]
        if self.chance(0.3):
            outputs.append(self.head(self.choice(tensors)))
        self.model = keras.Model(self.input, outputs)
        randomise(self.model, self.rng)
        prune_at_random(self.model, self.rng)

    def choice(self, values):
        return values[self.rng.integers(len(values))]

    def chance(self, probability):
        return self.rng.random() < probability

    def layer(self, name, *args, **kwargs):
        return getattr(layers, f"{name}{self.rank}D")(*args, **kwargs)

    def masked(self, x, probability=0.7):
        if not (self.has_masks and self.chance(probability)):
            return x
        self.masks += 1
        return BetaBernoulliDropout(name=f"mask{self.masks}")(x)

    def draw(self, tensors):
        x = self.choice(tensors[-2:])
        large = min(x.shape[1:-1]) >= 3
        kinds = [self.convolution] * 5 * large
        kinds += [self.depthwise, self.pooling] * large
        kinds += [self.normalization] * 3 + [self.activation] * 5 + [self.other] * 3
        kinds += [lambda x: self.join(x, tensors)] * 5 + [self.gate, self.nested]
        return self.choice(kinds)(x)

    def convolution(self, x):
        units = int(self.choice([4, 6]))
        padding = self.choice(["valid", "same"])
        size = int(self.choice([1, 2, 3])) if min(x.shape[1:-1]) >= 3 else 1
        options = {"padding": padding, "use_bias": self.chance(0.6)}
        if self.chance(0.3):
            options["activation"] = self.choice(FUNCTIONS)
        kind = self.choice(["Conv", "Conv", "Conv", "Transpose", "SeparableConv"])
        if kind == "Transpose" and max(x.shape[1:-1]) < 20:
            options["strides"] = int(self.choice([1, 2]))
            x = getattr(layers, f"Conv{self.rank}DTranspose")(units, size, **options)(x)
        elif kind == "SeparableConv" and self.rank < 3:
            options["depth_multiplier"] = int(self.choice([1, 2]))
            x = self.layer(kind, units, size, **options)(x)
        else:
            what = self.choice(["strides", "dilation_rate", "groups"])
            if what == "groups":
                options[what] = 2 if x.shape[-1] % 2 == 0 else 1
            elif what == "strides" or 2 * (size - 1) < min(x.shape[1:-1]):
                options[what] = int(self.choice([1, 2]))
            x = self.layer("Conv", units, size, **options)(x)
        if self.chance(0.3):
            x = layers.BatchNormalization(scale=self.chance(0.7))(x)
        return self.masked(x)

    def depthwise(self, x):
        if self.rank == 3:
            return self.convolution(x)
        padding, multiplier = self.choice(["valid", "same"]), int(self.choice([1, 2]))
        options = {"depth_multiplier": multiplier, "use_bias": self.chance(0.6)}
        x = self.layer("DepthwiseConv", 3, padding=padding, **options)(x)
        return self.masked(x, 0.4)

    def pooling(self, x):
        kind = self.choice(["MaxPooling", "AveragePooling", "MaxPooling"])
        return self.layer(kind, 2, padding=self.choice(["valid", "same"]))(x)

    def normalization(self, x):
        width = x.shape[-1]
        layer = self.choice(
            [
                layers.BatchNormalization(scale=self.chance(0.7), center=self.chance(0.8)),
                layers.GroupNormalization(self.choice([1, 2, -1]) if width % 2 == 0 else 1),
                layers.LayerNormalization(),
            ]
        )
        return self.masked(layer(x), 0.4)

    def activation(self, x):
        axes = list(range(1, self.rank + 1))
        layer = self.choice(
            [
                layers.ReLU(),
                layers.ReLU(),
                layers.ReLU(max_value=1.0, negative_slope=0.1, threshold=0.2),
                layers.LeakyReLU(0.2),
                layers.ELU(),
                layers.PReLU(shared_axes=self.choice([None, axes])),
                layers.Activation(self.choice(FUNCTIONS)),
                keras.ops.relu,
                keras.ops.sigmoid,
                layers.Softmax(),
            ]
        )
        return self.masked(layer(x), 0.2)

    def other(self, x):
        sizes, width = x.shape[1:-1], x.shape[-1]
        shape = (*sizes[:-1], 1, sizes[-1] * width) if self.rank > 1 else (sizes[0], width)
        layer = self.choice(
            [
                layers.Dropout(0.5),
                self.layer("SpatialDropout", 0.5),
                layers.GaussianNoise(1.0),
                layers.Rescaling(0.5, offset=self.choice([0.0, 0.3])),
                self.layer("ZeroPadding", 1),
                self.layer("Cropping", 1 if min(sizes) > 4 else 0),
                self.layer("UpSampling", 2 if max(sizes) < 8 else 1),
                layers.Reshape(shape),
                layers.Permute((*range(self.rank, 0, -1), self.rank + 1)),
                layers.Permute((self.rank + 1, *range(1, self.rank + 1))),
                lambda x: 2.0 * x - 0.5,
            ]
        )
        return layer(x)

    def join(self, x, tensors):
        alike = [tensor for tensor in tensors if tensor.shape == x.shape]
        others = [self.choice(alike) for _ in range(2)] if alike else [x]
        kind = self.choice([*JOINS, "Concatenate"])
        if self.chance(0.5):
            others = [self.masked(self.layer("Conv", x.shape[-1], 1)(others[0]))]
        if kind == "Subtract":
            others = others[:1]
        if kind == "Concatenate":
            return layers.Concatenate(axis=self.choice([-1, 1]))([x, *others])
        return getattr(layers, kind)()([x, *others])

    def gate(self, x):
        pooled = self.layer("GlobalAveragePooling", keepdims=True)(x)
        width = self.choice([1, x.shape[-1]])
        gate = layers.Dense(width, activation="sigmoid")(self.masked(layers.Dense(4)(pooled)))
        return x * gate if self.chance(0.5) else layers.Multiply()([x, gate])

    def nested(self, x):
        """Two calls of a nested model with masks inside."""
        if "nested" not in self.shared:
            y = inputs = keras.Input((*[None] * self.rank, x.shape[-1]))
            y = self.masked(self.layer("Conv", x.shape[-1], 1)(y), 1.0)
            y = layers.ReLU()(y)
            self.shared["nested"] = keras.Model(inputs, y)
        inner = self.shared["nested"]
        return inner(inner(x)) if inner.input_shape[-1] == x.shape[-1] else x

    def head(self, x):
        collapse = self.choice(
            [
                layers.Flatten(),
                self.layer("GlobalAveragePooling"),
                self.layer("GlobalMaxPooling"),
                layers.Reshape((-1,)),
            ]
        )
        x = self.masked(collapse(x), 0.4)
        if self.chance(0.5):
            x = self.masked(layers.Dense(6, activation=self.choice(FUNCTIONS))(x))
        if self.chance(0.2):
            x = layers.Flatten()(layers.Reshape((3, 2))(layers.Dense(6)(x)))
        return layers.Dense(3)(x)


def prune_at_random(model, rng):
    """Prunes none, some, all or all but one of the units of each mask."""
    for mask in mask_layers(model):
        share = rng.choice([0.0, 0.3, 0.7, 1.0], p=[0.25, 0.3, 0.3, 0.15])
        kept = rng.random(mask.units) >= share
        if share == 1.0 and rng.random() < 0.4:
            kept[rng.integers(mask.units)] = True
        mask.prune(np.flatnonzero(~kept))


def randomise(model, rng):
    """Random weights and factors; features neither vanish nor grow with the depth."""
    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, BetaBernoulliDropout):
            layer.a_u.assign(rng.uniform(-1, 5, layer.units))
        elif not isinstance(layer, BayesianMask | keras.Model):
            for weight in layer.weights:
                mean = 1.0 if weight.name in ("gamma", "moving_variance") else 0.0
                is_kernel = "kernel" in weight.name
                deviation = (2 / np.prod(weight.shape[:-1])) ** 0.5 if is_kernel else 0.2
                value = rng.normal(mean, deviation, weight.shape)
                weight.assign(np.abs(value) + 0.1 if weight.name == "moving_variance" else value)


def assert_same_outputs(model, other, atol=1e-5):
    x = np.random.default_rng(1).normal(0, 3, (4, *model.input.shape[1:])).astype(np.float32)
    expected, actual = (keras.tree.flatten(network(x)) for network in (model, other))
    for a, b in zip(expected, actual, strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=atol * np.abs(a).max())


def check_slim(rank, seed):
    model = RandomNetwork(seed, rank).model
    assert_same_outputs(model, slim(model))


def check_inserted_masks(rank, seed):
    model = RandomNetwork(seed, rank, has_masks=False).model
    neutral = insert_masks(model, lambda name: UnitMask(name=name))
    fused = any(
        isinstance(layer, FusedBatchNormalization) for layer in neutral._flatten_layers()
    )  # whose kernel rounds otherwise
    assert_same_outputs(model, neutral, atol=1e-5 if fused else 0)
    masked = insert_masks(model)
    prune_at_random(masked, np.random.default_rng(seed))
    slimmed = slim(masked)
    assert_same_outputs(masked, slimmed)
    assert slimmed.count_params() <= model.count_params()


CHECKS = pytest.mark.parametrize("check", [check_slim, check_inserted_masks])
SEEDS = hypothesis.given(seed=st.integers(0, 10**6))


@CHECKS
@pytest.mark.parametrize("rank", [1, 2])
@hypothesis.settings(max_examples=3, deadline=None, derandomize=True)
@SEEDS
def test_any_network_with_any_masks(check, rank, seed):
    check(rank, seed)


def test_a_depthwise_convolution_before_the_layers_of_its_channels():
    check_inserted_masks(rank=1, seed=2134)


@pytest.mark.slow
@CHECKS
@pytest.mark.parametrize("rank", [1, 2, 3])
@hypothesis.settings(max_examples=20, deadline=None, derandomize=True)
@SEEDS
def test_many_networks_with_any_masks(check, rank, seed):
    check(rank, seed)
