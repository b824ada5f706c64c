"""A table of what the masks of a model keep, and which of its layers count as what."""

from collections.abc import Callable, Sequence

import keras
import numpy as np
import rich.box
import rich.table
from rich.markup import escape

from anp_tf.layers import mask_layers
from anp_tf.models.graph import graph_of
from anp_tf.models.latents import latent_nodes
from anp_tf.pruning.groups import Groups
from anp_tf.tables import as_text


def mask_summary(
    model: keras.Model,
    print_fn: Callable[[str], object] = print,
    latents: Sequence[str] | None = None,
) -> None:
    """Prints a row per mask: units, kept units, and the spread of the inference mask.

    Of a functional model two lines follow: the layers whose outputs are its latent features, and
    those without a mask and why they have none.

    Args:
        model: A built Keras model.
        print_fn: Called once with the table as a string; `display` of a notebook shows it as
            HTML.
        latents: As for `anp_tf.models.with_latents`.

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
    print_fn(as_text(table, notes=list(_lines(model, latents))))


def _lines(model, latents):
    try:
        graph = graph_of(model)
    except ValueError:  # neither functional nor Sequential: its layers' calls are not seen
        return
    names = [node.layer.name for node in latent_nodes(graph, latents)]
    yield f"latent features: {', '.join(names) or 'none'}"
    for layer in Groups(graph).unmasked_layers():
        yield f"no mask: {layer}"
