"""A constraint of variables: two bounds."""

import keras
import tensorflow as tf


class Within(keras.constraints.Constraint):
    """Keeps the values of a variable between two bounds.

    Args:
        low, high: Floats.
    """

    def __init__(self, low, high):
        self.low, self.high = low, high

    def __call__(self, value):
        return tf.clip_by_value(value, self.low, self.high)

    def get_config(self):
        return {"low": self.low, "high": self.high}
