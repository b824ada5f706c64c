"""Adversarial neural pruning: networks that are robust to adversarial examples, and small."""

__version__ = "0.1.0"


def load(path):
    """The network in a `.keras` file, or in the workdir of a run, whatever layers it has.

    `keras.models.load_model` knows the masks and the random weights of such a file once
    `anp_tf.layers` is imported.

    Args:
        path: String or path.

    Returns:
        Keras model, not compiled.

    Raises:
        anp_tf.errors.WorkdirError: if there is none, or the file is damaged.
    """
    from anp_tf.workdir import load_network  # TensorFlow takes seconds to be imported

    return load_network(path)
