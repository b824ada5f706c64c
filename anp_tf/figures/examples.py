"""Adversarial images beside the clean ones, with what the network makes of them."""

import numpy as np
import scipy.special

from anp_tf.figures import canvas
from anp_tf.figures.attacked_images import logits, representatives, rounded
from anp_tf.figures.pixels import show_row

NAME_LENGTH = 10  # of a class, in characters
BELOW_AN_IMAGE = (
    "labels",
    "clean_prediction",
    "clean_probability",
    "adversarial_prediction",
    "adversarial_probability",
)


def adversarial_examples(attacked):
    """A few test images before and after the attack, and the predictions.

    Args:
        attacked: `AttackedImages`.

    Returns:
        Dict of lists, an entry an image: `indices` in the test images; `labels`, names of the true
        classes; `clean` and `adversarial`, [height, width, channels] in [0, 1];
        `clean_prediction` and `adversarial_prediction`, names of classes; `clean_probability` and
        `adversarial_probability`, their probabilities in [0, 1].
    """
    examples = attacked.examples
    names = examples.class_names or [str(label) for label in range(examples.num_classes)]
    indices = representatives(examples)
    result = {
        "indices": indices.tolist(),
        "labels": [names[label] for label in examples.labels[indices]],
    }
    for kind, pixels in (("clean", attacked.pixels), ("adversarial", attacked.adversarial)):
        probabilities = scipy.special.softmax(
            logits(attacked.network, pixels[indices]).astype(np.float64), -1
        )
        predictions = probabilities.argmax(-1)
        result[kind] = rounded(pixels[indices])
        result[f"{kind}_prediction"] = [names[label] for label in predictions]
        result[f"{kind}_probability"] = rounded(probabilities.max(-1))
    return result


def draw_adversarial_examples(networks, path):
    """Draws the clean images, then for each network a row of its adversarial images.

    Below an image are the network's predictions, `clean → adversarial`, with the probability of the
    latter; it is framed and marked by a cross where the adversarial image is misclassified.

    Args:
        networks: Dict from a label to what `adversarial_examples` returns, of the same images.
        path: PNG or SVG file to write.
    """
    first = next(iter(networks.values()))
    figure, rows = canvas.rows_of_images(1 + len(networks), len(first["clean"]), 1.2)
    show_row(rows[0], first["clean"], "clean images")
    for axis, label in zip(rows[0][1], first["labels"], strict=True):
        axis.set_xlabel(canvas.plain(_short(label)), fontsize=canvas.SMALL_TEXT)
    for row, (label, data) in zip(rows[1:], networks.items(), strict=True):
        show_row(row, data["adversarial"], f"{label}: adversarial images")
        for index, axis in enumerate(row[1]):
            _annotate(axis, *(data[name][index] for name in BELOW_AN_IMAGE))
    canvas.save(figure, path)


def _annotate(axis, label, clean, clean_probability, adversarial, probability):
    fooled = adversarial != label
    colour = canvas.BAD_COLOUR if fooled else canvas.GOOD_COLOUR
    text = (
        f"{_short(clean)}: {100 * clean_probability:.0f} %\n"
        f"→ {_short(adversarial)}: {100 * probability:.0f} %{' ✗' if fooled else ''}"
    )
    axis.set_xlabel(canvas.plain(text), fontsize=7, color=colour, labelpad=2)
    for spine in axis.spines.values():
        spine.set(color=colour, linewidth=2 if fooled else 0.8)


def _short(name):
    return name if len(name) <= NAME_LENGTH else f"{name[: NAME_LENGTH - 1]}…"
