"""How each kind of layer is made smaller: a table from the layer's class to a handler."""

import keras
import numpy as np

from anp_tf.layers import BayesianMask, FusedBatchNormalization, LeakyGradientReLU
from anp_tf.models.inner_calls import keep_whole
from anp_tf.models.kinds import IDENTITIES
from anp_tf.pruning.handlers.activations import (
    PReLU,
    Scaling,
    of_activation,
    of_lambda,
    of_relu,
)
from anp_tf.pruning.handlers.base import (
    AVERAGE,
    MAXIMUM,
    WHOLE,
    Handler,
    PerChannel,
    channels,
    is_any,
    is_not_negative,
    is_zero_or_one,
)
from anp_tf.pruning.handlers.composite import (
    Attention,
    Bidirectional,
    PerStep,
    Recurrent,
    inner_node,
    is_plain,
)
from anp_tf.pruning.handlers.linear import Depthwise, Linear, Separable, of_convolution
from anp_tf.pruning.handlers.merging import MERGING
from anp_tf.pruning.handlers.normalization import (
    BatchNormalization,
    GroupNormalization,
    RMSNormalization,
)
from anp_tf.pruning.handlers.operations import of_operation
from anp_tf.pruning.handlers.products import LAYERS as PRODUCTS
from anp_tf.pruning.handlers.shapes import Reshape, of_permute, of_resizing

__all__ = ["Handler", "PerChannel", "channels", "handler_of", "register_handler"]


class _Mask(PerChannel):
    def __init__(self):
        super().__init__(is_any)

    def knows(self, node):
        return True

    def constants(self, node, *inputs):
        active = np.asarray(node.layer.active_units())
        factor = np.asarray(node.layer.inference_mask(), np.float64)
        return np.where(active, inputs[0] * factor, 0.0)

    def build(self, node, make, kept, constants, *sources):
        (source,) = sources
        factor = np.asarray(node.layer.inference_mask(), np.float64)[kept]
        if source.fold is None or np.any(source.factor != 1) or np.any(source.offset):
            return source.passed(
                source.tensor, factor=source.factor * factor, offset=source.offset * factor
            )
        source.fold(factor)
        return source.passed(source.tensor)


def _of_time_distributed(node):
    inner = handler_of(inner_node(node)) if is_plain(node) else None
    return PerStep(inner) if inner is not None else None


_HANDLERS = {
    keras.layers.Activation: of_activation,
    keras.layers.BatchNormalization: BatchNormalization(),
    FusedBatchNormalization: BatchNormalization(),
    keras.layers.Bidirectional: Bidirectional(),
    keras.layers.Dense: Linear("units"),
    keras.layers.ELU: PerChannel(is_zero_or_one),
    keras.layers.Flatten: Reshape(),
    keras.layers.GRU: Recurrent(),
    keras.layers.GroupNormalization: GroupNormalization(),
    keras.layers.LSTM: Recurrent(),
    keras.layers.Lambda: of_lambda,
    keras.layers.LayerNormalization: WHOLE,
    keras.layers.LeakyReLU: PerChannel(is_not_negative),
    keras.layers.MultiHeadAttention: Attention(),
    keras.layers.Normalization: Scaling(),
    keras.layers.PReLU: PReLU(),
    keras.layers.Permute: of_permute,
    keras.layers.RMSNormalization: RMSNormalization(),
    keras.layers.ReLU: of_relu,
    LeakyGradientReLU: of_relu,
    keras.layers.RepeatVector: AVERAGE,
    keras.layers.Rescaling: Scaling(),
    keras.layers.Reshape: Reshape(),
    keras.layers.Resizing: of_resizing,
    keras.layers.SimpleRNN: Recurrent(),
    keras.layers.Softmax: WHOLE,
    keras.layers.TimeDistributed: _of_time_distributed,
    keras.layers.UnitNormalization: WHOLE,
    **MERGING,
    **PRODUCTS,
}
_HANDLERS |= dict.fromkeys(IDENTITIES, PerChannel(is_any, shifts=True, linear=True))
for _name, _handler in {
    "AdaptiveAveragePooling{}": AVERAGE,
    "AdaptiveMaxPooling{}": MAXIMUM,
    "AveragePooling{}": AVERAGE,
    "Conv{}": of_convolution,
    "Conv{}Transpose": Linear("filters", transposed=True),
    "Cropping{}": AVERAGE,
    "DepthwiseConv{}": Depthwise(),
    "GlobalAveragePooling{}": AVERAGE,
    "GlobalMaxPooling{}": MAXIMUM,
    "MaxPooling{}": MAXIMUM,
    "SeparableConv{}": Separable(),
    "UpSampling{}": AVERAGE,
    "ZeroPadding{}": PerChannel(is_any),
}.items():
    for _rank in ("1D", "2D", "3D"):
        _class = getattr(keras.layers, _name.format(_rank), None)
        if _class is not None:
            _HANDLERS[_class] = _handler
_MASK = _Mask()


def register_handler(layer_class, handler):
    """Tells `slim` how to treat a class of layers.

    Layers of the class are one call from then on: without a handler, a layer that is made of other
    layers alone is treated as the calls of these.

    Args:
        layer_class: Subclass of `keras.layers.Layer`; its own subclasses are not meant.
        handler: `Handler`, which see. A plain `Handler()` keeps all channels of the inputs.

    Raises:
        ValueError: if an argument is of another type.
    """
    if not (isinstance(layer_class, type) and issubclass(layer_class, keras.layers.Layer)):
        raise ValueError(
            "Argument `layer_class` must be a subclass of `keras.layers.Layer`. "
            f"Received: layer_class={layer_class!r}"
        )
    if not isinstance(handler, Handler):
        raise ValueError(f"Argument `handler` must be a `Handler`. Received: handler={handler!r}")
    _HANDLERS[layer_class] = handler
    keep_whole(layer_class)


def handler_of(node):
    """The handler of the node's layer, or None: a subclass may compute something else."""
    layer = node.layer
    if isinstance(layer, BayesianMask):
        return _MASK
    handler = _HANDLERS.get(type(layer)) if isinstance(layer, keras.Layer) else of_operation
    if handler is not None and not isinstance(handler, Handler):
        handler = handler(node)
    if handler is None or (handler.single_output and len(node.outputs) > 1):
        return None
    if handler.single_input and len(node.inputs) != 1:
        return None
    return handler if handler.knows(node) else None
