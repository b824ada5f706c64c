"""Costs against figures by hand, Keras and TensorFlow's profiler."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from anp_tf.layers import BayesianMask, BetaBernoulliDropout, mask_layers
from anp_tf.models import lenet5_caffe, resnet18, vgg16
from anp_tf.pruning import cost, slim, unit_flops, unit_sparsity


def mask(name):
    return BetaBernoulliDropout(initial_a=5.0, name=name)


class OpenMask(BayesianMask):
    """A mask, with a weight of its own, that keeps all units but those cut by hand."""

    def build(self, input_shape):
        super().build(input_shape)
        self.add_unit_weight("noise", "zeros")

    def expected(self):
        return tf.ones(self.units)


PRODUCTS = (
    *("Conv2D", "Conv2DBackpropInput", "Conv3D", "DepthwiseConv2dNative", "MatMul"),
    *("BatchMatMul", "BatchMatMulV2"),
)


def profiled_flops(model):
    """The floating-point operations of convolutions and products, by TensorFlow's profiler.

    It counts them in the model's frozen graph, operation by operation.
    """
    image = tf.TensorSpec((1, *model.input_shape[1:]), tf.float32)
    function = tf.function(lambda x: model(x, training=False)).get_concrete_function(image)
    frozen = convert_variables_to_constants_v2(function).graph
    builder = tf.compat.v1.profiler.ProfileOptionBuilder
    options = builder(builder.float_operation()).with_empty_output().build()
    node = tf.compat.v1.profiler.profile(frozen, cmd="op", options=options)
    flops = {}
    while node.children:  # each kind of operation is the child of the one before
        (node,) = node.children
        flops[node.name] = node.float_ops
    return sum(flops.get(name, 0) for name in PRODUCTS)


def conv_network():
    x = inputs = keras.Input((15, 15, 3))
    x = layers.Conv2D(6, 3, strides=2, padding="same", use_bias=False, name="conv1")(x)
    x = mask("mask1")(layers.BatchNormalization(name="bn1")(x))
    x = layers.Conv2D(7, 3, name="conv2")(layers.ReLU()(x))
    x = layers.Flatten()(layers.MaxPooling2D(2)(layers.ReLU()(mask("mask2")(x))))
    x = layers.Dense(9, name="dense")(x)
    x = layers.ReLU()(layers.BatchNormalization(name="bn2")(x))
    return keras.Model(inputs, layers.Dense(4, name="logits")(x))


def test_lenet_by_hand():
    result = cost(lenet5_caffe())
    conv1, conv2, dense1, logits = result.layers
    assert [layer.name for layer in result.layers] == ["conv1", "conv2", "dense1", "logits"]
    assert [layer.kind for layer in result.layers] == ["Conv2D", "Conv2D", "Dense", "Dense"]
    assert conv1.multiply_adds == 24 * 24 * 25 * 20
    assert conv2.multiply_adds == 8 * 8 * 25 * 20 * 50
    assert dense1.multiply_adds == 800 * 500
    assert logits.multiply_adds == 500 * 10
    assert result.multiply_adds == 288_000 + 1_600_000 + 400_000 + 5_000
    assert result.flops == 2 * result.multiply_adds
    assert [layer.parameters for layer in result.layers] == [520, 25_050, 400_500, 5_010]
    assert result.parameters == 431_080
    assert result.parameter_bytes == 4 * 431_080
    assert [layer.memory for layer in result.layers] == [
        25 * 1 * (24 * 24 + 20),
        25 * 20 * (8 * 8 + 50),
        800 * 500 + 500,
        500 * 10 + 10,
    ]
    assert result.memory == 14_900 + 57_000 + 400_500 + 5_010


def test_batch_normalisation_by_hand():
    result = cost(conv_network())
    memory = {layer.name: layer.memory for layer in result.layers}
    assert memory == {
        "conv1": 9 * 3 * (8 * 8 + 6) + 2 * 6,
        "bn1": 0,
        "conv2": 9 * 6 * (6 * 6 + 7),
        "dense": 63 * 9 + 9 + 2 * 63,
        "bn2": 0,
        "logits": 9 * 4 + 4,
    }
    assert result.parameters == 162 + 24 + 385 + 576 + 36 + 40


@pytest.mark.parametrize(
    ("layer", "channels"),
    [
        (layers.Conv2D(16, 3), 16),
        (layers.SeparableConv2D(16, 3), 16),
        (layers.DepthwiseConv2D(3), 8),
        (layers.DepthwiseConv2D(3, depth_multiplier=2), 16),
        (layers.Conv2DTranspose(16, 3), 16),
    ],
    ids=lambda case: getattr(case, "name", None),
)
@pytest.mark.parametrize("is_first", [False, True])
def test_batch_normalisation_adds_twice_its_channels(layer, channels, is_first):
    def memory(normalise):
        x = inputs = keras.Input((9, 9, 3) if not is_first else (9, 9, 8))
        if not is_first:
            x = normalise(layers.Conv2D(8, 3)(x))
        return cost(keras.Model(inputs, normalise(layer(x)))).memory

    def plain(x):
        return x

    added = memory(lambda x: layers.BatchNormalization()(x)) - memory(plain)
    assert added == 2 * channels + (0 if is_first else 2 * 8)


def toy_vgg(some_mask=None):
    return vgg16(some_mask, width_multiplier=1 / 16)


def toy_resnet(some_mask=None):
    return resnet18(some_mask, width_multiplier=1 / 16)


@pytest.mark.parametrize("build", [lenet5_caffe, conv_network, toy_vgg, toy_resnet])
def test_flops_are_those_of_the_profiler(build):
    model = build()
    assert cost(model).flops == profiled_flops(model) > 0


def test_masks_cost_nothing_and_slim_networks_less():
    model, dense = lenet5_caffe(mask), lenet5_caffe()
    assert cost(model) == cost(dense)
    assert cost(lenet5_caffe(OpenMask)).flops == cost(dense).flops
    assert cost(dense).parameters == dense.count_params()
    for layer in mask_layers(model):
        layer.prune(np.arange(0, layer.units, 2))
    slimmed = slim(model)
    result = cost(slimmed)
    assert result.parameters == slimmed.count_params()
    assert result.flops == profiled_flops(slimmed)
    conv1, conv2, dense1, logits = (layer.multiply_adds for layer in result.layers)
    assert (conv1, conv2) == (24 * 24 * 25 * 10, 8 * 8 * 25 * 10 * 25)
    assert (dense1, logits) == (400 * 250, 250 * 10)


def test_shared_layers_nested_models_and_data_types():
    inputs = keras.Input((5, 6))
    dense = layers.Dense(6, dtype="bfloat16")
    inner = keras.Sequential([keras.Input((5, 6)), layers.Dense(3), mask("inside")], name="inner")
    model = keras.Model(inputs, inner(dense(dense(inputs))))
    result = cost(model)
    assert result.multiply_adds == 2 * (5 * 6 * 6) + 5 * 6 * 3
    assert result.parameters == 42 + 21
    assert result.parameter_bytes == 2 * 42 + 4 * 21
    assert result.memory == 42 + 21
    inner.get_layer("inside").prune([0])
    assert unit_sparsity(model) == pytest.approx(100 / 3)


KINDS = {
    "depthwise": lambda: layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same"),
    "separable": lambda: layers.SeparableConv2D(5, 3, strides=2, depth_multiplier=2),
    "transposed": lambda: layers.Conv2DTranspose(5, 3, strides=2, padding="same"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_flops_of_other_convolutions_are_those_of_the_profiler(kind):
    inputs = keras.Input((9, 8, 4))
    x = layers.Conv2D(4, 1)(inputs)
    model = keras.Model(inputs, KINDS[kind]()(x))
    assert cost(model).flops == profiled_flops(model) > 2 * 9 * 8 * 4 * 4


def test_other_ranks_by_hand():
    sequence, volume = keras.Input((20, 3)), keras.Input((6, 5, 4, 2))
    x = layers.Conv1D(4, 5)(sequence)
    x = layers.Conv1DTranspose(2, 3, strides=2)(x)
    y = layers.Conv3D(3, 2)(volume)
    y = layers.Conv3DTranspose(4, 2)(y)
    result = cost(keras.Model([sequence, volume], [x, y]))
    assert {layer.kind: layer.multiply_adds for layer in result.layers} == {
        "Conv1D": 16 * (5 * 3) * 4,
        "Conv1DTranspose": 16 * (3 * 4) * 2,
        "Conv3D": (5 * 4 * 3) * (8 * 2) * 3,
        "Conv3DTranspose": (5 * 4 * 3) * (8 * 3) * 4,
    }


def test_groups_and_dilation_by_hand():
    inputs = keras.Input((9, 8, 4))
    x = layers.Conv2D(6, 3, groups=2)(inputs)
    result = cost(keras.Model(inputs, layers.Conv2D(5, 3, dilation_rate=2, name="dilated")(x)))
    grouped, dilated = result.layers
    assert grouped.multiply_adds == (7 * 6) * 6 * (9 * 2)
    assert grouped.memory == 9 * 4 * (7 * 6) + 9 * 2 * 6
    assert dilated.multiply_adds == (3 * 2) * 5 * (9 * 6)


def test_channels_first():
    inputs = keras.Input((3, 9, 8))
    model = keras.Model(inputs, layers.Conv2D(5, 3, data_format="channels_first")(inputs))
    assert cost(model).multiply_adds == 7 * 6 * 27 * 5


class Scale(keras.layers.Layer):
    """Multiplies by a matrix that is not called a kernel."""

    def build(self, shape):
        self.matrix = self.add_weight(shape=(shape[-1], shape[-1]))

    def call(self, x):
        return x @ self.matrix

    def compute_output_shape(self, shape):
        return shape


@keras.saving.register_keras_serializable()
class Cell(keras.layers.Layer):
    """A cell of a recurrent layer, none of Keras."""

    state_size = output_size = 4

    def build(self, shape):
        self.matrix = self.add_weight(shape=(shape[-1], 4))

    def call(self, x, states):
        output = ops.tanh(x @ self.matrix + states[0])
        return output, [output]


def attention(x):
    memory = layers.Dense(4)(x[:, ::2])  # 4 positions
    return layers.MultiHeadAttention(2, 5, value_dim=6, name="counted")(x, memory)


@pytest.mark.parametrize(
    ("layer", "count"),
    [
        # 8 queries, 4 keys and values, 2 heads; then the products with the keys and the sums.
        (attention, 2 * (8 * 3 * 5 + 4 * 4 * (5 + 6) + 8 * 6 * 3 + 8 * 4 * (5 + 6))),
        (layers.LSTM(5, name="counted"), 8 * 4 * (3 * 5 + 5 * 5)),
        (layers.GRU(5, name="counted"), 8 * 3 * (3 * 5 + 5 * 5)),
        (layers.SimpleRNN(5, name="counted"), 8 * (3 * 5 + 5 * 5)),
        (layers.Bidirectional(layers.LSTM(5), name="counted"), 2 * 8 * 4 * (3 * 5 + 5 * 5)),
        (layers.TimeDistributed(layers.Dense(5), name="counted"), 8 * 3 * 5),
        (layers.EinsumDense("abc,cd->abd", (8, 5), name="counted"), 8 * 3 * 5),
        (layers.EinsumDense("...c,cde->...de", (5, 2), name="counted"), 8 * 3 * 5 * 2),
        (layers.SpectralNormalization(layers.Conv1D(5, 3), name="counted"), 6 * 3 * 3 * 5),
        # A score is a product a channel, of 8 queries and 8 keys; so is the sum of the values.
        (lambda x: layers.AdditiveAttention(name="counted")([x, x]), 2 * 8 * 8 * 3),
    ],
    ids=[
        *("attention", "LSTM", "GRU", "SimpleRNN", "Bidirectional", "TimeDistributed"),
        *("EinsumDense", "EinsumDense with dots", "SpectralNormalization", "AdditiveAttention"),
    ],
)
def test_attention_and_other_layers(layer, count):
    inputs = keras.Input((8, 3))
    found = cost(keras.Model(inputs, layer(inputs))).layers[-1]
    assert (found.name, found.multiply_adds) == ("counted", count)


def with_states(x):
    output, *_ = layers.LSTM(5, return_state=True, name="counted")(x)
    return output


def causal(x):
    return layers.MultiHeadAttention(2, 5, name="counted")(x, x, use_causal_mask=True)


def of_two_axes(x):
    return layers.MultiHeadAttention(2, 5, output_shape=(2, 3), name="counted")(x, x)


@pytest.mark.parametrize(
    ("function", "count"),
    [
        (lambda x: layers.LSTM(5, name="counted")(layers.Masking()(x)), 8 * 4 * (3 + 5) * 5),
        (with_states, 8 * 4 * (3 + 5) * 5),
        (
            lambda x: layers.TimeDistributed(layers.Dense(5), name="counted")(layers.Masking()(x)),
            8 * 3 * 5,
        ),
        # Masked products of queries and keys are computed.
        (causal, 2 * (8 * 5 * (3 + 3 + 3 + 3) + 8 * 8 * (5 + 5))),
        (of_two_axes, 2 * (8 * 5 * (3 + 3 + 3 + 6) + 8 * 8 * (5 + 5))),
    ],
)
def test_layers_that_slimming_would_not_cut(function, count):
    inputs = keras.Input((8, 3))
    found = cost(keras.Model(inputs, function(inputs))).layers[-1]
    assert (found.name, found.multiply_adds) == ("counted", count)


def scores(x):
    return ops.matmul(x, ops.transpose(x, (0, 2, 1)))


def heads(x):
    x = ops.reshape(x, (-1, 8, 3, 2))
    return ops.dot_product_attention(x, x[:, :5], x[:, :5])


@pytest.mark.parametrize(
    ("function", "count"),
    [
        (lambda x: layers.Dot((1, 1))([x[:, :, :2], x]), 2 * 6 * 8),
        (lambda x: layers.Dot(2)([x, x]), 8 * 8 * 6),
        # 8 queries, 4 keys and values, of 6 and 3 channels.
        (lambda x: layers.Attention()([x, x[:, ::2, :3], x[:, ::2]]), 8 * 4 * (6 + 3)),
        (heads, 8 * 5 * 3 * (2 + 2)),
        (scores, 8 * 8 * 6),
        (lambda x: x @ np.ones((6, 7), "float32"), 8 * 6 * 7),
        (lambda x: ops.matmul(np.ones((7, 8), "float32"), x), 7 * 8 * 6),
        (lambda x: x @ np.ones(6, "float32"), 8 * 6),
        (lambda x: ops.einsum("bij,bkj->bik", x, x[:, :2]), 8 * 2 * 6),
        (lambda x: ops.einsum("b...j,jk->b...k", x, np.ones((6, 7), "float32")), 8 * 6 * 7),
        (lambda x: ops.einsum("...i,...i->...", x, x[:, :1]), 8 * 6),
    ],
)
def test_products_of_features(function, count):
    inputs = keras.Input((8, 6))
    model = keras.Model(inputs, function(inputs))
    assert cost(model).multiply_adds == count
    assert profiled_flops(model) in (0, 2 * count)  # it does not count Einstein sums


def in_windows(function):
    """A function of each of the 4 windows of 2x2 positions, which are merged into the batch."""

    def windowed(x):
        x = ops.reshape(x, (-1, 2, 2, 2, 2, x.shape[-1]))
        x = function(ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, 4, x.shape[-1])))
        x = ops.transpose(ops.reshape(x, (-1, 2, 2, 2, 2, x.shape[-1])), (0, 1, 3, 2, 4, 5))
        return ops.reshape(x, (-1, 4, 4, x.shape[-1]))

    return windowed


class Merged(keras.layers.Layer):
    """Merges positions into the batch, and says how many rows there are, by a function."""

    def __init__(self, says, name="merged"):
        super().__init__(name=name)
        self._says = says

    def compute_output_shape(self, shape):
        return (shape[0] and self._says(shape[0]), shape[-1])

    def call(self, x):
        return ops.reshape(x, (-1, x.shape[-1]))


@pytest.mark.parametrize(
    ("function", "count", "memory"),
    [
        (lambda x: ops.reshape(layers.Dense(7)(ops.reshape(x, (-1, 3))), (-1, 4, 4, 7)), 336, 28),
        (lambda x: layers.Dense(7)(Merged(lambda batch: 16 * batch)(x)), 336, 28),
        (in_windows(layers.Dense(7)), 336, 28),
        # A patch of 2x3 numbers at each of 3 positions in 4 windows, and 7 filters.
        (in_windows(lambda x: layers.ZeroPadding1D((0, 1))(layers.Conv1D(7, 2)(x))), 504, 114),
        (in_windows(lambda x: ops.matmul(x, ops.transpose(x, (0, 2, 1)))), 4 * (4 * 4 * 3), 0),
    ],
)
@pytest.mark.parametrize("batch", [None, 5])
def test_positions_that_are_merged_into_the_batch_count(function, count, memory, batch):
    inputs = keras.Input((4, 4, 3), batch_size=batch)
    model = keras.Model(inputs, function(inputs))
    found = cost(model)
    assert (found.multiply_adds, found.memory) == (count, memory)
    assert batch or profiled_flops(model) == 2 * count


def test_attention_in_windows():
    inputs = keras.Input((4, 4, 3))
    attention = layers.MultiHeadAttention(1, 2)
    windowed = in_windows(lambda x: attention(x, x))(inputs)
    # 4 positions in 4 windows: queries, keys, values and outputs; products with keys, and sums.
    assert cost(keras.Model(inputs, windowed)).multiply_adds == 4 * (4 * 4 * 3 * 2 + 2 * 4 * 4 * 2)


def test_rows_that_are_not_known_are_errors():
    inputs = keras.Input((4, 4, 3))
    with pytest.raises(ValueError, match=r"how many rows .* at layer `merged`"):
        cost(keras.Model(inputs, layers.Dense(7)(Merged(lambda batch: batch + 1)(inputs))))
    untold = Merged(lambda batch: None, "untold")(Merged(lambda batch: 2 * batch)(inputs))
    assert cost(keras.Model(inputs, layers.Dense(7)(untold))).multiply_adds == 2 * 3 * 7


def test_peak_activation_memory_of_merged_positions():
    inputs = keras.Input((8, 8, 4))
    x = layers.Dense(32)(ops.reshape(inputs, (-1, 4)))
    merged = cost(keras.Model(inputs, ops.reshape(x, (-1, 8, 8, 32))))
    plain = cost(keras.Model(inputs, layers.Dense(32)(inputs)))
    assert merged.peak_activation_bytes == plain.peak_activation_bytes == 4 * 64 * (4 + 32)


def test_attention_over_one_of_two_axes():
    inputs = keras.Input((5, 7, 4))
    layer = layers.MultiHeadAttention(1, 4, attention_axes=(2,))
    (found,) = cost(keras.Model(inputs, layer(inputs, inputs))).layers
    assert found.multiply_adds == 5 * 7 * (4 * 4 * 4 + 2 * 7 * 4)


@pytest.mark.parametrize(
    ("layer", "kind"),
    [
        (lambda: Scale(name="odd"), "Scale"),
        (lambda: layers.TimeDistributed(Scale(), name="odd"), "TimeDistributed"),
        (lambda: layers.RNN(Cell(), name="odd"), "RNN"),
        (lambda: layers.RNN([Cell(), Cell()], name="odd"), "RNN"),
        (lambda: layers.Bidirectional(layers.RNN(Cell()), name="odd"), "Bidirectional"),
        (lambda: layers.RNN(layers.SimpleRNNCell(4), name="odd"), "RNN"),
        (
            lambda: layers.Bidirectional(layers.RNN(layers.SimpleRNNCell(4)), name="odd"),
            "Bidirectional",
        ),
        (
            lambda: lambda x: layers.MultiHeadAttention(1, 4, use_gate=True, name="odd")(x, x),
            "MultiHeadAttention",
        ),
        (
            lambda: layers.SpectralNormalization(
                layers.EinsumDense("abc,cd->abd", (8, 2)), name="odd"
            ),
            "SpectralNormalization",
        ),
        (
            lambda: lambda x: layers.Attention(name="odd")([x, x], return_attention_scores=True)[0],
            "Attention",
        ),
    ],
)
def test_unknown_layers_are_errors(layer, kind):
    inputs = keras.Input((8, 3))
    with pytest.raises(ValueError, match=rf"`odd` \({kind}\)"):
        cost(keras.Model(inputs, layer()(inputs)))


def test_unknown_products_of_features_are_errors():
    inputs = keras.Input((8, 8))
    with pytest.raises(ValueError, match=r"Einsum"):
        cost(keras.Model(inputs, ops.einsum("bij,bjk,bkl->bil", inputs, inputs, inputs)))


def test_unknown_sizes_are_errors():
    inputs = keras.Input((None, None, 3))
    with pytest.raises(ValueError, match="not known at layer `conv`"):
        cost(keras.Model(inputs, layers.Conv2D(3, 3, name="conv")(inputs)))


def test_weight_sparsity():
    model = conv_network()
    kernel = model.get_layer("conv2").kernel
    zeros = np.arange(kernel.numpy().size).reshape(kernel.shape) % 3 == 0
    kernel.assign(np.where(zeros, 0.0, 1.0))
    result = cost(model)
    sizes = {"conv1": 162, "conv2": 378, "dense": 567, "logits": 36}
    assert {layer.name: layer.kernel_weights for layer in result.layers if layer.memory} == sizes
    by_layer = {layer.name: layer.weight_sparsity for layer in result.layers}
    assert by_layer["conv2"] == pytest.approx(100 / 3)
    assert by_layer["conv1"] == by_layer["bn1"] == 0
    assert result.zero_weights == 126
    assert result.weight_sparsity == pytest.approx(100 * 126 / sum(sizes.values()))


def test_peak_activation_memory_of_a_chain():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(5, 3, padding="same")(inputs)  # reads 192, makes 320
    x = layers.ReLU()(mask("mask")(layers.Dropout(0.5)(x)))  # reads 320, makes 320
    x = layers.Dense(7)(layers.Flatten()(layers.MaxPooling2D(4)(x)))
    assert cost(keras.Model(inputs, x)).peak_activation_bytes == 4 * (320 + 320)


def test_peak_activation_memory_of_branches():
    inputs = keras.Input((10,))
    a = layers.Dense(40)(inputs)
    b = layers.Dense(30)(a)
    c = layers.Dense(40)(b)
    joined = layers.Add()([c, a])

    def peak(inputs, outputs):
        return cost(keras.Model(inputs, outputs)).peak_activation_bytes

    assert peak(inputs, c) == 4 * (40 + 30)
    assert peak(inputs, joined) == 4 * (40 + 40 + 40)
    assert peak(inputs, [joined, b]) == 4 * (40 + 30 + 40 + 40)
    other = keras.Input((7,), dtype="float16")  # is there from the start
    last = layers.Concatenate()([joined, layers.Dense(1, dtype="float16")(other)])
    assert peak([inputs, other], last) in (4 * 120 + 2 * 1, 4 * 120 + 2 * 7)


def test_peak_activation_memory_is_less_when_slim():
    model = lenet5_caffe(mask)
    before = cost(model).peak_activation_bytes
    assert before == 4 * 24 * 24 * 20 * 2
    model.get_layer("conv1_mask").prune(range(15))
    assert cost(slim(model)).peak_activation_bytes == 4 * 8 * 8 * 50 * 2  # of conv2


def test_unit_sparsity():
    model = lenet5_caffe(mask)
    assert unit_sparsity(model) == 0
    model.get_layer("flatten_mask").prune(range(137))
    assert unit_sparsity(model) == pytest.approx(100 * 137 / 1370)
    model.get_layer("conv1_mask").a_u.assign(np.full(20, -20.0))
    assert unit_sparsity(model) == pytest.approx(100 * 157 / 1370)
    assert unit_sparsity(lenet5_caffe()) == 0


def test_a_mask_that_is_called_more_than_once_counts_once():
    model = toy_resnet(mask)
    assert len(mask_layers(model)) == 8 + 4
    model.get_layer("stage4_mask").prune(range(7))
    assert unit_sparsity(model) == pytest.approx(100 * 7 / (3 * (4 + 8 + 16 + 32)))
    assert set(cost(model).layers) == set(cost(toy_resnet()).layers)


@pytest.mark.slow
def test_unit_flops_of_vgg():
    widths = [3, 4, 4, 8, 8, 16, 16, 16, 32, 32, 32, 32, 32, 32]
    sizes = [32, 32, 16, 16, 8, 8, 8, 4, 4, 4, 2, 2, 2]
    reads = [9 * a * size**2 for a, size in zip(widths, sizes, strict=False)]  # by one channel
    is_read = [9 * b * size**2 for b, size in zip(widths[2:], sizes[1:], strict=True)] + [32]
    convs = [a + b for a, b in zip(reads, is_read, strict=True)]
    assert unit_flops(toy_vgg(OpenMask)) == [2 * n for n in (*convs, convs[-1], 32 + 10)]


@pytest.mark.slow
def test_unit_flops_of_resnet():
    model = toy_resnet(OpenMask)
    expected, below = {}, 4
    for stage, width in enumerate((4, 8, 16, 32), 1):
        area, next_area = (64 >> stage) ** 2, (32 >> stage) ** 2
        expected[f"conv{stage}_1_1_mask"] = 9 * area * (below + width)
        expected[f"conv{stage}_2_1_mask"] = 9 * area * (width + width)
        start = 9 * area * (3 + width) if stage == 1 else area * below  # with conv1_1_1
        after = 10 if stage == 4 else (9 + 1) * next_area * 2 * width
        expected[f"stage{stage}_mask"] = start + 3 * 9 * area * width + after
        below = width
    flops = zip(mask_layers(model), unit_flops(model), strict=True)
    assert {layer.name: n for layer, n in flops} == {name: 2 * n for name, n in expected.items()}


def test_table():
    rows = [row.split() for row in cost(lenet5_caffe()).table().splitlines()]
    fields = ["flops", "parameters", "parameter_bytes", "memory"]
    assert rows[0] == ["layer", "kind", *fields, "zeros,", "%"]
    assert ["dense1", "Dense", "800,000", "400,500", "1,602,000", "400,500", "0.0"] in rows
    assert rows[-2] == ["all", "4,586,000", "431,080", "1,724,320", "477,410", "0.0"]
    assert " ".join(rows[-1]) == "peak activation memory: 92,160 bytes"
