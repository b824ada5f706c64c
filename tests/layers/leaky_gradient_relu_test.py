import keras
import numpy as np
import tensorflow as tf

from anp_tf.attacks import PGD
from anp_tf.bounds import crown_bounds, interval_bounds
from anp_tf.layers import LeakyGradientReLU
from anp_tf.pruning import fold_batch_normalization, slim

VALUES = np.array([-1e30, -3.0, -0.0, 0.0, 0.3, 1.0, 1.1, 7.7, 1e30], np.float32)


def gradient(layer, training):
    x = tf.constant(VALUES)
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = layer(x, training=training)
    return outputs.numpy(), tape.gradient(outputs, x).numpy()


def test_values_are_those_of_relu_and_so_is_the_gradient_in_training():
    layer = LeakyGradientReLU(max_value=1.0)
    outputs, leaky = gradient(layer, False)
    np.testing.assert_array_equal(outputs, keras.layers.ReLU(max_value=1.0)(VALUES))
    outputs, own = gradient(layer, True)
    np.testing.assert_array_equal(outputs, keras.layers.ReLU(max_value=1.0)(VALUES))
    np.testing.assert_array_equal(own[[0, 1, 4, 6, 7, 8]], [0, 0, 1, 0, 0, 0])
    distances = [np.inf, 3, 0, 0, 0, 0, 0.1, 6.7, np.inf]
    np.testing.assert_allclose(leaky, own + 0.1 * np.exp(-4.0 * np.array(distances)), rtol=1e-5)


def network(kind):
    """Two logits of one pixel, below the threshold 0.3 the first is higher, above it the second."""
    pixel = keras.Input((1,))
    threshold = keras.layers.Dense(1)(pixel)
    logits = keras.layers.Dense(2)(kind(max_value=1.0)(threshold))
    model = keras.Model(pixel, logits)
    model.set_weights(
        [np.full((1, 1), 10.0), np.array([-3.0]), np.array([[-2.0, 2.0]]), np.array([1.0, 0.0])]
    )
    return model


def test_attacks_see_through():
    attack = PGD(epsilon=0.3, step_size=0.1, steps=10, random_start=False)
    x, y = np.array([[0.1]], np.float32), np.array([0])
    for kind, fooled in ((keras.layers.ReLU, False), (LeakyGradientReLU, True)):
        moved = attack(network(kind), x, y)
        assert (np.argmax(network(kind)(moved)) == 1) == fooled, kind


def test_bounds_are_those_of_relu():
    pixels = np.linspace(0, 1, 33, dtype=np.float32)[:, np.newaxis]
    for bounds in (interval_bounds, crown_bounds):
        own, plain = (
            bounds(network(kind), pixels, 0.1) for kind in (LeakyGradientReLU, keras.layers.ReLU)
        )
        np.testing.assert_array_equal(own, plain)


def test_what_is_exported_has_a_plain_relu(tmp_path):
    own = network(LeakyGradientReLU)
    own.save(tmp_path / "own.keras")
    loaded = keras.saving.load_model(tmp_path / "own.keras")
    small = slim(loaded)
    kinds = [type(layer) for layer in small.layers]
    assert LeakyGradientReLU in kinds
    exported = fold_batch_normalization(small)
    assert [type(layer) for layer in exported.layers] == [
        keras.layers.ReLU if kind is LeakyGradientReLU else kind for kind in kinds
    ]
    pixels = np.linspace(0, 1, 33, dtype=np.float32)[:, np.newaxis]
    np.testing.assert_array_equal(exported(pixels), own(pixels))
