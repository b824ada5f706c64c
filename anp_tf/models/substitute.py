"""The network that a black-box attacker trains in the target's place."""

import keras


def substitute_network(input_shape=(28, 28, 1), num_classes=10):
    """Two 2x2 convolutions of 32 and 64 channels, and dense layers of 200, 200 and `num_classes`.

    Every hidden layer has ReLU; 2x2 max-pooling follows each convolution. The sizes are those of
    Papernot et al.'s convolutional substitutes; an attacker need not know the target's layers.

    Args:
        input_shape: Height, width (at least 4) and channels of an image; pixels are in [0, 1].
        num_classes: Integer, number of logits.

    Returns:
        A functional `keras.Model` from pixels [batch, *input_shape] to logits [batch, num_classes].

    Reference:
        - Papernot et al. 2017, "Practical Black-Box Attacks against Machine Learning",
          https://arxiv.org/abs/1602.02697
    """
    pixels = keras.Input(input_shape, name="pixels")
    x = pixels
    for index, filters in ((1, 32), (2, 64)):
        x = keras.layers.Conv2D(filters, 2, padding="same", name=f"conv{index}")(x)
        x = keras.layers.ReLU(name=f"relu{index}")(x)
        x = keras.layers.MaxPooling2D(2, name=f"pool{index}")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    for index in (1, 2):
        x = keras.layers.Dense(200, name=f"dense{index}")(x)
        x = keras.layers.ReLU(name=f"relu{index + 2}")(x)
    logits = keras.layers.Dense(num_classes, name="logits")(x)
    return keras.Model(pixels, logits, name="substitute")
