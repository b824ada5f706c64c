"""The figures of a report: how each is computed, drawn and explained."""

import dataclasses
import typing

from anp_tf.figures import curves, examples, features, pixels, surface
from anp_tf.options import length_text


@dataclasses.dataclass(frozen=True)
class FigureKind:
    """A figure of a report.

    Attributes:
        name: String, of its files.
        title: String.
        compute: Function of `AttackedImages`, and of a progress function if `passes` is given;
            returns what the figure shows of a network.
        draw: Function of a dict from label to what `compute` returns, and of a path.
        caption: Text that says what to see.
        facts: Function of what `compute` returns: the figure in a few words, for the caption and
            the alternative text.
        passes: Function of an attack: how often `compute` attacks all images, or None.
        of_images: Boolean, whether it shows images, so that there is none of rows of numbers.
        of_latents: Boolean, whether it shows latent features, so that there is none of a network
            without activations.
    """

    name: str
    title: str
    compute: typing.Callable
    draw: typing.Callable
    caption: str
    facts: typing.Callable
    passes: typing.Callable | None = None
    of_images: bool = False
    of_latents: bool = False


def _mean(values):
    return sum(values) / len(values)


def _ends(key, unit, text="{:g}".format):
    """Facts of a curve: its accuracy at the first and at the last point."""

    def facts(data):
        (x0, x1), (y0, y1) = ((data[name][0], data[name][-1]) for name in (key, "accuracy"))
        return f"{y0:.1f} % at {unit} {text(x0)}, {y1:.1f} % at {text(x1)}"

    return facts


def _fooled(data):
    pairs = zip(data["labels"], data["adversarial_prediction"], strict=True)
    return f"fooled on {sum(a != b for a, b in pairs)} of {len(data['labels'])}"


def _surface(data):
    middle = len(data["axis"]) // 2
    worst = max(map(max, data["loss"]))
    return f"cross-entropy {data['loss'][middle][middle]:.3g} at the images, {worst:.3g} at most"


FIGURES = (  # two side by side where there is room
    FigureKind(
        "feature_vulnerability",
        "Vulnerability of the features of the first layer",
        features.feature_vulnerability,
        features.draw_feature_vulnerability,
        "How far the attack moves each feature of the first ReLU layer, mean over the images. "
        "The further left the features, the less the attack has to work with; features that are "
        "exactly 0, above all those of pruned channels, are not in the bars. The dashed line is "
        "the mean of all features. The vertical axis is logarithmic above 0.1 %.",
        lambda data: f"{100 * features.zero_share(data):.1f} % exactly 0",
        of_latents=True,
    ),
    FigureKind(
        "loss_surface",
        "Loss around the images",
        surface.loss_surface,
        surface.draw_loss_surface,
        "Mean cross-entropy of the first test images, moved along the attack (horizontal; the red "
        "line goes from the clean to the adversarial image) and in a random direction "
        "(vertical), in units of ε and clipped to valid pixels. A flat, dark surface is a robust "
        "one; colours below 0.001 are cut off.",
        _surface,
    ),
    FigureKind(
        "layer_vulnerability",
        "Vulnerability of each hidden layer",
        features.layer_vulnerability,
        features.draw_layer_vulnerability,
        "Mean |z(x) - z(x')| over the images and the features of each ReLU layer, pruned ones "
        "included. A line that stays low is a network that the attack does not get into; one that "
        "rises amplifies the distortion from layer to layer.",
        lambda data: f"mean of the layers {_mean(data['vulnerability']):.4f}",
        of_latents=True,
    ),
    FigureKind(
        "accuracy_by_epsilon",
        "Accuracy against ε",
        curves.accuracy_by_epsilon,
        curves.draw_accuracy_by_epsilon,
        "Accuracy under the attack of the evaluation with other radii, its step in proportion. A "
        "sound measurement falls steadily and goes to 0 where ε is large.",
        _ends("epsilon", "ε =", length_text),
        lambda attack: len(curves.epsilons(attack)),
    ),
    FigureKind(
        "accuracy_by_steps",
        "Accuracy against the steps of the attack",
        curves.accuracy_by_steps,
        curves.draw_accuracy_by_steps,
        "Accuracy under PGD with other numbers of steps of the same size. A line that is flat on "
        "the right says that more steps of this attack would not find more.",
        _ends("steps", "steps"),
        lambda attack: len(curves.step_counts(attack)),
    ),
    FigureKind(
        "accuracy_by_restarts",
        "Accuracy against restarts of the attack",
        curves.accuracy_by_restarts,
        curves.draw_accuracy_by_restarts,
        "Share of the images that none of several runs of the attack from different random starts "
        "fools. The first point is the attack of the evaluation.",
        _ends("restarts", "runs"),
        lambda attack: curves.RANDOM_STARTS - 1,
    ),
    FigureKind(
        "pixel_vulnerability",
        "Vulnerability with respect to the pixels",
        pixels.pixel_vulnerability,
        pixels.draw_pixel_vulnerability,
        "For each network its adversarial images and, below them, how strongly each pixel acts on "
        "the vulnerability of the latent features (absolute gradient; one scale for all). Darker "
        "is better: fewer pixels through which features can be distorted.",
        lambda data: f"mean gradient {_mean_of(data['gradient']):.2e}",
        of_images=True,
        of_latents=True,
    ),
    FigureKind(
        "adversarial_examples",
        "Adversarial examples",
        examples.adversarial_examples,
        examples.draw_adversarial_examples,
        "The first test image of some classes, and for each network the adversarial image that "
        "was made on it. Below: its prediction and probability on the clean image, and → on the "
        "adversarial one; ✗ and a red frame mark images that are then misclassified.",
        _fooled,
        of_images=True,
    ),
)

SPARSITY_TITLE = "Accuracy under attack against sparsity"
SPARSITY_CAPTION = (
    "Each point is a network that was trained with another strength of pruning. The further up and "
    "to the right, the better: small, and still robust."
)


def _mean_of(images):
    return _mean([_mean([_mean(row) for row in image]) for image in images])
