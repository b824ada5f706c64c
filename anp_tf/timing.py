"""How long networks take to answer, and whether one takes less time than another."""

import statistics
import time

import tensorflow as tf

WARM_UPS = 5


def latencies(networks, batch_size, repeats=30):
    """How long a call of each network takes, the networks taking turns.

    Args:
        networks: Dict from a name to a Keras model, all with the same input shape.
        batch_size: Integer, images a call.
        repeats: Integer, at least 2, timed calls of each network, after five that are not counted.

    Returns:
        Dict: by the name the median of the milliseconds a call, and by `NAME_quartiles` the list of
        their lower and upper quartile.
    """
    shape = next(iter(networks.values())).input_shape[1:]
    pixels = tf.random.stateless_uniform([batch_size, *shape], [0, 0])
    functions = {name: tf.function(_inference(network)) for name, network in networks.items()}
    calls = {name: lambda f=f: f(pixels).numpy() for name, f in functions.items()}
    figures = {}
    for name, times in times_in_turns(calls, repeats, WARM_UPS).items():
        low, median, high = statistics.quantiles(times, n=4, method="inclusive")
        figures |= {name: median, f"{name}_quartiles": [low, high]}
    return figures


def latency_names(row, size):
    """The names of the latencies that tell something: both, or the network's alone.

    The dense network's tells nothing where nothing was pruned, nor where the middle halves of the
    times of both overlap.

    Args:
        row: Dict, a results row.
        size: String, a key of its `latency_milliseconds`.

    Returns:
        `["dense", "slim"]`, or `["slim"]`.
    """
    times = row["latency_milliseconds"][size]
    (low, high), (slim_low, slim_high) = (_middle(times, name) for name in ("dense", "slim"))
    alike = row["dense_flops"] == row["slim_flops"] or (low <= slim_high and slim_low <= high)
    return ["slim"] if alike else ["dense", "slim"]


def latency_text(times, name):
    """A median with half the distance of its quartiles, `0.48 ± 0.02`; alone where not known."""
    low, high = _middle(times, name)
    spread = f" ± {(high - low) / 2:.2f}" if f"{name}_quartiles" in times else ""
    return f"{times[name]:.2f}{spread}"


def _middle(times, name):
    return times.get(f"{name}_quartiles", [times[name], times[name]])


def median_times(calls, repeats=30, warm_ups=3):
    """Median time of functions that take turns, in milliseconds; arguments as `times_in_turns`."""
    times = times_in_turns(calls, repeats, warm_ups)
    return {name: statistics.median(measured) for name, measured in times.items()}


def times_in_turns(calls, repeats, warm_ups):
    """The times of functions that take turns, in this order and then in the other.

    Args:
        calls: Dict from a name to a function without arguments.
        repeats: Integer, timed calls of each function.
        warm_ups: Integer, calls of each before these, which are not counted.

    Returns:
        Dict from the name to a list of milliseconds a call.
    """
    times = {name: [] for name in calls}
    for repeat in range(-warm_ups, repeats):
        for name in list(calls)[:: -1 if repeat % 2 else 1]:
            start = time.perf_counter()
            calls[name]()
            spent = time.perf_counter() - start
            if repeat >= 0:
                times[name].append(1000 * spent)
    return times


def _inference(network):
    return lambda pixels: network(pixels, training=False)
