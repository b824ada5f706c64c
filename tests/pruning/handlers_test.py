"""What lies between two masked layers is slimmed with them: operations, and layers of all kinds."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from anp_tf.layers import BetaBernoulliDropout, UnitMask, mask_layers
from anp_tf.pruning import cost, insert_masks, slim

VECTOR = np.linspace(-1, 2, 8).astype(np.float32)
PLACES = np.random.default_rng(5).normal(size=(10, 10, 8)).astype(np.float32)


def masked_and_slimmed(model, pruned=(0, 2, 3)):
    """The masked model and its slimmed form, which must compute the same."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        value = rng.normal(0, 0.4, weight.shape)
        weight.assign(np.abs(value) + 0.2 if "variance" in weight.name else value)
    masked = insert_masks(model, lambda name: UnitMask(name=name))
    for mask in mask_layers(masked):
        mask.prune([unit for unit in pruned if unit < mask.units - 1])
    slimmed = slim(masked)
    shapes = [[3, *(size or 10 for size in tensor.shape[1:])] for tensor in model.inputs]
    x = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    x = x[0] if len(x) == 1 else x
    expected, actual = masked(x), slimmed(x)
    scale = np.abs(expected).max()
    assert scale > 1e-3
    np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-5 * scale)
    return masked, slimmed


def halves(x):
    a, b = ops.split(x, 2, axis=-1)
    return ops.concatenate([a, ops.relu(b)], axis=-1)


def uneven(x):
    a, b, c = ops.split(x, [1, 3], axis=-1)
    return ops.concatenate([c, ops.tanh(a), b], -1)


def rows(x):
    a, b = ops.split(x, 2, axis=1)
    return a * 2.0 - b


IMAGES = {
    "mean": lambda x: ops.mean(x, (1, 2), keepdims=True) + x,
    "max": lambda x: ops.max(x, axis=1, keepdims=True),
    "amin": lambda x: ops.amin(x, axis=2, keepdims=True),
    "sum": lambda x: ops.sum(x, axis=[1], keepdims=True) * 0.1,
    "concatenate": lambda x: ops.concatenate([x, ops.relu(x)], axis=-1),
    "concatenate rows": lambda x: ops.concatenate([x, -x], axis=1),
    "pad": lambda x: ops.pad(x, [[0, 0], [1, 2], [1, 0], [0, 0]]),
    "reflect": lambda x: ops.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], mode="reflect"),
    "max_pool": lambda x: ops.max_pool(x, 2),
    "average_pool": lambda x: ops.average_pool(x, 3, strides=1, padding="same"),
    "reshape": lambda x: ops.reshape(x, (-1, 5, 20, 8)),
    "reshape to channels": lambda x: ops.reshape(x, (-1, 10, 5, 16)),
    "transpose": lambda x: ops.transpose(x, (0, 2, 1, 3)),
    "split": halves,
    "uneven split": uneven,
    "split rows": rows,
    "where": lambda x: ops.where(x > 0.1, x, 0.3 * x),
    "where with numbers": lambda x: ops.where(ops.logical_and(x > -1, x < 1), x, 1.0),
    "divide": lambda x: x / (1.0 + ops.exp(-x)),
    "slice": lambda x: x[:, ::2, 1:-1],
    "row": lambda x: x[:, 3:4],
    "channels": lambda x: x[..., 1:7:2],
    "all but a channel": lambda x: x[..., :-1],
    "all channels backwards": lambda x: x[..., ::-1],
    "some channels backwards": lambda x: x[..., 6:1:-1],
    "vector": lambda x: x * VECTOR + np.float32(1.0),
    "vector first": lambda x: ops.subtract(VECTOR.reshape(1, 1, 1, 8), x),
    "maximum with a vector": lambda x: ops.maximum(x, ops.convert_to_tensor(VECTOR)),
    "expand and squeeze": lambda x: ops.squeeze(ops.expand_dims(x, 2), 2),
    "flip": lambda x: ops.flip(x, axis=1),
    "Resizing": layers.Resizing(7, 5),
    "Resizing with bars": layers.Resizing(6, 8, pad_to_aspect_ratio=True),
    **{  # since Keras 3.13
        name: getattr(layers, name)(3)
        for name in ("AdaptiveAveragePooling2D", "AdaptiveMaxPooling2D")
        if hasattr(layers, name)
    },
    "RMSNormalization": layers.RMSNormalization(epsilon=0.1),
    "Lambda": layers.Lambda(lambda x: ops.relu(x) * 2 - 0.5),
    "TimeDistributed": layers.TimeDistributed(layers.AveragePooling1D(2)),
}


