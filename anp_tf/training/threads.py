"""The CPU threads of an operation."""

import tensorflow as tf


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
