"""ResNet-18 for small images."""

import keras

from anp_tf.layers.mask import made_mask
from anp_tf.models.plain import PLAIN, scaled

WIDTHS = (64, 128, 256, 512)


def resnet18(
    mask=None,
    input_shape=(32, 32, 3),
    num_classes=10,
    width_multiplier=1.0,
    layers=PLAIN,
):
    """A 3x3 convolution and four stages of two residual blocks, of 64, 128, 256 and 512 channels.

    The first layer brings pixels to about mean 0 and deviation 1. A block is two 3x3 convolutions,
    each with batch normalisation, whose result is added to the block's input, before ReLU; where
    the shape changes, the input passes a 1x1 convolution with batch normalisation. Stages 2 to 4
    start with a stride of 2. The last features are averaged over the image.

    The first convolution of each block has a mask before its ReLU. Besides, each stage has one mask
    that is called on every tensor that is added up in it, so that the sums have the same channels.

    Args:
        mask: Function `name -> mask layer`, called once per block and stage. None: no masks.
        input_shape: Height, width and channels of an image; pixels are in [0, 1].
        num_classes: Integer, number of logits.
        width_multiplier: Float, positive; scales the numbers of channels.
        layers: Namespace that `Conv2D`, `Dense` and `BatchNormalization` are taken from; by default
            those of Keras, with batch normalization fused.

    Returns:
        A functional `keras.Model` from pixels [batch, *input_shape] to logits [batch, num_classes].
    """

    def masking(name):
        return (lambda x: x) if mask is None else made_mask(mask, name)

    def conv_bn(x, width, size, strides, conv, bn):
        x = layers.Conv2D(
            width,
            size,
            strides=strides,
            padding="same",
            use_bias=False,
            kernel_initializer="he_normal",
            name=conv,
        )(x)
        return layers.BatchNormalization(name=bn)(x)

    def block(x, width, strides, masked, name):
        shortcut = x
        x = conv_bn(x, width, 3, strides, f"conv{name}_1", f"bn{name}_1")
        x = keras.layers.ReLU(name=f"relu{name}_1")(masking(f"conv{name}_1_mask")(x))
        x = masked(conv_bn(x, width, 3, 1, f"conv{name}_2", f"bn{name}_2"))
        if strides > 1 or shortcut.shape[-1] != width:
            names = f"projection{name}", f"projection{name}_bn"
            shortcut = masked(conv_bn(shortcut, width, 1, strides, *names))
        x = keras.layers.Add(name=f"add{name}")([shortcut, x])
        return keras.layers.ReLU(name=f"relu{name}_2")(x)

    pixels = keras.Input(input_shape, name="pixels")
    x = keras.layers.Rescaling(4.0, offset=-2.0, name="normalise")(pixels)
    for stage, full_width in enumerate(WIDTHS, 1):
        width = scaled(full_width, width_multiplier)
        masked = masking(f"stage{stage}_mask")
        if stage == 1:
            x = masked(conv_bn(x, width, 3, 1, "stem", "stem_bn"))
            x = keras.layers.ReLU(name="stem_relu")(x)
        x = block(x, width, 1 if stage == 1 else 2, masked, f"{stage}_1")
        x = block(x, width, 1, masked, f"{stage}_2")
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    logits = layers.Dense(num_classes, name="logits")(x)
    return keras.Model(pixels, logits, name="resnet18")
