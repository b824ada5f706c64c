"""What every attack asks of pixels, labels and networks, checked once before it starts."""

import tensorflow as tf

from anp_tf.models.inference_form import inference_form

NEEDED = "The network must return logits [batch, classes] of a known number of classes, 2 at least"


def checked_pixels(x):
    """The pixels as a tensor of floats; an error at run time if they are not all in [0, 1]."""
    x = tf.convert_to_tensor(x)
    if not x.dtype.is_floating or not x.shape.rank:
        raise ValueError(
            "Argument `x` must be pixels in [0, 1] as floats, [batch, ...]. "
            f"Received: {x.dtype.name} of shape {x.shape}"
        )
    inside = tf.reduce_all((x >= 0) & (x <= 1))
    tf.debugging.assert_equal(
        inside, True, "The attack needs finite pixels in [0, 1]. Received: NaN or other values"
    )
    return tf.stop_gradient(x)


def pixels_of(x):
    """Pixels that are at hand as a tensor; a ValueError of one line if they are no pixels."""
    x = tf.convert_to_tensor(x)
    if not x.dtype.is_floating or not tf.reduce_all((x >= 0) & (x <= 1)):
        values = x.numpy()
        raise ValueError(
            f"the pixels must be floats in [0, 1]: they are {x.dtype.name} from {values.min():g} "
            f"to {values.max():g}"
        )
    return x


def check_images(x):
    """An error unless the pixels are those of images whose size is known, which squares need."""
    if x.shape.rank != 4 or None in x.shape[1:]:
        raise ValueError(
            "The attack needs images [batch, height, width, channels] of a known size. "
            f"Received: x of shape {x.shape}"
        )


def labels_of(y, x):
    """The labels of images `x` [batch, ...] as int64 [batch]; an error if they are none."""
    y = tf.convert_to_tensor(y)
    fits = y.shape.rank == 1 or (y.shape.rank == 2 and y.shape[1] == 1)
    if not y.dtype.is_integer or not fits or not y.shape[:1].is_compatible_with(x.shape[:1]):
        raise ValueError(
            "Argument `y` must be one integer label for each image, [batch] or [batch, 1], not "
            f"one-hot. Received: {y.dtype.name} of shape {y.shape}, for x of shape {x.shape}"
        )
    return tf.reshape(tf.cast(y, tf.int64), [-1])


def checked_labels(y, x, classes):
    """As `labels_of`; an error at run time if one is no class of a network."""
    y = labels_of(y, x)
    tf.debugging.assert_equal(
        tf.reduce_all((y >= 0) & (y < classes)),
        True,
        f"The labels must be integers from 0 to {classes - 1}, the network's classes. "
        "Received: others",
    )
    return y


class Logits:
    """A network in inference as attacks call it: its logits are checked, and float32 at least.

    Args:
        network: Keras model, or any function `(pixels, training) -> logits`.
        x: Float tensor [batch, ...], pixels, of the type that the network gets. It is asked for the
            first one if its number of classes cannot be read off it.

    Attributes:
        classes: Integer.

    Call arguments:
        pixels: Float tensor [batch, ...].

    Raises:
        ValueError: if it does not return one tensor [batch, classes], or just one class.
    """

    def __init__(self, network, x):
        self._network, self._dtype = inference_form(network), x.dtype
        self.classes = _known_classes(network) or int(self(x[:1]).shape[-1])

    def __call__(self, pixels, training=False):
        return self.checked(self._network(tf.cast(pixels, self._dtype), training=False))

    def checked(self, logits):
        """What the network returned as a tensor of logits, float32 at least."""
        if isinstance(logits, list | tuple | dict):
            kind = type(logits).__name__
            raise ValueError(f"{NEEDED}. Received: a {kind} of {len(logits)}")
        logits = tf.convert_to_tensor(logits)
        classes = logits.shape[1] if logits.shape.rank == 2 else None
        if classes is None or classes < 2 or not logits.dtype.is_floating:
            raise ValueError(f"{NEEDED}. Received: {logits.dtype.name} of shape {logits.shape}")
        return logits if logits.dtype == tf.float64 else tf.cast(logits, tf.float32)


def _known_classes(network):
    """What a Keras model or a SavedModel says of its only output, or None."""
    outputs = getattr(network, "outputs", None)
    if not isinstance(outputs, list) or len(outputs) != 1:
        return None
    shape = tf.TensorShape(getattr(outputs[0], "shape", None))
    return shape[1] if shape.rank == 2 and (shape[1] or 0) >= 2 else None