@pytest.mark.parametrize("between", IMAGES.values(), ids=IMAGES)
def test_between_two_convolutions(between):
    x = inputs = keras.Input((12, 12, 3))
    x = between(layers.Conv2D(8, 3, activation="silu", name="first")(x))
    x = layers.Conv2D(6, 1, activation="gelu", name="second")(x)
    model = keras.Model(inputs, layers.Dense(3)(layers.GlobalMaxPooling2D()(x)))
    masked, slimmed = masked_and_slimmed(model)
    assert sum(mask.units for mask in mask_layers(masked)) == 14
    assert slimmed.get_layer("first").filters <= 5
    assert slimmed.get_layer("second").filters == 3
    ratio = slimmed.get_layer("second").kernel.shape[2] / model.get_layer("second").kernel.shape[2]
    assert ratio < 1


def test_constants_that_differ_by_place_are_kept():
    """Pruned channels that a number pads, or that numbers of places are added to, are no zeros."""
    for between in (
        lambda x: ops.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], constant_values=2),
        lambda x: ops.add(x, PLACES),
    ):
        x = inputs = keras.Input((12, 12, 3))
        x = between(layers.Conv2D(8, 3, activation="silu", name="first")(x))
        x = layers.GlobalMaxPooling2D()(layers.Conv2D(6, 1, activation="gelu")(x))
        masked_and_slimmed(keras.Model(inputs, layers.Dense(3)(x)))


@pytest.mark.parametrize("bounds", [VECTOR + 1, (VECTOR + 1).tolist()], ids=["array", "list"])
def test_an_operation_that_has_an_array_itself_is_not_known(bounds):
    inputs = keras.Input((8, 8, 3))
    x = ops.clip(layers.Conv2D(8, 3)(inputs), 0.0, bounds)
    x = layers.GlobalMaxPooling2D()(layers.Conv2D(6, 1, activation="gelu")(x))
    masked, _ = masked_and_slimmed(keras.Model(inputs, layers.Dense(3)(x)))
    assert [mask.units for mask in mask_layers(masked)] == [6]


@pytest.mark.parametrize(
    "between",
    [
        *(layers.Cropping2D(9), layers.MaxPooling2D(20), layers.MaxPooling2D(40)),
        lambda x: x[:, 40:, 40:],
    ],
)
def test_images_of_unknown_size_are_as_large_as_a_layer_needs(between):
    x = inputs = keras.Input((None, None, 3))
    x = between(layers.Conv2D(8, 1, activation="sigmoid", name="first")(x))
    model = keras.Model(inputs, layers.Dense(3)(layers.GlobalMaxPooling2D()(x)))
    masked = insert_masks(model, lambda name: UnitMask(name=name))
    mask_layers(masked)[0].prune([0, 2])
    slimmed = slim(masked)
    assert slimmed.get_layer("first").filters == 6
    x = np.random.default_rng(0).normal(size=(1, 48, 44, 3)).astype(np.float32)
    np.testing.assert_allclose(slimmed(x), masked(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("extreme", [ops.max, ops.min])
def test_an_extreme_that_begins_with_a_number(extreme):
    """No factor of a mask may pass it."""
    inputs = keras.Input((8, 8, 3))
    x = layers.BatchNormalization(scale=False)(layers.Conv2D(6, 3, name="first")(inputs))
    x = BetaBernoulliDropout(initial_a=2.0, name="mask")(x)
    model = keras.Model(inputs, layers.Dense(3)(extreme(x, axis=(1, 2), initial=0.3)))
    x = np.random.default_rng(0).normal(size=(3, 8, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(slim(model)(x), model(x), rtol=0, atol=1e-6)


def test_a_sum_over_an_unknown_number_of_positions_is_no_constant():
    inputs = keras.Input((None, None, 3))
    x = ops.sum(layers.Conv2D(8, 3, activation="sigmoid")(inputs), axis=(1, 2))
    masked_and_slimmed(keras.Model(inputs, layers.Dense(3)(x)))


def test_sums_and_averages_in_hand_written_normalizations():
    x = inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, name="first")(x)
    mean = ops.mean(x, axis=(1, 2), keepdims=True)
    deviation = ops.sqrt(ops.mean(ops.square(x - mean), axis=(1, 2), keepdims=True) + 1e-3)
    x = ops.relu((x - mean) / deviation)
    model = keras.Model(inputs, layers.Dense(3)(ops.mean(x, (1, 2))))
    _, slimmed = masked_and_slimmed(model)
    assert slimmed.get_layer("first").filters == 5


SEQUENCES = {
    "LSTM": lambda x: layers.LSTM(4)(x),
    "GRU": lambda x: layers.GRU(4, return_sequences=True)(x),
    "SimpleRNN": lambda x: layers.SimpleRNN(4, use_bias=False)(x),
    "TimeDistributed dense": lambda x: layers.TimeDistributed(layers.Dense(8, name="d"))(x),
}


@pytest.mark.parametrize("layer", SEQUENCES.values(), ids=SEQUENCES)
def test_sequences(layer):
    x = inputs = keras.Input((9, 3))
    x = layer(layers.Conv1D(8, 3, activation="relu", name="first")(x))
    model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(layers.Dense(6, "relu")(x))))
    _, slimmed = masked_and_slimmed(model)
    assert slimmed.get_layer("first").filters == 5


@pytest.mark.parametrize("bias", [True, False])
def test_attention(bias):
    """A block of a transformer whose residual stream is normalized by its root mean square."""
    x = inputs = keras.Input((6, 4))
    x = layers.Dense(8, name="stream")(x)
    y = layers.RMSNormalization()(x)
    y = layers.MultiHeadAttention(2, 3, use_bias=bias, name="attention")(y, y)
    x = layers.Add()([x, y])
    y = layers.Dense(12, activation="gelu", name="inner")(layers.RMSNormalization()(x))
    x = layers.Add()([x, layers.Dense(8, name="outer")(y)])
    model = keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))
    masked, slimmed = masked_and_slimmed(model)
    assert [mask.units for mask in mask_layers(masked)] == [8, 12]
    assert len(mask_layers(masked)[0]._inbound_nodes) == 3
    attention = slimmed.get_layer("attention")
    shapes = [tuple(weight.shape) for weight in attention.weights if len(weight.shape) == 3]
    assert shapes == [(5, 2, 3), (5, 2, 3), (5, 2, 3), (2, 3, 5)]


