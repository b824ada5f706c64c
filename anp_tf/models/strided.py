"""A network whose bounds are tight: convolutions with strides in place of poolings."""

import keras

from anp_tf.models.plain import PLAIN, masked, scaled

CHANNELS = (32, 64)
HIDDEN = 256


def strided_cnn(
    mask=None,
    input_shape=(32, 32, 3),
    num_classes=10,
    width_multiplier=1.0,
    layers=PLAIN,
):
    """Two convolutions of 32 and 64 channels, dense layers of 256 and `num_classes` units.

    The convolutions are 4x4 with stride 2 and padding. Each is followed by a mask and ReLU; the
    flattened features have a mask, and so have the 256 units. It is much like the small network of
    Gowal et al. (2019, https://arxiv.org/abs/1810.12715), for training with bounds: there is no
    max-pooling and no batch normalization, and intervals grow through few layers, so that it trains
    from usual weights while the radius of the bounds grows.

    Args:
        mask: Function `name -> mask layer`, called once per masked place. None: no masks.
        input_shape: Height, width and channels of an image; pixels are in [0, 1].
        num_classes: Integer, number of logits.
        width_multiplier: Float, positive; scales the numbers of channels and the 256 units.
        layers: Namespace that `Conv2D` and `Dense` are taken from.

    Returns:
        A functional `keras.Model` from pixels [batch, *input_shape] to logits [batch, num_classes].
    """
    pixels = keras.Input(input_shape, name="pixels")
    x = pixels
    for index, channels in enumerate(CHANNELS, 1):
        name = f"conv{index}"
        x = layers.Conv2D(scaled(channels, width_multiplier), 4, 2, "same", name=name)(x)
        x = masked(x, mask, f"{name}_mask")
        x = keras.layers.ReLU(name=f"relu{index}")(x)
    x = masked(keras.layers.Flatten(name="flatten")(x), mask, "flatten_mask")
    x = layers.Dense(scaled(HIDDEN, width_multiplier), name="dense1")(x)
    x = keras.layers.ReLU(name="dense1_relu")(masked(x, mask, "dense1_mask"))
    logits = layers.Dense(num_classes, name="logits")(x)
    return keras.Model(pixels, logits, name="strided_cnn")
