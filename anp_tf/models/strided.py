"""A network whose bounds are tight: convolutions with strides in place of poolings."""

import math

import keras

from anp_tf.models.plain import PLAIN, masked, scaled

CONVOLUTIONS = ((32, 3, 1), (32, 4, 2), (64, 3, 1), (64, 4, 2))  # channels, extent, stride
HIDDEN = 256


@keras.saving.register_keras_serializable(package="anp_tf")
class NormalForBounds(keras.initializers.Initializer):
    """N(0, sqrt(2 pi) / n) for n inputs of a unit: intervals neither grow nor vanish with depth.

    Reference:
        - Shi et al. 2021, "Fast Certified Robust Training with Short Warmup",
          https://arxiv.org/abs/2103.17268
    """

    def __init__(self, seed=None):
        self._seed = seed
        self._random = keras.random.SeedGenerator(seed)

    def __call__(self, shape, dtype=None, **kwargs):
        deviation = math.sqrt(2 * math.pi) / math.prod(shape[:-1])
        return keras.random.normal(shape, stddev=deviation, dtype=dtype, seed=self._random)

    def get_config(self):
        return {"seed": self._seed}


def strided_cnn(
    mask=None,
    input_shape=(32, 32, 3),
    num_classes=10,
    width_multiplier=1.0,
    layers=PLAIN,
):
    """Four convolutions of 32, 32, 64 and 64 channels, dense layers of 256 and `num_classes` units.

    The convolutions are 3x3, and 4x4 with stride 2, in turn, with padding. Each is followed by a
    mask and ReLU; the flattened features have a mask, and so have the 256 units. It
    is much like the medium network of Gowal et al. (2019, https://arxiv.org/abs/1810.12715), for
    training with bounds: there is no max-pooling and no batch normalization, and kernels start from
    `NormalForBounds`.

    Args:
        mask: Function `name -> mask layer`, called once per masked place. None: no masks.
        input_shape: Height, width and channels of an image; pixels are in [0, 1].
        num_classes: Integer, number of logits.
        width_multiplier: Float, positive; scales the numbers of channels and the 256 units.
        layers: Namespace that `Conv2D` and `Dense` are taken from.

    Returns:
        A functional `keras.Model` from pixels [batch, *input_shape] to logits [batch, num_classes].
    """

    def start():
        return {"kernel_initializer": NormalForBounds()}

    pixels = keras.Input(input_shape, name="pixels")
    x = pixels
    for index, (width, extent, stride) in enumerate(CONVOLUTIONS, 1):
        name = f"conv{index}"
        x = layers.Conv2D(
            scaled(width, width_multiplier), extent, stride, "same", name=name, **start()
        )(x)
        x = masked(x, mask, f"{name}_mask")
        x = keras.layers.ReLU(name=f"relu{index}")(x)
    x = masked(keras.layers.Flatten(name="flatten")(x), mask, "flatten_mask")
    x = masked(
        layers.Dense(scaled(HIDDEN, width_multiplier), name="dense1", **start())(x),
        mask,
        "dense1_mask",
    )
    x = keras.layers.ReLU(name="dense1_relu")(x)
    logits = layers.Dense(num_classes, name="logits", **start())(x)
    return keras.Model(pixels, logits, name="strided_cnn")
