"""Networks as users have them, at toy size: masked, pruned, slimmed, and trained for a step."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from anp_tf.attacks import FGSM
from anp_tf.layers import BetaBernoulliDropout, mask_layers
from anp_tf.methods import AdversarialNeuralPruningVS
from anp_tf.models.comparison import alike, example_inputs
from anp_tf.pruning import insert_masks, slim
from anp_tf.pruning.view import SlimView

IMAGE = (16, 16, 3)


def classified(inputs, x):
    x = x if len(x.shape) == 2 else getattr(layers, f"GlobalAveragePooling{len(x.shape) - 2}D")()(x)
    return keras.Model(inputs, layers.Dense(3, name="logits")(x))


def unet():
    x = inputs = keras.Input(IMAGE)
    skips = []
    for width in (6, 8):
        x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
        skips.append(x)
        x = layers.MaxPooling2D(2)(x)
    x = layers.Conv2D(10, 3, padding="same", activation="relu")(x)
    for width, skip in zip((8, 6), reversed(skips), strict=True):
        x = layers.Conv2DTranspose(width, 2, strides=2, activation="relu")(x)
        x = layers.Conv2D(width, 3, padding="same", activation="relu")(
            layers.Concatenate()([x, skip])
        )
    return classified(inputs, x)


def inverted_residual_with_gate():
    x = inputs = keras.Input(IMAGE)
    x = layers.BatchNormalization()(layers.Conv2D(6, 3, strides=2, use_bias=False)(x))
    for _ in range(2):
        y = layers.BatchNormalization()(layers.Conv2D(12, 1, use_bias=False)(x))
        y = layers.Activation("hard_silu")(y)
        y = layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same")(y))
        y = layers.Activation("hard_silu")(y)
        gate = layers.GlobalAveragePooling2D(keepdims=True)(y)
        gate = layers.Conv2D(4, 1, activation="relu")(gate)
        gate = layers.ReLU(6.0)(layers.Conv2D(12, 1)(gate) + 3.0) * (1 / 6)
        y = layers.Multiply()([y, gate])
        x = layers.Add()([x, layers.BatchNormalization()(layers.Conv2D(6, 1)(y))])
    return classified(inputs, x)


def convnext():
    x = inputs = keras.Input(IMAGE)
    x = layers.Conv2D(6, 4, strides=4)(x)
    y = layers.LayerNormalization(epsilon=1e-6)(layers.DepthwiseConv2D(3, padding="same")(x))
    y = layers.Dense(6)(layers.Dense(24, activation="gelu")(y))
    y = y * np.linspace(0.5, 1, 6).astype(np.float32)  # of layer scale
    return classified(inputs, layers.Add()([x, y]))


def mixer():
    x = inputs = keras.Input(IMAGE)
    x = layers.Reshape((16, 6))(layers.Conv2D(6, 4, strides=4)(x))
    y = layers.Permute((2, 1))(layers.LayerNormalization()(x))
    y = layers.Permute((2, 1))(layers.Dense(16)(layers.Dense(8, activation="gelu")(y)))
    x = layers.Add()([x, y])
    y = layers.Dense(6)(layers.Dense(12, activation="gelu")(layers.LayerNormalization()(x)))
    return classified(inputs, layers.Add()([x, y]))


def vit():
    x = inputs = keras.Input(IMAGE)
    x = ops.reshape(layers.Conv2D(8, 4, strides=4)(x), (-1, 16, 8))
    x = x + np.random.default_rng(0).normal(size=(1, 16, 8)).astype(np.float32)
    y = layers.LayerNormalization()(x)
    x = x + layers.MultiHeadAttention(2, 4, dropout=0.1)(y, y)
    y = layers.Dense(16, activation="gelu")(layers.LayerNormalization()(x))
    x = x + layers.Dropout(0.1)(layers.Dense(8)(y))
    return classified(inputs, layers.LayerNormalization()(x)[:, 0])


def siamese():
    tower = keras.Sequential(
        [keras.Input(IMAGE), layers.Conv2D(6, 3, activation="relu"), layers.GlobalMaxPooling2D()]
    )
    a, b = keras.Input(IMAGE), keras.Input(IMAGE)
    difference = ops.absolute(tower(a) - tower(b))
    x = layers.Dense(5, activation="selu")(layers.Concatenate()([difference, tower(a)]))
    return classified([a, b], x)


def sequence():
    x = inputs = keras.Input((20, 4))
    x = layers.Conv1D(8, 3, activation="relu")(x)
    x = layers.LSTM(6, dropout=0.2)(layers.MaxPooling1D(2)(x))
    return classified(inputs, layers.Dense(7, activation="elu")(x))


def tabular():
    norm = layers.Normalization()
    norm.adapt(np.random.default_rng(0).normal(4, 2, (50, 9)).astype(np.float32))
    x = inputs = keras.Input((9,))
    x = layers.Dense(12, activation="swish")(norm(x))
    x = layers.Dense(8, activation=tf.nn.leaky_relu)(layers.Dropout(0.0)(x))
    return classified(inputs, x)


def text():
    inputs = keras.Input((10,), dtype="int32")
    x = layers.Conv1D(8, 3, activation="relu")(layers.Embedding(20, 6)(inputs))
    return classified(inputs, layers.Dense(5, activation="relu")(layers.GlobalMaxPooling1D()(x)))


def shared_head():
    x = inputs = keras.Input(IMAGE)
    head = layers.Conv2D(5, 3, activation="relu", name="head")
    pyramid = [layers.Conv2D(6, 3, strides=s, activation="relu")(x) for s in (1, 2)]
    features = [layers.GlobalAveragePooling2D()(head(level)) for level in pyramid]
    return classified(inputs, layers.Add()(features))


class Described(keras.Model):
    """A subclass of a functional model that computes what that does."""


def nested():
    inner_input = keras.Input((14, 14, 6))
    y = layers.Conv2D(6, 3, padding="same", activation="relu")(inner_input)
    inner = keras.Model(inner_input, layers.Add()([inner_input, y]), name="inner")
    x = inputs = keras.Input(IMAGE)
    x = inner(inner(layers.Conv2D(6, 3, activation="relu")(x)))
    logits = layers.Dense(3)(layers.GlobalAveragePooling2D()(x))
    return Described(inputs=inputs, outputs=logits)


class Gate(layers.Layer):
    """Squeeze and excite, as one layer."""

    def __init__(self, filters):
        super().__init__()
        self.squeeze, self.excite = layers.Dense(3, "relu"), layers.Dense(filters, "sigmoid")

    def build(self, shape):
        self.squeeze.build((None, 1, 1, shape[-1]))
        self.excite.build((None, 1, 1, 3))

    def compute_output_shape(self, shape):
        return shape

    def call(self, x):
        return x * self.excite(self.squeeze(ops.mean(x, axis=(1, 2), keepdims=True)))


class Block(layers.Layer):
    """An inverted residual, as one layer."""

    def __init__(self, filters):
        super().__init__()
        self.steps = [
            *(layers.Conv2D(12, 1), layers.BatchNormalization(), layers.ReLU()),
            layers.Conv2D(12, 3, padding="same", groups=12),
            *(layers.Dropout(0.1), layers.Activation("hard_silu"), Gate(12)),
            layers.Conv2D(filters, 1),
        ]

    def build(self, shape):
        for layer in self.steps:
            layer.build(shape)
            shape = layer.compute_output_shape(shape)

    def call(self, inputs, training=None):
        x = inputs
        for layer in self.steps:
            takes = isinstance(layer, layers.Dropout | layers.BatchNormalization)
            x = layer(x, training=training) if takes else layer(x)
        return x + inputs


def blocks():
    x = inputs = keras.Input(IMAGE)
    x = layers.Conv2D(6, 3, strides=2)(x)
    for _ in range(2):
        x = Block(6)(x)
    return classified(inputs, x)


def channels_first():
    x = inputs = keras.Input((3, 16, 16))
    first = {"data_format": "channels_first"}
    x = layers.Conv2D(6, 3, strides=2, **first)(x)
    x = layers.ReLU()(layers.BatchNormalization(axis=1)(x))
    y = layers.DepthwiseConv2D(3, padding="same", activation="relu", **first)(x)
    y = layers.Conv2D(8, 3, padding="same", activation="gelu", **first)(y)
    gate = layers.GlobalAveragePooling2D(keepdims=True, **first)(y)
    gate = layers.Conv2D(8, 1, activation="sigmoid", **first)(gate)
    y = layers.Multiply()([y, gate])
    x = layers.Concatenate(axis=1)([layers.MaxPooling2D(**first)(z) for z in (x, y)])
    x = layers.Conv2D(5, 2, activation="relu", **first)(x)
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten(**first)(x)))


NETWORKS = {
    "blocks": blocks,
    "channels first": channels_first,
    "U-Net": unet,
    "inverted residual": inverted_residual_with_gate,
    "ConvNeXt": convnext,
    "Mixer": mixer,
    "ViT": vit,
    "siamese": siamese,
    "LSTM": sequence,
    "tabular": tabular,
    "text": text,
    "shared head": shared_head,
    "nested": nested,
}
NOT_TRAINED = ("siamese", "text")  # two inputs, integers


def masked(network):
    return insert_masks(network, lambda name: BetaBernoulliDropout(initial_a=3.0, name=name))


def assert_slims(network):
    """Prunes at random, twice, and compares the slimmed network; returns it."""
    rng = np.random.default_rng(2)
    assert mask_layers(network)
    for _ in range(2):
        for mask in mask_layers(network):
            mask.prune(np.flatnonzero(rng.random(mask.units) < 0.4)[: mask.units - 1])
        slimmed = slim(network)
        x = example_inputs(network.input, seed=3)
        expected = network(x, training=False)
        assert alike(slimmed(x, training=False), expected, tolerance=2e-5)
    return slimmed


@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
def test_masked_and_slimmed(make):
    network = masked(make())
    assert assert_slims(network).count_params() < 0.9 * make().count_params()


@pytest.mark.parametrize("make", [pytest.param(blocks, marks=pytest.mark.slow), channels_first])
def test_what_is_rewritten_has_a_view(make):
    network = masked(make())
    assert not any(isinstance(layer, Block | Gate) for layer in network.layers)
    assert len(mask_layers(network)) == (5 if make is blocks else 3)
    for mask in mask_layers(network):
        mask.prune([1])
    view, x = SlimView(network), example_inputs(network.input)
    with view.weights():
        assert alike(view.network(x), network(x), tolerance=2e-5)


def trained_for_a_step(network):
    model = AdversarialNeuralPruningVS(
        network, num_examples=4, attack=FGSM(epsilon=0.1), vulnerability_weight=1.0
    )
    model.compile(keras.optimizers.Adam(1e-3), keras.optimizers.Adam(1e-2))
    x, y = np.asarray(example_inputs(network.input)), np.array([0, 1])
    (loss,) = model.fit(x, y, verbose=0).history["loss"]
    assert np.isfinite(loss)


@pytest.mark.slow
def test_trained():
    trained_for_a_step(masked(tabular()))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(NETWORKS.keys() - {"tabular", *NOT_TRAINED}))
def test_the_others_are_trained_too(name):
    trained_for_a_step(masked(NETWORKS[name]()))


def test_a_legacy_file(tmp_path):
    tabular().save(tmp_path / "network.h5")
    assert_slims(masked(keras.models.load_model(tmp_path / "network.h5", compile=False)))


def test_a_layer_is_one_call_if_its_own_weights_are_read():
    class Scaled(keras.layers.Layer):
        def __init__(self, by_layer, **kwargs):
            super().__init__(**kwargs)
            self.dense, self.by_layer = layers.Dense(6), by_layer

        def build(self, shape):
            self.dense.build(shape)
            self.scale = self.add_weight(name="scale", shape=(1,))

        def call(self, x):
            return self.dense(x) if self.by_layer else self.dense(x) * (2 * self.scale)

    for by_layer in (True, False):
        inputs = keras.Input((4,))
        model = classified(inputs, layers.ReLU()(Scaled(by_layer)(inputs)))
        assert not mask_layers(masked(model))
