"""A shallow and wide network for small images."""

import keras

from anp_tf.models.plain import PLAIN, check_images, masked, scaled

FIRST = 32
WIDTHS = (64, 192, 192)  # of the two convolutions of each block


def wide_cnn(
    mask=None,
    input_shape=(32, 32, 3),
    num_classes=10,
    width_multiplier=1.0,
    layers=PLAIN,
):
    """A convolution of 2x2 patches, three blocks of two 3x3 convolutions, and a layer of logits.

    The first layer brings pixels to about mean 0 and deviation 1, the second one is a convolution
    of 32 channels with stride 2. A block is a convolution, 2x2 max-pooling, and another
    convolution; the last one is followed by pooling of all that is left. Each convolution, after
    its pooling where there is one, is followed by batch normalisation (the first one of the network
    is not), a mask and GELU. The shape is that of Jordan (2024, "94% on CIFAR-10 in 3.29 Seconds on
    a Single GPU", https://arxiv.org/abs/2404.00498), whose first convolution has no stride: at half
    of the resolution, and with more channels, a step takes less time on a CPU.

    Args:
        mask: Function `name -> mask layer`, called once per masked place. None: no masks.
        input_shape: Height, width and channels of an image, at least 16x16; pixels are in [0, 1].
        num_classes: Integer, number of logits.
        width_multiplier: Float, positive; scales the numbers of channels.
        layers: Namespace that `Conv2D`, `Dense` and `BatchNormalization` are taken from; by default
            those of Keras, with batch normalization fused.

    Returns:
        A functional `keras.Model` from pixels [batch, *input_shape] to logits [batch, num_classes].

    Raises:
        ValueError: if the images are too small for the stride and three poolings.
    """
    check_images(input_shape, 16, "which are halved four times")

    def convolved(x, width, name, **options):
        width = scaled(width, width_multiplier)
        return layers.Conv2D(width, kernel_initializer="he_normal", name=name, **options)(x)

    def activated(x, name):
        x = masked(x, mask, f"{name}_mask")
        return keras.layers.Activation("gelu", name=f"{name}_gelu")(x)

    pixels = keras.Input(input_shape, name="pixels")
    x = keras.layers.Rescaling(4.0, offset=-2.0, name="normalise")(pixels)
    x = activated(convolved(x, FIRST, "conv0", kernel_size=2, strides=2), "conv0")
    for block, width in enumerate(WIDTHS, 1):
        for index in (1, 2):
            name = f"conv{block}_{index}"
            x = convolved(x, width, name, kernel_size=3, padding="same", use_bias=False)
            if index == 1:
                x = keras.layers.MaxPooling2D(2, name=f"pool{block}")(x)
            x = activated(layers.BatchNormalization(name=f"bn{block}_{index}")(x), name)
    x = keras.layers.MaxPooling2D(tuple(x.shape[1:3]), name="pool")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    logits = layers.Dense(num_classes, name="logits")(x)
    return keras.Model(pixels, logits, name="wide_cnn")
