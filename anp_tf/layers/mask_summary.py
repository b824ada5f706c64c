"""A table of what the masks of a model keep."""

import numpy as np
import rich.box
import rich.table
from rich.markup import escape

from anp_tf.layers.mask import mask_layers
from anp_tf.tables import as_text


def mask_summary(model, print_fn=print):
    """Prints a row per mask: units, kept units, and the spread of the inference mask.

    Args:
        model: A built Keras model.
        print_fn: Called once with the table as a string.

    Raises:
        ValueError: if the model has no masks, or is not built.
    """
    masks = mask_layers(model)
    if not all(mask.built for mask in masks):
        raise ValueError(f"Model `{model.name}` is not built, so its masks have no units yet.")
    if not masks:
        raise ValueError(f"Model `{model.name}` has no mask layers to summarise.")
    table = rich.table.Table(box=rich.box.SIMPLE, title=f'Masks of "{escape(model.name)}"')
    for column in ("mask", "units", "kept", "pruned %", "min E\\[z]", "mean", "max"):
        table.add_column(column, justify="left" if column == "mask" else "right")
    values = [np.asarray(mask.inference_mask()) for mask in masks]
    rows = [*zip([m.name for m in masks], values, strict=True), ("all", np.concatenate(values))]
    for name, value in rows:
        kept = np.count_nonzero(value)
        shares = (value.min(), value.mean(), value.max())
        table.add_row(
            escape(name),
            str(value.size),
            str(kept),
            f"{100 * (1 - kept / value.size):.1f}",
            *(f"{share:.3f}" for share in shares),
        )
    print_fn(as_text(table))
