"""The CPU threads of an operation."""

import contextlib
import os

import tensorflow as tf

MOST_PARTS = 8  # of a batch, each of which a graph holds


def use_op_threads(count):
    """Has TensorFlow, before it starts, give an operation so many threads.

    Attacks on parts of a batch then run side by side on the others.

    Raises:
        ValueError: if TensorFlow has started with another number.
    """
    try:
        tf.config.threading.set_intra_op_parallelism_threads(count)
    except RuntimeError as error:
        raise ValueError(
            f"op_threads: expected what TensorFlow has started with in this process, "
            f"{tf.config.threading.get_intra_op_parallelism_threads()} (0: as many as there are "
            f"cores), received {count}"
        ) from error


def use_threads_for_attacks():
    """As `use_op_threads`, with what is best for attacks that run on parts of a batch.

    Without a GPU there are as many parts as cores, up to 8. Where TensorFlow has started, nothing
    changes.
    """
    if not tf.config.list_physical_devices("GPU"):
        with contextlib.suppress(RuntimeError):
            count = -(-os.cpu_count() // MOST_PARTS)
            tf.config.threading.set_intra_op_parallelism_threads(count)
