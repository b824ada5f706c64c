"""What the figures look like, and how they are saved."""

import math
import textwrap
import warnings

from matplotlib.figure import Figure

from anp_tf.files import atomic_file

FIGURE_WIDTH = 3.8  # inches; so small that text of 7.5 points is legible on a telephone
SMALL_TEXT = 7.5  # points
LINE_MARKERS = "osD^vP*X<>"
# Colours that are told apart with any kind of colour vision (Okabe & Ito).
LINE_COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#000000",
    "#7f7f7f",
)

GOOD_COLOUR, BAD_COLOUR = "#00603a", "#b00020"


def new_figure(height, width=FIGURE_WIDTH):
    """An empty figure of a height and a width in inches."""
    return Figure(figsize=(width, height), layout="constrained")


def plot(figure, xlabel, ylabel):
    """The axes of a figure of lines."""
    axes = figure.add_subplot()
    axes.set_xlabel(xlabel, fontsize=9)
    axes.set_ylabel(ylabel, fontsize=9)
    axes.tick_params(labelsize=8, which="both")
    axes.grid(alpha=0.3)
    return axes


def rows_of_images(count, columns, height, below=0.0):
    """A figure of rows of images, each `height` inches high with the line of text above it.

    Args:
        count: Integer, rows.
        columns: Integer, images a row.
        height: Float, inches.
        below: Float, inches more for the last row, for what stands below it.

    Returns:
        The figure, and for each row a subfigure and the array of its axes.
    """
    figure = new_figure(count * height + below)
    heights = [*[height] * (count - 1), height + below]
    parts = figure.subfigures(count, 1, squeeze=False, height_ratios=heights).flat
    return figure, [(part, part.subplots(1, columns, squeeze=False)[0]) for part in parts]


def panels(count, height):
    """A figure of `count` panels with the same axes, two in a row, each `height` inches high.

    Returns:
        The figure and a list of its axes.
    """
    columns = min(2, count)
    rows = math.ceil(count / columns)
    figure = new_figure(rows * height + 0.4)
    axes = list(figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flat)
    for axis in axes[max(0, count - columns) : count]:
        axis.tick_params(labelbottom=True)
    for unused in axes[count:]:
        unused.remove()
    return figure, axes[:count]


def style(index):
    """Colour and marker of the line of a network."""
    return {
        "color": LINE_COLOURS[index % len(LINE_COLOURS)],
        "marker": LINE_MARKERS[index % len(LINE_MARKERS)],
        "markersize": 4.5,
        "linewidth": 1.5,
    }


def plain(text):
    """A text in which a dollar sign does not start a formula."""
    return str(text).replace("$", r"\$")


def wrapped(text, width=18):
    """A text like `plain`, in lines of about `width` characters."""
    return plain("\n".join(textwrap.wrap(str(text), width)))


def legend(figure, axes):
    """A legend of the lines, below the axes."""
    handles, labels = axes.get_legend_handles_labels()
    columns = max(1, min(4, 52 // (4 + max(map(len, labels)))))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=8)


def save(figure, path):
    """Writes a figure, whole or not at all, as PNG or SVG by the ending of the path.

    A character that the font does not have is drawn as a box.
    """
    with atomic_file(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from", UserWarning)
        metadata = {"Date": None} if str(path).endswith(".svg") else None
        figure.savefig(temporary, dpi=200, metadata=metadata)
