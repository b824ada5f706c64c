"""The vulnerability of latent features with respect to the pixels, as images."""

import numpy as np
import tensorflow as tf
from matplotlib.colors import PowerNorm

from anp_tf.figures import canvas
from anp_tf.figures.subject import representatives, rounded
from anp_tf.losses import vulnerability
from anp_tf.models import with_latents


def pixel_vulnerability(subject):
    """How each pixel acts on the vulnerability of the network (Madaan et al. 2020, figure 4).

    Args:
        subject: `Subject`.

    Returns:
        Dict of lists, an entry an image: `indices` in the test images; `clean` and `adversarial`,
        [height, width, channels] in [0, 1]; `gradient`, [height, width], the gradient of the
        image's own vulnerability in the adversarial pixels, absolute values summed over the
        channels.
    """
    indices = representatives(subject.examples)
    clean, adversarial = subject.pixels[indices], subject.adversarial[indices]
    network = with_latents(subject.network)
    latents, _ = network(clean, training=False)
    moved = tf.constant(adversarial)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(moved)
        moved_latents, _ = network(moved, training=False)
        total = len(indices) * vulnerability(latents, moved_latents)  # the sum over the images
    gradient = np.abs(tape.gradient(total, moved).numpy()).sum(-1)
    return {
        "indices": indices.tolist(),
        "clean": rounded(clean),
        "adversarial": rounded(adversarial),
        "gradient": rounded(gradient),
    }


def draw_pixel_vulnerability(networks, path):
    """Draws the clean images, then for each network its adversarial images and the gradients.

    All gradients share one scale of brightness.

    Args:
        networks: Dict from a label to what `pixel_vulnerability` returns, of the same images.
        path: PNG or SVG file to write.
    """
    first = next(iter(networks.values()))
    columns, rows = len(first["clean"]), 1 + 2 * len(networks)
    top = max(np.max(data["gradient"]) for data in networks.values()) or 1.0
    norm = PowerNorm(0.5, 0, top)
    figure = canvas.new_figure(0.3 + rows * 0.72)
    axes = figure.subplots(rows, columns, squeeze=False)
    show_row(axes[0], first["clean"], "clean")
    for index, (label, data) in enumerate(networks.items()):
        show_row(axes[1 + 2 * index], data["adversarial"], f"{canvas.wrapped(label)}\nadversarial")
        title = f"{canvas.wrapped(label)}\ngradient\nmean {np.mean(data['gradient']):.1e}"
        drawn = show_row(axes[2 + 2 * index], data["gradient"], title, cmap="magma", norm=norm)
    bar = figure.colorbar(drawn, ax=axes, location="bottom", shrink=0.8, aspect=40, pad=0.01)
    ticks = [0, top / 4, top]
    bar.set_ticks(ticks, labels=[f"{tick:.1e}" if tick else "0" for tick in ticks], fontsize=7)
    bar.set_label("|gradient| of the vulnerability in a pixel", fontsize=8)
    canvas.save(figure, path)


def show_row(axes, images, title, **kwargs):
    """Draws images [height, width] or [height, width, channels] in a row of axes.

    Returns:
        What Matplotlib drew last.
    """
    kwargs = kwargs or {"cmap": "gray", "vmin": 0, "vmax": 1}
    for axis, image in zip(axes, images, strict=True):
        image = np.array(image)
        if image.ndim == 3 and image.shape[-1] == 1:
            image = image[..., 0]
        drawn = axis.imshow(image, **kwargs)
        axis.set_xticks([])
        axis.set_yticks([])
    axes[0].set_ylabel(title, rotation=0, ha="right", va="center", fontsize=7, labelpad=4)
    return drawn
