"""The layers within a model, in order."""


def nested_layers(model):
    """The layers of a model, each before those within it and once, in the order of its layers.

    Args:
        model: `keras.Layer`, such as a model.
    """
    found, waiting = {}, [*reversed(model._layers)]
    while waiting:
        layer = waiting.pop()
        if id(layer) not in found:
            found[id(layer)] = layer
            waiting += reversed(layer._layers)
    return list(found.values())
