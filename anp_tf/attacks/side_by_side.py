"""Parts of a batch on threads of their own."""

import itertools
import os

import tensorflow as tf


def side_by_side(function, *arguments):
    """What a function returns for a batch, of which it is given parts that run at the same time.

    The operations of a small network are so short that threads which share one wait for each other.
    Once TensorFlow has been told to give an operation fewer, by
    `tf.config.threading.set_intra_op_parallelism_threads`, the batch is divided into as many parts
    as there are cores for. Without that, eagerly, and where there is a GPU, the batch stays whole.

    Args:
        function: Function of the arguments to a structure of tensors [batch, ...]; it treats every
            example alone.
        *arguments: Structures of tensors [batch, ...].

    Returns:
        The structure that the function returns, for the whole batch.
    """
    batch, parts = _division(tf.nest.flatten(arguments))
    if parts == 1:
        return function(*arguments)
    ends = [batch * part // parts for part in range(parts + 1)]
    outputs = [
        function(*tf.nest.map_structure(lambda tensor, span=span: tensor[slice(*span)], arguments))
        for span in itertools.pairwise(ends)
    ]
    return tf.nest.map_structure(lambda *pieces: tf.concat(pieces, 0), *outputs)


def _division(tensors):
    """The size of the batch, or None, and the number of parts to divide it into."""
    threads = tf.config.threading.get_intra_op_parallelism_threads()
    if not threads or tf.executing_eagerly() or tf.config.list_physical_devices("GPU"):
        return None, 1
    shapes = [tf.TensorShape(getattr(tensor, "shape", None)) for tensor in tensors]
    sizes = {shape[0] if shape.rank else None for shape in shapes}
    if len(sizes) > 1 or None in sizes:
        return None, 1
    (batch,) = sizes
    return batch, max(1, min(os.cpu_count() // threads, batch))
