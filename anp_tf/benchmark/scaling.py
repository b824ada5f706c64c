"""How the time of PGD grows with its steps, the batch, the width and the share that is left."""

import dataclasses
import functools

import keras
import numpy as np
import tensorflow as tf

from anp_tf.attacks import PGD
from anp_tf.layers import UnitMask, mask_layers
from anp_tf.models import lenet5_caffe
from anp_tf.pruning import cost, slim
from anp_tf.tables import plain_table
from anp_tf.timing import median_times

USUAL_STEPS, USUAL_BATCH = 20, 128  # where they do not vary
STEPS_TRIED = (5, 10, 20, 40)
BATCHES_TRIED = (16, 32, 64, 128, 256)
WIDTHS_TRIED = (0.25, 0.5, 1.0, 2.0)
SPARSITIES_TRIED = (0.0, 0.5, 0.8, 0.9)


@dataclasses.dataclass(frozen=True)
class ScalingPoint:
    """PGD on LeNet-5-Caffe in one setting.

    Attributes:
        varied: What differs from the others of its kind: steps, batch size, width or sparsity.
        value: Its value.
        rate: Float, images a second.
        work: Float, floating-point operations of an image: of all steps, forwards and backwards.
    """

    varied: str
    value: float
    rate: float
    work: float


def benchmark_scaling(repeats=10, progress=print):
    """Times PGD while one thing varies, the settings of all kinds in turns.

    Args:
        repeats: Integer, timed attacks of each setting.
        progress: Function that is told what is made ready.

    Returns:
        List of `ScalingPoint`.
    """
    settings = [("steps", steps, {"steps": steps}) for steps in STEPS_TRIED]
    settings += [("batch size", size, {"batch_size": size}) for size in BATCHES_TRIED]
    settings += [("width", width, {"width": width}) for width in WIDTHS_TRIED]
    settings += [("sparsity", share, {"sparsity": share}) for share in SPARSITIES_TRIED]
    calls, works, sizes = {}, {}, {}
    progress(f"measuring {len(settings)} settings")
    for varied, value, options in settings:
        key = (varied, value)
        calls[key], works[key] = _attack(**options)
        sizes[key] = options.get("batch_size", USUAL_BATCH)
    times = median_times(calls, repeats, warm_ups=1)
    return [ScalingPoint(*key, 1000 * sizes[key] / times[key], works[key]) for key in calls]


def _attack(steps=USUAL_STEPS, batch_size=USUAL_BATCH, width=1.0, sparsity=0.0):
    keras.utils.set_random_seed(0)
    network = lenet5_caffe(UnitMask, width_multiplier=width)
    random = np.random.default_rng(0)
    for mask in mask_layers(network):
        mask.prune(random.choice(mask.units, round(sparsity * mask.units), replace=False))
    network = slim(network)
    attack = tf.function(functools.partial(PGD(epsilon=0.3, step_size=0.03, steps=steps), network))
    x = tf.constant(random.random((batch_size, 28, 28, 1)).astype(np.float32))
    y = tf.constant(random.integers(0, 10, batch_size))
    return lambda: attack(x, y).numpy(), 2 * steps * cost(network).flops


def table(measured):
    """The measurements as a text table; the last column is constant where cost grows linearly."""
    rows = [
        (
            row.varied,
            f"{row.value:g}",
            f"{row.rate:.1f}",
            f"{row.work / 1e6:.1f}",
            f"{row.rate * row.work / 1e9:.1f}",
        )
        for row in measured
    ]
    columns = ("varied", "value", "images/s", "MFLOP an image", "GFLOP/s")
    return plain_table(
        f"PGD on LeNet-5-Caffe, else {USUAL_STEPS} steps, batch {USUAL_BATCH}", columns, rows
    )


def record(measured):
    """The measurements as `{subject: images a second}`, and the rates of operations."""
    record = {f"{row.varied} {row.value:g}, images/s": row.rate for row in measured}
    return record | {
        f"{row.varied} {row.value:g}, GFLOP/s": row.rate * row.work / 1e9 for row in measured
    }
