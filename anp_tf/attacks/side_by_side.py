"""Parts of a batch on threads of their own."""

import itertools
import os

import tensorflow as tf


def side_by_side(function, *arguments):
    """What a function returns for a batch, of which it is given parts that run at the same time.

    The operations of a small network are so short that threads which share one wait for each other.
    Once TensorFlow has been told to give an operation fewer, by
    `tf.config.threading.set_intra_op_parallelism_threads`, the batch is divided into as many parts
    as there are cores for; of a batch with fewer examples, some are given to several. Without that,
    eagerly, and where there is a GPU, the batch stays whole.

    Args:
        function: Function of the arguments to a structure of tensors [batch, ...]; it treats every
            example alone.
        *arguments: Structures of tensors [batch, ...].

    Returns:
        The structure that the function returns, for the whole batch.
    """
    parts = _parts(tf.nest.flatten(arguments))
    if parts == 1:
        return function(*arguments)
    batch = _batch(tf.nest.flatten(arguments))
    ends = [batch * part // parts for part in range(parts + 1)]
    if not isinstance(batch, int):  # one trace is for parts of all sizes
        specs = tf.nest.map_structure(
            lambda tensor: tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype), arguments
        )
        function = tf.function(function, input_signature=specs, autograph=False)
    outputs = [_part(function, arguments, batch, *span) for span in itertools.pairwise(ends)]
    return tf.nest.map_structure(lambda *pieces: tf.concat(pieces, 0), *outputs)


def _part(function, arguments, batch, start, end):
    """The function's outputs for some examples of a batch.

    For no examples it is given one nevertheless: TensorFlow's fused convolutions fail on none.
    """

    def cut(structure, start, end):
        return tf.nest.map_structure(lambda tensor: tensor[start:end], structure)

    if isinstance(batch, int):  # at least as many as there are parts
        return function(*cut(arguments, start, end))
    first = tf.minimum(start, batch - 1)
    outputs = function(*cut(arguments, first, tf.maximum(end, first + 1)))
    return cut(outputs, 0, end - start)


def _parts(tensors):
    """The number of parts to divide a batch into: 1, or as many as fit the cores."""
    threads = tf.config.threading.get_intra_op_parallelism_threads()
    if not threads or tf.executing_eagerly() or tf.config.list_physical_devices("GPU"):
        return 1
    shapes = [tf.TensorShape(getattr(tensor, "shape", None)) for tensor in tensors]
    if not all(shape.rank for shape in shapes):
        return 1
    known = {shape[0] for shape in shapes} - {None}
    return max(1, min([os.cpu_count() // threads, *known])) if len(known) < 2 else 1


def _batch(tensors):
    """How many examples the tensors are of, an integer if it is known."""
    known = {tensor.shape[0] for tensor in tensors} - {None}
    return known.pop() if known else tf.shape(tensors[0])[0]
