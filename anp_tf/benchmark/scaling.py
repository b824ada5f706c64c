"""How the time of PGD grows with its steps, the batch, the width and the share that is left."""

import functools

import keras
import numpy as np
import tensorflow as tf

from anp_tf.attacks import PGD
from anp_tf.benchmark.benchmark_table import BenchmarkTable
from anp_tf.layers import UnitMask, mask_layers
from anp_tf.models import lenet5_caffe
from anp_tf.pruning import cost, slim
from anp_tf.timing import median_times

USUAL_STEPS, USUAL_BATCH = 20, 128  # where they do not vary
STEPS_TRIED = (5, 10, 20, 40)
BATCHES_TRIED = (16, 32, 64, 128, 256)
WIDTHS_TRIED = (0.25, 0.5, 1.0, 2.0)
SPARSITIES_TRIED = (0.0, 0.5, 0.8, 0.9)


def benchmark_scaling(repeats=10, progress=print):
    """Times PGD while one thing varies, the settings of all kinds in turns.

    Args:
        repeats: Integer, timed attacks of each setting.
        progress: Function that is told what is made ready.

    Returns:
        `BenchmarkTable`; the operations a second are constant where cost grows linearly.
    """
    settings = [("steps", steps, {"steps": steps}) for steps in STEPS_TRIED]
    settings += [("batch size", size, {"batch_size": size}) for size in BATCHES_TRIED]
    settings += [("width", width, {"width": width}) for width in WIDTHS_TRIED]
    settings += [("sparsity", share, {"sparsity": share}) for share in SPARSITIES_TRIED]
    calls, works, sizes = {}, {}, {}
    progress(f"measuring {len(settings)} settings")
    for varied, value, options in settings:
        name = f"{varied} {value:g}"
        calls[name], works[name] = _attack(**options)
        sizes[name] = options.get("batch_size", USUAL_BATCH)
    figures = {}
    for name, time in median_times(calls, repeats, warm_ups=1).items():
        rate = 1000 * sizes[name] / time
        figures[name] = {
            "images/s": rate,
            "MFLOP an image": works[name] / 1e6,
            "GFLOP/s": rate * works[name] / 1e9,
        }
    title = f"PGD on LeNet-5-Caffe, else {USUAL_STEPS} steps, batch {USUAL_BATCH}"
    formats = {"images/s": ".1f", "MFLOP an image": ".1f", "GFLOP/s": ".1f"}
    return BenchmarkTable(title, formats, figures)


def _attack(steps=USUAL_STEPS, batch_size=USUAL_BATCH, width=1.0, sparsity=0.0):
    """An attack to be timed, and its floating-point operations an image, both ways."""
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
