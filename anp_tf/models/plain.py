"""The layers that the networks are made of, unless others are asked for."""

import types

import keras

from anp_tf.layers import FusedBatchNormalization

PLAIN = types.SimpleNamespace(
    Conv2D=keras.layers.Conv2D,
    Dense=keras.layers.Dense,
    BatchNormalization=FusedBatchNormalization,
)