@pytest.mark.parametrize(
    "call",
    [
        lambda layer, query, value, key: layer(query, value, key=key),
        lambda layer, query, value, key: layer(query=query, value=value, key=key),
    ],
    ids=["by position", "by name"],
)
def test_attention_between_two_sequences(call):
    queries, values = keras.Input((6, 4)), keras.Input((7, 5))
    x, y = layers.Dense(8, "relu", name="q")(queries), layers.Dense(6, "relu", name="v")(values)
    x = call(layers.MultiHeadAttention(2, 3, value_dim=2, name="attention"), x, y, y * 2.0)
    x = layers.Dense(5, activation="relu")(x)
    model = keras.Model([queries, values], layers.Dense(3)(layers.Flatten()(x)))
    masked, slimmed = masked_and_slimmed(model)
    assert sorted(mask.units for mask in mask_layers(masked)) == [5, 6, 8, 8]
    kernels = [w.shape for w in slimmed.get_layer("attention").weights if len(w.shape) == 3]
    assert [tuple(shape) for shape in kernels] == [(5, 2, 3), (3, 2, 3), (3, 2, 2), (2, 2, 5)]
    projections = 6 * 8 * 6 + 7 * 6 * 6 + 7 * 6 * 4 + 6 * 4 * 8
    (counted,) = (x.multiply_adds for x in cost(masked).layers if x.name == "attention")
    assert counted == projections + 6 * 7 * (6 + 4)


def test_attention_with_an_output_of_two_axes_is_not_known():
    inputs = keras.Input((6, 4))
    x = layers.Dense(8, activation="relu", name="before")(inputs)
    x = layers.MultiHeadAttention(2, 3, output_shape=(4, 6), name="attention")(x, x)
    x = layers.Dense(5, activation="relu")(layers.Flatten()(x))
    masked, _ = masked_and_slimmed(keras.Model(inputs, layers.Dense(3)(x)))
    assert [mask.units for mask in mask_layers(masked)] == [5]


def attended(x):
    scores = ops.softmax(ops.matmul(x, ops.transpose(x, (0, 2, 1))) * 0.1)
    return ops.einsum("bij,bjk->bik", scores, x)


NEED_ALL = {
    "AdditiveAttention": lambda x: layers.AdditiveAttention()([x, x]),
    "Attention": lambda x: layers.Attention(use_scale=True)([x, x, x * 0.1]),
    "Dot": lambda x: layers.Dot(2)([x, x]),
    "EinsumDense": lambda x: layers.EinsumDense("abc,cd->abd", (6, 8), bias_axes="d")(x),
    "SpectralNormalization": lambda x: layers.SpectralNormalization(layers.Conv1D(8, 3))(x),
    "matmul and einsum": attended,
    "dot_product_attention": lambda x: ops.reshape(
        ops.dot_product_attention(*[ops.reshape(x, (-1, 6, 2, 4))] * 3), (-1, 6, 8)
    ),
}


