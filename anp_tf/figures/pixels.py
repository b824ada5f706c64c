"""The vulnerability of latent features with respect to the pixels, as images."""

import numpy as np
import tensorflow as tf
from matplotlib.colors import PowerNorm

from anp_tf.figures import canvas
from anp_tf.figures.attacked_images import representatives, rounded
from anp_tf.losses import vulnerability
from anp_tf.models import with_latents


def pixel_vulnerability(attacked):
    """How each pixel acts on the vulnerability of the network (Madaan et al. 2020, figure 4).

    Args:
        attacked: `AttackedImages`.

    Returns:
        Dict of lists, an entry an image: `indices` in the test images; `clean` and `adversarial`,
        [height, width, channels] in [0, 1]; `gradient`, [height, width], the gradient of the
        image's own vulnerability in the adversarial pixels, absolute values summed over the
        channels.
    """
    indices = representatives(attacked.examples)
    clean, adversarial = attacked.pixels[indices], attacked.adversarial[indices]
    network = with_latents(attacked.network)
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
    columns, count = len(first["clean"]), 1 + 2 * len(networks)
    top = max(np.max(data["gradient"]) for data in networks.values()) or 1.0
    norm = PowerNorm(0.5, 0, top)
    figure, rows = canvas.rows_of_images(count, columns, 0.9, below=0.5)
    show_row(rows[0], first["clean"], "clean images")
    for index, (label, data) in enumerate(networks.items()):
        show_row(rows[1 + 2 * index], data["adversarial"], f"{label}: adversarial images")
        title = f"{label}: gradient, mean {np.mean(data['gradient']):.1e}"
        drawn = show_row(rows[2 + 2 * index], data["gradient"], title, cmap="magma", norm=norm)
    part, axes = rows[-1]
    bar = part.colorbar(drawn, ax=axes, location="bottom", shrink=0.9, aspect=40)
    ticks = [0, top / 4, top]
    labels = [f"{tick:.1e}" if tick else "0" for tick in ticks]
    bar.set_ticks(ticks, labels=labels, fontsize=canvas.SMALL_TEXT)
    bar.set_label("|gradient| of the vulnerability in a pixel", fontsize=8)
    canvas.save(figure, path)


def show_row(row, images, title, **kwargs):
    """Draws images [height, width] or [height, width, channels] in a row of `rows_of_images`.

    Of channels that are no colours, neither 3 nor 4, the mean is drawn.

    Returns:
        What Matplotlib drew last.
    """
    kwargs = kwargs or {"cmap": "gray", "vmin": 0, "vmax": 1}
    part, axes = row
    part.suptitle(canvas.plain(title), x=0.01, ha="left", fontsize=8)
    for axis, image in zip(axes, images, strict=True):
        image = np.array(image)
        if image.ndim == 3 and image.shape[-1] not in (3, 4):
            image = image.mean(-1)
        drawn = axis.imshow(image, **kwargs)
        axis.set_xticks([])
        axis.set_yticks([])
    return drawn
