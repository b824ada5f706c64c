"""Learning rates over a run."""

import itertools

import keras
import tensorflow as tf


class PiecewiseLinear(keras.optimizers.schedules.LearningRateSchedule):
    """A rate that is interpolated linearly between given points, and constant outside of them.

    Args:
        steps: Increasing sequence of numbers of steps.
        rates: Sequence of the rates there, as many.

    Raises:
        ValueError: if the steps do not increase, or are not as many as the rates.
    """

    def __init__(self, steps, rates):
        if len(steps) != len(rates) or any(b <= a for a, b in itertools.pairwise(steps)):
            raise ValueError(
                "Arguments `steps` and `rates` must have the same length, and `steps` must "
                f"increase. Received: steps={steps}, rates={rates}"
            )
        super().__init__()
        self.steps = [float(step) for step in steps]
        self.rates = [float(rate) for rate in rates]

    def __call__(self, step):
        step = tf.cast(step, tf.float32)
        rate = tf.constant(self.rates[0])
        for i in range(1, len(self.steps)):
            length = self.steps[i] - self.steps[i - 1]
            share = tf.clip_by_value((step - self.steps[i - 1]) / length, 0.0, 1.0)
            rate += share * (self.rates[i] - self.rates[i - 1])
        return rate

    def get_config(self):
        return {"steps": self.steps, "rates": self.rates}


def schedules(settings, total_steps):
    """The schedules of the weights' and of the masks' rate, as a pair.

    `step` is the paper's: both fall by `decay_factor` at the shares `decay_at` of the steps.
    `one_cycle`: the weights' rate rises linearly from 0 to `learning_rate` at `peak_at`, then falls
    to 0; the masks' rate is constant up to `mask_decay_at`, then falls to 0.
    """
    weights, masks = settings.learning_rate, settings.mask_learning_rate
    if settings.schedule == "one_cycle":
        peak, decay = settings.peak_at * total_steps, settings.mask_decay_at * total_steps
        return (
            PiecewiseLinear([0, peak, total_steps], [0, weights, 0]),
            PiecewiseLinear([decay, total_steps], [masks, 0]),
        )
    if not settings.decay_at:
        return PiecewiseLinear([0], [weights]), PiecewiseLinear([0], [masks])
    boundaries = [round(share * total_steps) for share in settings.decay_at]
    factors = [settings.decay_factor**k for k in range(len(boundaries) + 1)]
    return tuple(
        keras.optimizers.schedules.PiecewiseConstantDecay(boundaries, [rate * f for f in factors])
        for rate in (weights, masks)
    )
