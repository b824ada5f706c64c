"""The latent features of a network: the outputs of its ReLUs."""

import keras


def with_latents(network):
    """A model that returns a network's latent features beside its logits.

    The features are those whose vulnerability is measured and suppressed: every ReLU output, be it
    a `ReLU` layer or the activation of another layer, but not the network's own output.

    Args:
        network: Functional or Sequential `keras.Model` from pixels to logits.

    Returns:
        `keras.Model` with the same layers and weights; its output is the pair of a list of latent
        features, in the order of the layers, and the logits.

    Raises:
        ValueError: if the network has no ReLU, or has one in a nested model, where its output
            cannot be reached.
    """
    (pixels,), (logits,) = network.inputs, network.outputs
    functional = keras.Model(pixels, logits)  # of a Sequential network too
    latents = []
    for depth in sorted(functional._nodes_by_depth, reverse=True):
        for node in functional._nodes_by_depth[depth]:
            layer = node.operation
            if isinstance(layer, keras.Model):
                _check_nested(layer)
            elif _ends_in_relu(layer) and node.outputs[0] is not logits:
                latents.append(node.outputs[0])
    if not latents:
        raise ValueError(
            f"Network `{network.name}` has no ReLU layer, so its latent features are undefined."
        )
    return keras.Model(pixels, (latents, logits), name=f"{network.name}_latents")


def _ends_in_relu(layer):
    if isinstance(layer, keras.layers.ReLU) or type(layer).__name__ == "Relu":  # keras.ops.relu
        return True
    return getattr(layer, "activation", None) is keras.activations.relu


def _check_nested(model):
    for layer in model._flatten_layers(include_self=False):
        if _ends_in_relu(layer):
            raise ValueError(
                f"Layer `{layer.name}` is a ReLU inside the nested model `{model.name}`, so its "
                "output cannot be reached. Build the network as one flat functional model."
            )
