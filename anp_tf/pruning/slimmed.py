"""How a tensor of a slim network stands for one of the masked network."""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np

from anp_tf.models.graph import Names


@dataclasses.dataclass(frozen=True)
class Slimmed:
    """What of a tensor of the masked network is left.

    `masked[..., kept] == tensor * factor + offset`. The other channels, of the last axis, are
    constants that the analysis of the graph knows, or nothing reads them.

    Attributes:
        tensor: Symbolic tensor [batch, ..., len(kept)]; None if nothing is kept.
        kept: Integer array, the channels of the masked network's tensor that are there.
        factor: Float array [len(kept)], not yet folded into any weights.
        offset: Float array [len(kept)], likewise.
        fold: Function of a factor [len(kept)] that multiplies it into the weights the tensor comes
            from, so that a mask that comes next costs nothing; None where that is not possible.
        names: `Names` for what is added; None: Keras' automatic ones.
    """

    tensor: keras.KerasTensor | None
    kept: np.ndarray
    factor: np.ndarray
    offset: np.ndarray
    fold: Callable | None = None
    names: Names | None = None

    def plain(self):
        """The same with factor 1 and offset 0: what is left of them becomes a `Rescaling` layer."""
        if not (np.any(self.factor != 1) or np.any(self.offset != 0)):
            return self
        # With three axes they are of the last one, whatever the global image format is.
        numbers = (
            array.astype(np.float32).reshape(1, 1, -1).tolist()
            for array in (self.factor, self.offset)
        )
        made = [keras.layers.Rescaling(*numbers, dtype=self.tensor.dtype)]
        if len(self.tensor.shape) == 2:  # to which three axes would add one
            shapes = (1, len(self.kept)), (len(self.kept),)
            before, after = (keras.layers.Reshape(s, dtype=self.tensor.dtype) for s in shapes)
            made = [before, *made, after]
        tensor = self.tensor
        for layer in made:
            tensor = self.added(layer(tensor))
        return dataclasses.replace(slimmed(tensor, self.kept), names=self.names)

    def added(self, tensor):
        """What a layer or an operation that is added has made, under a name of its own."""
        return tensor if self.names is None else self.names.of_added(tensor)

    def passed(self, tensor, **changes):
        """The same channels of another tensor, whose weights fold nothing."""
        return dataclasses.replace(self, **{"tensor": tensor, "fold": None, **changes})


def slimmed(tensor, kept, fold=None):
    """`Slimmed` with factor 1 and offset 0."""
    kept = np.asarray(kept, np.int64)
    return Slimmed(tensor, kept, np.ones(len(kept)), np.zeros(len(kept)), fold)
