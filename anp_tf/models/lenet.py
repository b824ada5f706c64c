"""LeNet-5-Caffe, the network of the MNIST experiments."""

import keras

from anp_tf.models.plain import check_images, masked, scaled


def lenet5_caffe(
    mask=None,
    input_shape=(28, 28, 1),
    num_classes=10,
    width_multiplier=1.0,
    layers=keras.layers,
):
    """Two 5x5 convolutions of 20 and 50 channels and dense layers of 500 and `num_classes` units.

    Each convolution is followed by a mask, ReLU and 2x2 max-pooling. The flattened features have a
    mask, and so have the 500 units before their ReLU.

    Args:
        mask: Function `name -> mask layer`, called once per masked place, for instance
            `lambda name: BetaBernoulliDropout(initial_a=2.0, name=name)`. None: no masks.
        input_shape: Height, width and channels of an image, at least 16x16; pixels are in [0, 1].
        num_classes: Integer, number of logits.
        width_multiplier: Float, positive; scales the 20, 50 and 500 units.
        layers: Namespace that `Conv2D` and `Dense` are taken from.

    Returns:
        A functional `keras.Model` from pixels [batch, *input_shape] to logits [batch, num_classes].

    Raises:
        ValueError: if the images are too small for the convolutions and poolings.
    """
    check_images(input_shape, 16, "which two 5x5 convolutions and poolings leave one pixel of")
    conv1, conv2, hidden = (scaled(width, width_multiplier) for width in (20, 50, 500))

    pixels = keras.Input(input_shape, name="pixels")
    x = pixels
    for index, filters in ((1, conv1), (2, conv2)):
        x = layers.Conv2D(filters, 5, name=f"conv{index}")(x)
        x = masked(x, mask, f"conv{index}_mask")
        x = keras.layers.ReLU(name=f"relu{index}")(x)
        x = keras.layers.MaxPooling2D(2, name=f"pool{index}")(x)
    x = masked(keras.layers.Flatten(name="flatten")(x), mask, "flatten_mask")
    x = masked(layers.Dense(hidden, name="dense1")(x), mask, "dense1_mask")
    x = keras.layers.ReLU(name="relu3")(x)
    logits = layers.Dense(num_classes, name="logits")(x)
    return keras.Model(pixels, logits, name="lenet5_caffe")
