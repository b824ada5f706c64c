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
        ValueError: if the network has no ReLU.
    """
    (pixels,), (logits,) = network.inputs, network.outputs
    latents = [
        layer.output
        for layer in network.layers
        if _ends_in_relu(layer) and layer.output is not logits
    ]
    if not latents:
        raise ValueError(
            f"Network `{network.name}` has no ReLU layer, so its latent features are undefined."
        )
    return keras.Model(pixels, (latents, logits), name=f"{network.name}_latents")


def _ends_in_relu(layer):
    if isinstance(layer, keras.layers.ReLU):
        return True
    return getattr(layer, "activation", None) is keras.activations.relu