@pytest.mark.parametrize("between", NEED_ALL.values(), ids=NEED_ALL)
def test_what_multiplies_features_needs_all_of_them(between):
    """Masks of one's own before and after such layers: units before stay, those after are cut."""
    x = inputs = keras.Input((6, 4))
    x = between(UnitMask(name="before")(layers.Dense(8, name="first")(x)))
    x = UnitMask(name="after")(x)
    x = UnitMask(name="last")(layers.Dense(7, activation="gelu", name="second")(x))
    model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))
    for mask in mask_layers(model):
        mask.prune([0, 2])
    slimmed = slim(model)
    x = np.random.default_rng(1).normal(size=(3, 6, 4)).astype(np.float32)
    np.testing.assert_allclose(slimmed(x), model(x), rtol=0, atol=1e-5)
    assert slimmed.get_layer("first").units == 8
    assert slimmed.get_layer("second").units == 5


def test_products_of_an_unknown_number_of_positions():
    inputs = keras.Input((None, 3))
    x = layers.Dense(8, activation="relu", name="first")(inputs)
    x = attended(layers.Dense(6)(x))
    _, slimmed = masked_and_slimmed(keras.Model(inputs, layers.Dense(3)(ops.mean(x, 1))))
    assert slimmed.get_layer("first").units == 5


def by_layers(x):
    x = layers.Conv2D(8, 3, padding="same", name="a")(x)
    x = layers.MaxPooling2D(2)(layers.ReLU()(x))
    y = layers.Conv2D(8, 3, padding="same", name="b")(layers.ZeroPadding2D(1)(x))
    x = layers.Concatenate()([layers.Activation("silu")(y), layers.ZeroPadding2D(1)(x)])
    gate = layers.Dense(16, "sigmoid", name="gate")(layers.GlobalAveragePooling2D()(x))
    x = layers.Multiply()([x, layers.Reshape((1, 1, 16))(gate)])
    x = layers.Conv2D(8, 1, name="c")(x)
    x = layers.Add()([x, layers.Conv2D(8, 1, name="d")(x)])
    return layers.Dense(3, name="logits")(layers.GlobalAveragePooling2D()(x))


def by_operations(x):
    ones = [[0, 0], [1, 1], [1, 1], [0, 0]]
    x = layers.Conv2D(8, 3, padding="same", name="a")(x)
    x = ops.max_pool(ops.relu(x), 2)
    y = layers.Conv2D(8, 3, padding="same", name="b")(ops.pad(x, ones))
    x = ops.concatenate([ops.silu(y), ops.pad(x, ones)], axis=-1)
    gate = layers.Dense(16, "sigmoid", name="gate")(ops.mean(x, axis=(1, 2)))
    x = x * ops.reshape(gate, (-1, 1, 1, 16))
    x = layers.Conv2D(8, 1, name="c")(x)
    x = x + layers.Conv2D(8, 1, name="d")(x)
    return layers.Dense(3, name="logits")(ops.mean(x, axis=[1, 2]))


def test_a_network_of_operations_prunes_as_its_twin_of_layers():
    found = []
    for body in (by_layers, by_operations):
        inputs = keras.Input((8, 8, 3))
        masked, slimmed = masked_and_slimmed(keras.Model(inputs, body(inputs)), (0, 2, 3, 5))
        masks = {mask.name: mask.units for mask in mask_layers(masked)}
        assert masks == {"a_mask": 8, "b_mask": 8, "c_mask": 8}
        found.append((masks, cost(slimmed).flops, cost(slimmed).parameters))
    assert found[0] == found[1]
    assert found[0][1] < 0.7 * cost(masked).flops


def test_what_could_not_go_has_no_mask():
    """Channels of several layers that a layer without a mask is added to."""
    x = inputs = keras.Input((8, 8, 3))
    x = layers.Concatenate()([layers.Conv2D(4, 1)(x), layers.Conv2D(4, 1)(x)])
    x = layers.Add()([x, layers.Conv2D(8, 1)(x)])
    model = keras.Model(inputs, layers.Dense(3)(layers.GlobalMaxPooling2D()(x)))
    masked, missing = insert_masks(model, report=True)
    assert mask_layers(masked) == []
    assert sorted(layer.units for layer in missing) == [4, 4, 8]
