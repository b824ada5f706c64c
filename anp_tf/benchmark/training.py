"""What a training step of each method costs, and of ANP-VS as it prunes."""

import keras
import numpy as np
import tensorflow as tf

from anp_tf import data
from anp_tf.benchmark.benchmark_table import BenchmarkTable
from anp_tf.layers import mask_layers
from anp_tf.methods import METHODS
from anp_tf.models import NETWORKS
from anp_tf.settings import Settings
from anp_tf.timing import median_times
from anp_tf.train.build import build_network, build_training_model

PRUNING_METHOD, BASE_METHOD = "anp_vs", "at"
UNIT_SPARSITIES = (0.5, 0.8, 0.9)  # shares of the units
STEPS_A_CALL = 4  # that are timed together
PRUNED_A_U = -20.0  # of `a_u`: a probability to be kept of nearly 0


def benchmark_training(
    methods=tuple(METHODS),
    network="lenet5_caffe",
    width_multiplier=1.0,
    batch_size=128,
    attack_steps=20,
    precision="none",
    repeats=10,
    progress=print,
):
    """Times training steps of each method, in turns.

    Args:
        methods: Sequence of names of methods, `at` among them, to which others are compared.
        network: Name of a network of `NETWORKS`, for images of its usual shape.
        width_multiplier: Float, of the network.
        batch_size: Integer.
        attack_steps: Integer, steps of PGD in training.
        precision: `"none"` (float32) or `"bfloat16"`, of the layers.
        repeats: Integer, how many times each is timed.
        progress: Function that is told what is made ready.

    Returns:
        `BenchmarkTable`.
    """
    random = np.random.default_rng(0)
    shape = NETWORKS[network](width_multiplier=width_multiplier).input_shape[1:]
    pixels = random.integers(0, 256, (batch_size, *shape), np.uint8)
    images = data.Examples(pixels, random.integers(0, 10, batch_size).astype(np.int32), 10)
    calls = {}
    subjects = [(method, 0.0, False) for method in methods]
    if PRUNING_METHOD in methods:
        subjects += [(PRUNING_METHOD, sparsity, False) for sparsity in UNIT_SPARSITIES]
        subjects.append((PRUNING_METHOD, UNIT_SPARSITIES[1], True))
    for method, sparsity, fixed in subjects:
        name = f"{method}, {100 * sparsity:g} % pruned" if sparsity else method
        name += ", masks fixed" if fixed else ""
        progress(f"making {name} ready")
        settings = Settings(
            method=method,
            network=network,
            width_multiplier=width_multiplier,
            batch_size=batch_size,
            attack_steps=attack_steps,
            mask_learning_rate=1e-12,  # the sparsity stays what it is
            mask_freeze_at=1e-9 if fixed else 1.0,  # from the first step, or never
            mixed_precision=precision,
        )
        calls[name] = _steps(settings, sparsity, images)
    times = median_times(calls, repeats, warm_ups=2)
    cost = f"time, in {BASE_METHOD}'s"
    figures = {
        name: {
            "images/s": 1000 * STEPS_A_CALL * batch_size / time,
            cost: time / times[BASE_METHOD],
        }
        for name, time in times.items()
    }
    return BenchmarkTable("training steps", {"images/s": ".1f", cost: ".2f"}, figures)


def _steps(settings, sparsity, images):
    """A function that takes some steps of training, in the state that `fit` would be in."""
    keras.utils.set_random_seed(0)
    network = build_network(settings, images)
    random = np.random.default_rng(0)
    for mask in mask_layers(network) if sparsity else ():
        pruned = random.permutation(mask.units) < int(sparsity * mask.units)
        mask.a_u.assign(np.where(pruned, PRUNED_A_U, np.array(mask.a_u)))
    model = build_training_model(settings, network, 60_000, 1000)
    if model.masks:
        model.slimming.attacked.open()
        model.slimming.attacked.update()
    if model.schedule.masks_are_fixed(0):
        model.train_slimmed()
    x = images.images.astype(np.float32) / 255
    batches = tf.data.Dataset.from_tensors((x, images.labels)).repeat()
    iterator = iter(batches)
    model.make_train_function()

    def steps():
        for _ in range(STEPS_A_CALL):
            logs = model.train_function(iterator)
        keras.ops.convert_to_numpy(logs["loss"])

    return steps
