"""Whether two networks compute the same."""

import contextlib

import keras
import numpy as np
import tensorflow as tf

SIDES = 32, 64, 128, 256  # of an axis whose length is not known
FEW = 2  # of integers and of batches
TOLERANCES = {"float32": 1e-5, "float64": 1e-5}  # of the largest output
TOLERANCE_IN_HALF = 2e-2
HALF = ("bfloat16", "float16")


def example_inputs(inputs, seed=0, side=SIDES[0]):
    """Two random examples of what a model takes, or as many as it takes at a time.

    Floats are in [0, 1], integers are 0 or 1, strings are letters.

    Args:
        inputs: Symbolic tensor, or a structure of them.
        seed: Integer.
        side: Integer, the length of axes whose length is not known.

    Returns:
        Tensor, or a structure like `inputs`.
    """
    random = np.random.default_rng(seed)

    def example(tensor):
        shape = [tensor.shape[0] or FEW, *(size or side for size in tensor.shape[1:])]
        dtype = tf.as_dtype(tensor.dtype)
        if dtype == tf.string:
            return tf.constant(random.choice(["a", "b"], shape))
        if dtype.is_floating:
            return tf.constant(random.random(shape), dtype)
        return tf.cast(tf.constant(random.integers(0, FEW, shape)), dtype)

    return keras.tree.map_structure(example, inputs)


def example_outputs(model, inputs):
    """Random examples of what a model takes, and what it computes of them in inference.

    Where the model needs larger ones, and takes them, the examples are larger. States, as of a
    stateful recurrent layer, stay what they are.

    Args:
        model: `keras.Model`.
        inputs: As for `example_inputs`.

    Returns:
        Pair of the examples and the outputs.
    """

    def computed(side):
        examples = example_inputs(inputs, side=side)
        with keras.StatelessScope():
            return examples, model(examples, training=False)

    is_unknown = any(None in tensor.shape[1:] for tensor in keras.tree.flatten(inputs))
    return of_first(computed, SIDES if is_unknown else SIDES[:1])


def of_first(compute, sizes):
    """`compute(size)` of the first of some sizes that is large enough for it not to fail."""
    *smaller, last = sizes
    for size in smaller:
        with contextlib.suppress(Exception):
            return compute(size)
    return compute(last)


def computes_in_half(model):
    """Whether a layer of a model computes in float16 or bfloat16."""
    return any(layer.compute_dtype in HALF for layer in model._flatten_layers())


def alike(value, other, tolerance=None):
    """Whether two outputs are the same but for rounding.

    Args:
        value, other: Tensors of one shape.
        tolerance: Float, the share of the largest number that they may differ by; None: that of the
            precision of `other`.
    """
    if tolerance is None:
        tolerance = TOLERANCES.get(keras.backend.standardize_dtype(other.dtype), TOLERANCE_IN_HALF)
    value, other = (np.asarray(tf.cast(x, tf.float32)) for x in (value, other))
    if not np.isfinite(other).all():
        return bool(np.array_equal(np.isfinite(value), np.isfinite(other)))
    return bool(np.allclose(value, other, rtol=0, atol=tolerance * max(1e-6, np.abs(other).max())))
