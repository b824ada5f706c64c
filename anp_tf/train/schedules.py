"""Learning rates over a run."""

import itertools

import keras
import tensorflow as tf

from anp_tf.methods import METHODS

RESTART = 0.3


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

    `restart`: up to where the pruning ends (`mask_freeze_at`, or `prune_until` of the methods that
    prune by magnitude) as `one_cycle`, then the weights' rate begins anew at `RESTART` times
    `learning_rate`, peaks at `peak_at` of the steps that are left, and falls to 0.

    Where the masks are fixed, from `mask_freeze_at` on, their rate is 0 under both.
    """
    weights, masks = settings.learning_rate, settings.mask_learning_rate
    freeze = round(settings.mask_freeze_at * total_steps)  # from this step on they are fixed
    if settings.schedule in ("one_cycle", "restart"):
        decay = min(settings.mask_decay_at * total_steps, freeze - 1)
        pruned = pruned_at(settings) if settings.schedule == "restart" else 0.0
        return (
            _cycles(weights, settings.peak_at, pruned * total_steps, total_steps),
            PiecewiseLinear([decay, freeze], [masks, 0]),
        )
    falls = [round(share * total_steps) for share in settings.decay_at]
    factors = [settings.decay_factor**k for k in range(len(falls) + 1)]
    mask_falls, mask_rates = falls, [masks * factor for factor in factors]
    if settings.mask_freeze_at < 1:
        before = [step for step in falls if step < freeze - 1]
        mask_falls = [*before, freeze - 1]  # the rate is another one after the boundary
        mask_rates = [*mask_rates[: len(before) + 1], 0.0]
    return (
        _piecewise_constant(falls, [weights * factor for factor in factors]),
        _piecewise_constant(mask_falls, mask_rates),
    )


def pruned_at(settings):
    """The share of the steps after which no unit and no weight is pruned any more; 1: never."""
    method = METHODS[settings.method]
    if "prune_until" in method.takes:
        return settings.prune_until
    return settings.mask_freeze_at if method.learns_masks else 1.0


def _cycles(rate, peak_at, pruned, total):
    """A cycle over all steps, or one up to the step `pruned` and another one from there on."""
    if pruned >= total:
        pruned = 0.0
    start = RESTART * rate if pruned else 0.0
    after = pruned + peak_at * (total - pruned)
    steps, rates = [pruned, after, total], [start, rate, 0.0]
    if pruned * peak_at >= 1 and pruned * (1 - peak_at) > 1:
        steps = [0.0, pruned * peak_at, pruned - 1, *steps]
        rates = [0.0, rate, 0.0, *rates]
    return PiecewiseLinear(steps, rates)


def _piecewise_constant(boundaries, rates):
    if not boundaries:
        return PiecewiseLinear([0], rates)
    return keras.optimizers.schedules.PiecewiseConstantDecay(boundaries, rates)
