"""How long networks take to answer."""

import statistics
import time

import tensorflow as tf


def median_latency(networks, batch_size, repeats=30):
    """Median time of a call of each network, the networks taking turns.

    Args:
        networks: Dict from a name to a Keras model, all with the same input shape.
        batch_size: Integer, images a call.
        repeats: Integer, timed calls of each network, after three that are not counted.

    Returns:
        Dict from the name to milliseconds a call.
    """
    shape = next(iter(networks.values())).input_shape[1:]
    pixels = tf.random.stateless_uniform([batch_size, *shape], [0, 0])
    functions = {name: tf.function(_inference(network)) for name, network in networks.items()}
    calls = {name: lambda f=f: f(pixels).numpy() for name, f in functions.items()}
    return median_times(calls, repeats)


def median_times(calls, repeats=30, warm_ups=3):
    """Median time of functions that take turns.

    Args:
        calls: Dict from a name to a function without arguments.
        repeats: Integer, timed calls of each function.
        warm_ups: Integer, calls of each before these, which are not counted.

    Returns:
        Dict from the name to milliseconds a call.
    """
    times = {name: [] for name in calls}
    for repeat in range(-warm_ups, repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if repeat >= 0:
                times[name].append(1000 * (time.perf_counter() - start))
    return {name: statistics.median(measured) for name, measured in times.items()}


def _inference(network):
    return lambda pixels: network(pixels, training=False)
