"""How far an attack distorts latent features: of the first layer, and of each layer."""

import numpy as np
from matplotlib import rcParams

from anp_tf.figures import canvas
from anp_tf.figures.attacked_images import BATCH_SIZE, rounded
from anp_tf.models import with_latents

HISTOGRAM_BINS = 40


def feature_vulnerability(attacked):
    """The vulnerability of each feature of the first ReLU layer (Madaan et al. 2020, figure 3).

    Args:
        attacked: `AttackedImages`.

    Returns:
        Dict: `layer`, its name; `vulnerability`, a list with the mean over the images of
        |z(x) - z(x')| of each feature, at least 0, in the order of the flattened layer.
    """
    name, distortion = _mean_distortions(attacked)[0]
    return {"layer": name, "vulnerability": rounded(distortion)}


def layer_vulnerability(attacked):
    """The vulnerability of each hidden layer (Madaan et al. 2020, section 3).

    Args:
        attacked: `AttackedImages`.

    Returns:
        Dict: `layers`, the names of the ReLU layers in their order; `vulnerability`, a list with
        the mean over images and features of |z(x) - z(x')| of each.
    """
    names, distortions = zip(*_mean_distortions(attacked), strict=True)
    return {
        "layers": list(names),
        "vulnerability": rounded([distortion.mean() for distortion in distortions]),
    }


def draw_feature_vulnerability(networks, path):
    """Draws histograms, one a network, with the share of the features that do not move at all.

    Args:
        networks: Dict from a label to what `feature_vulnerability` returns.
        path: PNG or SVG file to write.
    """
    values = {label: np.array(data["vulnerability"]) for label, data in networks.items()}
    top = max(value.max() for value in values.values()) or 1.0
    edges = np.linspace(0, top, HISTOGRAM_BINS + 1)
    figure, axes = canvas.panels(len(values), 1.8)
    for index, (axis, (label, value)) in enumerate(zip(axes, values.items(), strict=True)):
        moved = value[value > 0]
        axis.hist(
            moved,
            edges,
            weights=np.full(len(moved), 100 / len(value)),
            color=canvas.style(index)["color"],
        )
        axis.axvline(value.mean(), color=rcParams["text.color"], linewidth=1, linestyle="--")
        zeros = 100 * zero_share(networks[label])
        title = f"{canvas.wrapped(label, 26)}\nmean {value.mean():.4f}\nexactly 0: {zeros:.1f} %"
        axis.set_title(title, fontsize=8)
        axis.set_yscale("symlog", linthresh=0.1)
        axis.tick_params(labelsize=canvas.SMALL_TEXT)
    figure.supxlabel("vulnerability of a feature", fontsize=9)
    figure.supylabel("share of the features, %", fontsize=9)
    canvas.save(figure, path)


def zero_share(data):
    """The share of the features of `feature_vulnerability` that are exactly 0, in [0, 1]."""
    return float(np.mean(np.array(data["vulnerability"]) == 0))


def draw_layer_vulnerability(networks, path):
    """Draws a line a network: the vulnerability against the layer.

    Args:
        networks: Dict from a label to what `layer_vulnerability` returns.
        path: PNG or SVG file to write.
    """
    figure = canvas.new_figure(3.2)
    axes = canvas.plot(figure, "hidden layer", "vulnerability of its features")
    for index, (label, data) in enumerate(networks.items()):
        values = data["vulnerability"]
        numbers = range(1, len(values) + 1)
        axes.plot(numbers, values, label=canvas.plain(label), **canvas.style(index))
    if any(value > 0 for data in networks.values() for value in data["vulnerability"]):
        axes.set_yscale("log")
    longest = max((data["layers"] for data in networks.values()), key=len)
    alike = all(data["layers"] == longest for data in networks.values())
    names = longest if alike and len(longest) <= 6 else range(1, len(longest) + 1)
    axes.set_xticks(range(1, len(longest) + 1), [canvas.plain(name) for name in names])
    canvas.legend(figure, axes)
    canvas.save(figure, path)


def _mean_distortions(attacked):
    """For each hidden layer its name and the mean |z(x) - z(x')| of its features, float64."""
    network = with_latents(attacked.network)
    names = [latent._keras_history.operation.name for latent in network.outputs[:-1]]
    pixels = attacked.pixels
    totals = [0.0] * len(names)
    for start in range(0, len(pixels), BATCH_SIZE):
        rows = slice(start, start + BATCH_SIZE)
        clean, _ = network(pixels[rows], training=False)
        moved, _ = network(attacked.adversarial[rows], training=False)
        for index, (a, b) in enumerate(zip(clean, moved, strict=True)):
            distance = np.abs(np.asarray(a) - np.asarray(b))
            totals[index] += distance.sum(0, dtype=np.float64).ravel()
    return [(name, total / len(pixels)) for name, total in zip(names, totals, strict=True)]
