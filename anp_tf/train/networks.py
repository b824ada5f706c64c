"""The network that an option names: one of the package, of `keras.applications`, or one's own."""

import difflib
import inspect

import keras

from anp_tf.layers import BayesianMask, bayes_layers
from anp_tf.models import NETWORKS
from anp_tf.models.classifier import check_classifier
from anp_tf.models.graph import graph_of
from anp_tf.models.random_weights import with_fixed_weights
from anp_tf.own_modules import own_module
from anp_tf.workdir import load_network

AUTO = "auto"
SMALL, LARGE = 32, 64  # sides of images from which, and up to which, VGG-16 is the default
APPLICATIONS = {
    name: value
    for name, value in vars(keras.applications).items()
    if name[0].isupper() and callable(value)
}


def default_network(image_shape):
    """The name of the network that images of a shape are for, unless another one is named.

    Raises:
        ValueError: if it is not the shape of images.
    """
    if len(image_shape) != 3:
        raise ValueError(
            "network: expected one of your own for rows of numbers, MODULE:FUNCTION or a .keras "
            f"file, received none for examples of shape {list(image_shape)}"
        )
    if min(image_shape[:2]) < SMALL:
        return "lenet5_caffe"
    return "vgg16" if max(image_shape[:2]) <= LARGE else "resnet18"


def check_name(name):
    """Raises a ValueError if a name cannot be that of a network."""
    if not (name in (AUTO, *NETWORKS, *APPLICATIONS) or ":" in name or name.endswith(".keras")):
        raise ValueError(
            f"network: expected {', '.join(NETWORKS)}, a name of keras.applications, "
            f"MODULE:FUNCTION or a .keras file, received {name!r}{_hint(name)}"
        )


def own_network(name, input_shape, num_classes, fresh=False):
    """A network that is not one of the package's.

    Args:
        name: `"MODULE:FUNCTION"`, a function that is called with `input_shape` and `num_classes`,
            of a module that is found from the current folder too; the path of a `.keras` file; or
            the name of a network of `keras.applications`, whose weights are new.
        input_shape: Tuple, the shape of an example without the batch.
        num_classes: Integer, number of logits.
        fresh: Boolean; give the network of a file new weights.

    Returns:
        A functional `keras.Model` from pixels in [0, 1] to logits.

    Raises:
        ValueError: if there is no such network, if it cannot be made, or if it does not take the
            examples or return a logit for each class.
    """
    if name.endswith(".keras"):
        network = load_network(name)
        if fresh:
            network = keras.models.clone_model(network)
    elif fresh:
        raise ValueError(f"fresh: expected a .keras file as the network, received {name}")
    elif ":" in name:
        network = _called(name, _function(name), input_shape, num_classes)
    else:
        check_name(name)
        network = _called(name, _application(APPLICATIONS[name]), input_shape, num_classes)
    return _checked(network, name, input_shape, num_classes)


def dense_like(network):
    """The network before it was pruned: without its masks, or its random weights' deviations.

    Args:
        network: Functional `keras.Model`; the layers of what is returned may be its own.
    """
    if bayes_layers(network):
        return with_fixed_weights(network)

    def call(node, tensors):
        if isinstance(node.layer, BayesianMask):
            return tensors[0]
        args, kwargs = node.arguments(tensors)
        return node.layer(*args, **kwargs)

    return graph_of(network).rebuild(call, name=network.name)


def _function(name):
    """The function `MODULE:FUNCTION`."""
    module, _, attribute = name.partition(":")
    try:
        found = own_module(module)
    except Exception as error:  # whatever a user's file may raise
        raise ValueError(f"network: cannot import {module}: {_short(error)}") from error
    function = getattr(found, attribute, None)
    if not callable(function):
        functions = [n for n, value in vars(found).items() if inspect.isfunction(value)]
        raise ValueError(
            f"network: {module} has no function {attribute!r}, but {', '.join(functions) or 'none'}"
        )
    return function


def _application(function):
    """A function like a user's, of one of `keras.applications`."""
    takes = inspect.signature(function).parameters

    def build(input_shape, num_classes):
        pixels = keras.Input(input_shape, name="pixels")
        if "include_preprocessing" in takes or not function.__name__.startswith("EfficientNet"):
            x = keras.layers.Rescaling(2.0, offset=-1.0, name="normalise")(pixels)
        else:  # which scale pixels of 0 to 255 themselves
            x = keras.layers.Rescaling(255.0, name="as_bytes")(pixels)
        options = {"include_preprocessing": False} if "include_preprocessing" in takes else {}
        return function(
            input_tensor=x,
            weights=None,
            classes=num_classes,
            classifier_activation=None,
            **options,
        )

    return build


def _called(name, function, input_shape, num_classes):
    try:
        network = function(input_shape=input_shape, num_classes=num_classes)
        for weight in getattr(network, "weights", ()):
            if 0 in weight.shape:  # Keras 3.12 builds networks of features without a pixel
                raise ValueError(f"nothing is left of the images before the weights {weight.path}")
        return network
    except Exception as error:  # whatever a user's function may raise
        raise ValueError(
            f"network: {name} failed for input_shape={tuple(input_shape)}, "
            f"num_classes={num_classes}: {_short(error)}"
        ) from error


def _checked(network, name, input_shape, num_classes):
    """The network as a functional model; a ValueError unless it fits the data."""
    if not isinstance(network, keras.Model):
        raise ValueError(
            f"network: expected {name} to be a keras.Model, received {type(network).__name__}"
        )
    try:
        if isinstance(network, keras.Sequential):
            if not network.built:
                network.build((None, *input_shape))
            network = keras.Model(network.inputs, network.outputs, name=network.name)
        check_classifier(network, known_size=True)
        graph_of(network)
        network = keras.Model(network.inputs[0], network.outputs[0], name=network.name)
    except Exception as error:  # Keras raises errors of many types.
        raise ValueError(f"network: {name} cannot be trained: {_short(error)}") from error
    batch, *takes = network.input_shape
    if batch is not None:
        raise ValueError(
            f"network: expected {name} to take batches of any size, without batch_size in its "
            f"keras.Input, received one for batches of {batch}"
        )
    takes, classes = tuple(takes), network.output_shape[-1]
    if takes != tuple(input_shape) or classes != num_classes:
        raise ValueError(
            f"network: expected inputs of shape {list(input_shape)} and {num_classes} logits, as "
            f"the data set has them, received {list(takes)} and {classes} of {name}"
        )
    return network


def _hint(name):
    known = {other.lower(): other for other in (*NETWORKS, *APPLICATIONS)}
    near = [known[lower] for lower in known if lower.startswith(name.lower())][:2]
    near = near or [known[x] for x in difflib.get_close_matches(name.lower(), known, n=2)]
    return f"; did you mean {' or '.join(near)}?" if near else ""


def _short(error):
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
