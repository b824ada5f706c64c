"""LeNet-5-Caffe, the network of the MNIST experiments, and the same behind thresholds."""

import keras

from anp_tf.layers import LeakyGradientReLU
from anp_tf.models.plain import check_images, masked, scaled

RAMPS = 3
LOWEST, HIGHEST = 0.3, 0.7  # where the first ramp begins and the last one ends
STEEPNESS = RAMPS / (HIGHEST - LOWEST)


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
    pixels = _pixels(input_shape)
    logits = _logits(pixels, mask, num_classes, width_multiplier, layers)
    return keras.Model(pixels, logits, name="lenet5_caffe")


def lenet5_thresholds(
    mask=None,
    input_shape=(28, 28, 1),
    num_classes=10,
    width_multiplier=1.0,
    layers=keras.layers,
):
    """`lenet5_caffe` of three learned soft thresholds of each pixel, in place of the pixel.

    A threshold is min(max(s x + b, 0), 1), with s and b for each channel of the image: a depthwise
    convolution of one pixel and a ReLU that saturates. They begin as three ramps, one after the
    other, from 0.3 to 0.7. In a ball of radius 0.3 a black pixel stays below them and a white one
    above, so that only grey pixels can be attacked, and bounds by intervals stay narrow. It is a
    continuous form of thermometer codes (Buckman et al. 2018,
    https://openreview.net/forum?id=S18Su--CW), which has gradients only within a ramp; attacks get
    those of `LeakyGradientReLU`, which go on outside of it. Networks may learn to mislead them:
    judge it by attacks without gradients, and by proofs, too.

    Args:
        mask, input_shape, num_classes, width_multiplier, layers: As for `lenet5_caffe`. The
            thresholds have no mask.

    Returns:
        A functional `keras.Model` from pixels [batch, *input_shape] to logits [batch, num_classes].

    Raises:
        ValueError: if the images are too small for the convolutions and poolings.
    """
    pixels = _pixels(input_shape)
    starts = [LOWEST + index / STEEPNESS for index in range(RAMPS)]
    x = keras.layers.DepthwiseConv2D(
        1,
        depth_multiplier=RAMPS,
        depthwise_initializer=keras.initializers.Constant(STEEPNESS),
        bias_initializer=keras.initializers.Constant(
            [-STEEPNESS * start for start in starts] * input_shape[2]
        ),
        name="ramps",
    )(pixels)
    x = LeakyGradientReLU(max_value=1.0, name="thresholds")(x)
    logits = _logits(x, mask, num_classes, width_multiplier, layers)
    return keras.Model(pixels, logits, name="lenet5_thresholds")


def _pixels(input_shape):
    check_images(input_shape, 16, "which two 5x5 convolutions and poolings leave one pixel of")
    return keras.Input(input_shape, name="pixels")


def _logits(x, mask, num_classes, width_multiplier, layers):
    conv1, conv2, hidden = (scaled(width, width_multiplier) for width in (20, 50, 500))
    for index, filters in ((1, conv1), (2, conv2)):
        x = layers.Conv2D(filters, 5, name=f"conv{index}")(x)
        x = masked(x, mask, f"conv{index}_mask")
        x = keras.layers.ReLU(name=f"relu{index}")(x)
        x = keras.layers.MaxPooling2D(2, name=f"pool{index}")(x)
    x = masked(keras.layers.Flatten(name="flatten")(x), mask, "flatten_mask")
    x = masked(layers.Dense(hidden, name="dense1")(x), mask, "dense1_mask")
    x = keras.layers.ReLU(name="relu3")(x)
    return layers.Dense(num_classes, name="logits")(x)
