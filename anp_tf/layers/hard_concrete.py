"""Hard concrete gates: L0 regularisation of the number of units."""

import keras
import numpy as np
import tensorflow as tf

from anp_tf.arguments import check, check_number
from anp_tf.layers.mask import BayesianMask
from anp_tf.layers.within import Within

# The bounds of log a.
LOW, HIGH = np.float32(np.log(0.01)), np.float32(np.log(100.0))


def hard_concrete(uniform, log_a, temperature, stretch):
    """A hard concrete draw in [0, 1] by the inverse of its distribution function.

    u at 0 or 1 is moved inside by one part in 2^24, the spacing of float32.

    Args:
        uniform: Tensor of numbers in [0, 1], broadcastable to `log_a`.
        log_a: Tensor, the location: the logit of P(s > 1/2).
        temperature: Float, positive.
        stretch: Pair (low, high) of floats.

    Returns:
        Tensor of the broadcast shape.
    """
    tiny = np.float32(2.0**-24)
    uniform = tf.clip_by_value(uniform, tiny, 1.0 - tiny)
    noise = tf.math.log(uniform) - tf.math.log1p(-uniform)
    return stretched(tf.math.sigmoid((noise + log_a) / temperature), stretch)


def stretched(s, stretch):
    """(0, 1) stretched to the interval, then folded back by a clip to [0, 1]."""
    low, high = stretch
    return tf.clip_by_value((high - low) * s + low, 0.0, 1.0)


@keras.saving.register_keras_serializable(package="anp_tf")
class HardConcrete(BayesianMask):
    """Gates that are exactly 0 or 1 most of the time, under a penalty on how many are not 0.

    With u uniform, once per example and unit, and (low, high) the stretch limits,

        s = sigmoid((logit(u) + log a) / temperature),  z = clip((high - low) s + low, 0, 1).

    In inference z = clip((high - low) sigmoid(log a) + low, 0, 1), which is the draw's centre at
    temperature 1 and not its mean. The unit is pruned where this is exactly 0: with the default
    limits, where log a <= log(1/11).

    `kl()` is a penalty, not a divergence: the expected L0 norm,

        unit_cost * sum_k P(z_k != 0),  P = sigmoid(log a - temperature * log(-low / high)).

    log a starts as N(logit(1 - initial_drop_rate), 0.01) and stays in [log 0.01, log 100]. The
    variable itself is put back there after each step of an optimizer, by a Keras constraint. So
    the clip where it is used passes the gradient at a bound, in both directions, and stops it only
    beyond, where nothing but an assigned value can be: the next step leads out of a bound again,
    however long the penalty has pressed against it.

    Args:
        initial_drop_rate: Float in (0, 1); 1 - sigmoid(log a) at the start.
        temperature: Float, positive.
        stretch: Pair (low, high), low < 0 and high > 1. They must let a unit be pruned:
            low / (low - high) > 0.0099, the least value of sigmoid(log a).
        unit_cost: Float, positive; the weights that go with a unit, or 1 to count units.
        kl_weight, seed: As for `BayesianMask`; the seed also decides the start.

    Call arguments:
        inputs: Tensor [batch, ..., units].
        training: Boolean; draw a mask per example, or multiply by the inference mask.

    Reference:
        - Louizos, Welling and Kingma 2018, "Learning Sparse Neural Networks through L0
          Regularization", https://arxiv.org/abs/1712.01312
    """

    may_be_negative = False

    def __init__(
        self,
        initial_drop_rate=0.5,
        temperature=2 / 3,
        stretch=(-0.1, 1.1),
        unit_cost=1.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        expected = "a number in (0, 1)"
        check_number("initial_drop_rate", initial_drop_rate, lambda v: 0 < v < 1, expected)
        for name, value in (("temperature", temperature), ("unit_cost", unit_cost)):
            check_number(name, value, lambda v: v > 0, "a number above 0")
        expected = "two numbers, one below 0 and one above 1"
        pair = isinstance(stretch, tuple | list) and len(stretch) == 2
        check("stretch", stretch, pair, expected)
        low, high = stretch
        check_number("stretch", low, lambda v: v < 0, expected)
        check_number("stretch", high, lambda v: v > 1, expected)
        expected = "limits with low / (low - high) above 0.0099, or no unit could be pruned"
        check("stretch", stretch, low / (low - high) > 0.01 / 1.01, expected)
        self.initial_drop_rate = initial_drop_rate
        self.temperature = temperature
        self.stretch = (low, high)
        self.unit_cost = unit_cost

    def build(self, input_shape):
        super().build(input_shape)
        start = np.log1p(-self.initial_drop_rate) - np.log(self.initial_drop_rate)
        self.log_a = self.add_unit_weight(
            "log_a",
            keras.initializers.RandomNormal(start, 0.01, seed=self.seed),
            constraint=Within(LOW, HIGH),
        )

    def location(self):
        """log a within its bounds, float32 [units]."""
        self._check_built()
        return tf.clip_by_value(tf.convert_to_tensor(self.log_a), LOW, HIGH)

    def keep_probabilities(self):
        """P(z != 0) of each unit in training, float32 [units]."""
        low, high = self.stretch
        shift = self.temperature * np.log(-low / high)
        return tf.math.sigmoid(self.location() - np.float32(shift))

    def sample(self, batch_size, seed):
        uniform = tf.random.stateless_uniform([batch_size, self.units], seed)
        return hard_concrete(uniform, self.location(), self.temperature, self.stretch)

    def expected(self):
        return stretched(tf.math.sigmoid(self.location()), self.stretch)

    def kl(self):
        return self.unit_cost * tf.reduce_sum(self.keep_probabilities())

    def get_config(self):
        return {
            **super().get_config(),
            "initial_drop_rate": self.initial_drop_rate,
            "temperature": self.temperature,
            "stretch": self.stretch,
            "unit_cost": self.unit_cost,
        }
