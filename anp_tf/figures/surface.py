"""The loss around test images, along the attack's direction and a random one."""

import numpy as np
import tensorflow as tf
from matplotlib.colors import LogNorm

from anp_tf.figures import canvas
from anp_tf.figures.attacked_images import logits, rounded
from anp_tf.losses import cross_entropy

AXIS_REACH = 2.0  # in units of epsilon
AXIS_POINTS = 25
SURFACE_IMAGES = 20
LOWEST_LOSS = 1e-3  # that has a colour of its own, in nats


def loss_surface(attacked):
    """The cross-entropy on a grid of images between and beyond clean and adversarial ones.

    The image at (a, b) is x + a (x' - x) + b epsilon s, clipped to [0, 1], with signs s drawn at
    random for each image: (0, 0) is the clean image, (1, 0) the adversarial one.

    Args:
        attacked: `AttackedImages`; the first 20 images are taken.

    Returns:
        Dict: `axis`, the values of a and b, in units of epsilon; `loss`, [a, b], the mean
        cross-entropy in nats; `images`, their number.
    """
    pixels = attacked.pixels[:SURFACE_IMAGES]
    attack = attacked.adversarial[:SURFACE_IMAGES] - pixels
    signs = np.random.default_rng(attacked.seed).choice((-1, 1), pixels.shape)
    random = np.float32(attacked.attack.epsilon) * signs.astype(np.float32)
    axis = np.linspace(-AXIS_REACH, AXIS_REACH, AXIS_POINTS, dtype=np.float32)
    labels = np.tile(attacked.examples.labels[:SURFACE_IMAGES], AXIS_POINTS)
    loss = []
    for a in axis:
        grid = np.concatenate([pixels + a * attack + b * random for b in axis])
        values = logits(attacked.slimmed, np.clip(grid, 0, 1))
        losses = cross_entropy(tf.constant(values, tf.float64), labels).numpy()
        loss.append(losses.reshape(AXIS_POINTS, -1).mean(-1))
    return {"axis": rounded(axis), "loss": rounded(loss), "images": len(pixels)}


def draw_loss_surface(networks, path):
    """Draws the surfaces from above, one a network, all with the same colours and contours.

    Args:
        networks: Dict from a label to what `loss_surface` returns.
        path: PNG or SVG file to write.
    """
    top = max(np.max(data["loss"]) for data in networks.values())
    norm = LogNorm(LOWEST_LOSS, max(top, 10 * LOWEST_LOSS))
    figure, axes = canvas.panels(len(networks), 1.9)
    for axis, (label, data) in zip(axes, networks.items(), strict=True):
        loss = np.maximum(np.array(data["loss"]).T, LOWEST_LOSS)  # rows are the vertical axis
        drawn = axis.pcolormesh(
            data["axis"], data["axis"], loss, norm=norm, cmap="viridis", rasterized=True
        )
        levels = [level for level in (0.01, 0.1, 1, 10) if loss.min() < level < loss.max()]
        if levels:
            lines = axis.contour(data["axis"], data["axis"], loss, levels, colors="white")
            lines.set_linewidth(0.8)
            axis.clabel(lines, fontsize=canvas.SMALL_TEXT, fmt="%g")
        axis.plot([0, 1], [0, 0], color="red", marker="o", markersize=3, linewidth=1)
        axis.set_title(canvas.wrapped(label, 26), fontsize=8)
        axis.set_aspect("equal")
        axis.tick_params(labelsize=canvas.SMALL_TEXT)
    figure.supxlabel("along the attack, ε", fontsize=9)
    figure.supylabel("in a random direction, ε", fontsize=9)
    bar = figure.colorbar(drawn, ax=axes, location="top", shrink=0.9, aspect=40)
    bar.ax.tick_params(labelsize=canvas.SMALL_TEXT)
    bar.set_label("cross-entropy, nats", fontsize=8)
    canvas.save(figure, path)
