"""The states of a network's random layers."""

from anp_tf.layers.mask import BayesianMask


def seed_states(layer):
    """The states of the seed generators of a layer and of all layers in it, but for masks'.

    They are found by what they are: what Keras counts among a layer's variables, but not among its
    weights. So dropout, random flips, the dropout in attention and a user's own layer are alike.

    Args:
        layer: `keras.Layer`, for instance a model.

    Returns:
        List of `keras.Variable`s, each once.
    """
    of_masks = {
        id(variable)
        for part in layer._flatten_layers()
        if isinstance(part, BayesianMask)
        for variable in part.variables
    }
    known = {id(weight) for weight in layer.weights} | of_masks
    return [variable for variable in layer.variables if id(variable) not in known]
