"""VGG-16 for small images, the network of the CIFAR experiments."""

import keras

from anp_tf.models.plain import PLAIN, check_images, masked, scaled

WIDTHS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


def vgg16(
    mask=None,
    input_shape=(32, 32, 3),
    num_classes=10,
    width_multiplier=1.0,
    layers=PLAIN,
):
    """Five blocks of 3x3 convolutions, 13 in all, and dense layers of 512 and `num_classes` units.

    The first layer brings pixels to about mean 0 and deviation 1. Each convolution is followed by
    batch normalisation, a mask and ReLU, each block by 2x2 max-pooling. The flattened features have
    a mask, and so have the 512 units, after their batch normalisation. Without masks there is
    dropout instead: 0.3 between the convolutions of the first block, 0.4 between those of the
    others, 0.5 before the dense layers.

    Args:
        mask: Function `name -> mask layer`, called once per masked place. None: no masks.
        input_shape: Height, width and channels of an image, at least 32x32; pixels are in [0, 1].
        num_classes: Integer, number of logits.
        width_multiplier: Float, positive; scales the numbers of channels and the 512 units.
        layers: Namespace that `Conv2D`, `Dense` and `BatchNormalization` are taken from; by default
            those of Keras, with batch normalization fused.

    Returns:
        A functional `keras.Model` from pixels [batch, *input_shape] to logits [batch, num_classes].

    Raises:
        ValueError: if the images are too small for five poolings.
    """
    check_images(input_shape, 32, "which are halved five times")

    def dropped(x, rate, name):
        return x if mask is not None else keras.layers.Dropout(rate, name=name)(x)

    pixels = keras.Input(input_shape, name="pixels")
    x = keras.layers.Rescaling(4.0, offset=-2.0, name="normalise")(pixels)
    for block, widths in enumerate(WIDTHS, 1):
        for index, width in enumerate(widths, 1):
            x = layers.Conv2D(
                scaled(width, width_multiplier),
                3,
                padding="same",
                use_bias=False,
                kernel_initializer="he_normal",
                name=f"conv{block}_{index}",
            )(x)
            x = layers.BatchNormalization(name=f"bn{block}_{index}")(x)
            x = masked(x, mask, f"conv{block}_{index}_mask")
            x = keras.layers.ReLU(name=f"relu{block}_{index}")(x)
            if index < len(widths):
                x = dropped(x, 0.3 if block == 1 else 0.4, f"dropout{block}_{index}")
        x = keras.layers.MaxPooling2D(2, name=f"pool{block}")(x)
    x = masked(keras.layers.Flatten(name="flatten")(x), mask, "flatten_mask")
    x = dropped(x, 0.5, "flatten_dropout")
    x = layers.Dense(scaled(512, width_multiplier), use_bias=False, name="dense1")(x)
    x = masked(layers.BatchNormalization(name="dense1_bn")(x), mask, "dense1_mask")
    x = keras.layers.ReLU(name="dense1_relu")(x)
    x = dropped(x, 0.5, "dense1_dropout")
    logits = layers.Dense(num_classes, name="logits")(x)
    return keras.Model(pixels, logits, name="vgg16")
