"""How fast PGD-20 is here and in other packages."""

import os
import warnings

import keras
import numpy as np
import tensorflow as tf

from anp_tf.benchmark.benchmark_table import BenchmarkTable
from anp_tf.benchmark.peers import OURS, PEERS, Budget, same_logits
from anp_tf.models import NETWORKS
from anp_tf.pruning import cost
from anp_tf.timing import median_times

BATCH_SIZES = {"lenet5_caffe": 128, "vgg16": 32}
MATRIX_SIDE = 2048  # rows and columns of the product that the machine is measured by
FASTER_BY = "anp_tf is faster by"


def benchmark_attack(networks=tuple(BATCH_SIZES), width_multiplier=1.0, repeats=10, progress=print):
    """Times PGD-20 of each package that is installed, in turns, on the same weights.

    Args:
        networks: Sequence of names, of those in `BATCH_SIZES`.
        width_multiplier: Float, positive; of the networks.
        repeats: Integer, timed attacks of each package.
        progress: Function that is told what is measured next, and which packages are missing.

    Returns:
        `BenchmarkTable`; as notes the share of the machine's rate of matrix products that our
        attack reaches, where a multiply-add is two operations, and the gradient costs what the
        forward pass does.

    Raises:
        RuntimeError: if a package computes other logits, or its images leave the ball.
    """
    figures, shares = {}, {}
    for name in networks:
        batch_size = BATCH_SIZES[name]
        keras.utils.set_random_seed(0)
        network = NETWORKS[name](width_multiplier=width_multiplier)
        case = f"{name}, batch {batch_size}"
        progress(f"measuring {case}")
        calls = _calls(network, batch_size, progress)
        times = _interleaved(calls, repeats)
        rates = {peer: 1000 * batch_size / times[peer] for peer in calls}
        for peer, rate in rates.items():
            figures[f"{case}: {peer}"] = {"images/s": rate, FASTER_BY: rates[OURS] / rate}
        operations = 2 * Budget().steps * cost(network).flops
        share = rates[OURS] * operations / matrix_product_rate(repeats)
        shares[f"{case}: share of the matrix product rate"] = share
    return BenchmarkTable("PGD-20", {"images/s": ".1f", FASTER_BY: ".2f"}, figures, shares)


def matrix_product_rate(repeats=10):
    """Float32 operations a second of products of large square matrices, one for each core."""
    matrices = tf.random.stateless_normal([os.cpu_count(), MATRIX_SIDE, MATRIX_SIDE], [0, 0])
    products = tf.function(lambda: [tf.matmul(matrix, matrix) for matrix in tf.unstack(matrices)])
    times = median_times({"products": lambda: [product.numpy() for product in products()]}, repeats)
    return 2 * MATRIX_SIDE**3 * os.cpu_count() / (times["products"] / 1000)


def _calls(network, batch_size, progress):
    random = np.random.default_rng(0)
    x = random.random((batch_size, *network.input_shape[1:])).astype(np.float32)
    y = random.integers(0, network.output_shape[-1], batch_size)
    budget, calls, expected = Budget(), {}, None
    for name, prepare in PEERS.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of packages about what they could use
                peer = prepare(network, budget, x, y)
                images = peer.attack()
        except ImportError as error:
            progress(f"  {name} is not installed ({error})")
            continue
        expected = peer.logits if expected is None else expected
        _check(name, peer.logits, expected, images, x, budget)
        calls[name] = peer.attack
    return calls


def _check(name, logits, expected, images, x, budget):
    if not same_logits(logits, expected):
        raise RuntimeError(f"{name} computes other logits: the comparison would not be fair")
    if np.abs(images - x).max() > budget.epsilon + 1e-5 or images.min() < 0 or images.max() > 1:
        raise RuntimeError(f"the images of {name} leave the ball")


def _interleaved(calls, repeats):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return median_times(calls, repeats, warm_ups=1)
