"""The colours of the figures of a page, light and dark."""

import re

import matplotlib

PAGE_COLOUR, INK_COLOUR = "#fdfdfc", "#1c1e21"
# What a light figure's colours become in its dark twin; those of images and surfaces stay.
DARK_COLOURS = {
    PAGE_COLOUR: "#15171a",
    INK_COLOUR: "#e7e8ea",
    "#b0b0b0": "#5d636b",
    "#00603a": "#6fd39b",
    "#b00020": "#ff8d97",
    "#0072b2": "#56b0ee",
    "#d55e00": "#ff8a3d",
    "#009e73": "#2fcfa0",
    "#cc79a7": "#e6a0c8",
    "#e69f00": "#f2b93b",
    "#56b4e9": "#9ad7ff",
    "#000000": "#ffffff",
    "#7f7f7f": "#a8a8a8",
}
INKED_PARTS = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")


def light():
    """A context in which figures are drawn in the colours of a light page, the same each time."""
    return matplotlib.rc_context(
        {
            "figure.facecolor": PAGE_COLOUR,
            "axes.facecolor": PAGE_COLOUR,
            **dict.fromkeys(INKED_PARTS, INK_COLOUR),
            "svg.hashsalt": "anp_tf",
        }
    )


def dark(svg):
    """The dark twin of a figure that was drawn in `light`, both SVG as text."""
    return re.sub("|".join(DARK_COLOURS), lambda colour: DARK_COLOURS[colour[0]], svg)
