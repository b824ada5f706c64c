"""The paper's figures: a function that computes each one's data, and one that draws it.

What a figure shows of a network is a dict of numbers, strings and lists, which can be saved as
JSON. A figure of several networks is drawn from a dict of these, in the order in which they are
shown, and needs no network.
"""

from anp_tf.figures.curves import (
    RESTARTS,
    accuracy_by_epsilon,
    accuracy_by_restarts,
    accuracy_by_steps,
    draw_accuracy_by_epsilon,
    draw_accuracy_by_restarts,
    draw_accuracy_by_steps,
    epsilons,
    step_counts,
)
from anp_tf.figures.examples import adversarial_examples, draw_adversarial_examples
from anp_tf.figures.features import (
    draw_feature_vulnerability,
    draw_layer_vulnerability,
    feature_vulnerability,
    layer_vulnerability,
)
from anp_tf.figures.pixels import draw_pixel_vulnerability, pixel_vulnerability
from anp_tf.figures.subject import Subject, attacked_subject
from anp_tf.figures.surface import draw_loss_surface, loss_surface

__all__ = [
    "RESTARTS",
    "Subject",
    "accuracy_by_epsilon",
    "accuracy_by_restarts",
    "accuracy_by_steps",
    "adversarial_examples",
    "attacked_subject",
    "draw_accuracy_by_epsilon",
    "draw_accuracy_by_restarts",
    "draw_accuracy_by_steps",
    "draw_adversarial_examples",
    "draw_feature_vulnerability",
    "draw_layer_vulnerability",
    "draw_loss_surface",
    "draw_pixel_vulnerability",
    "epsilons",
    "feature_vulnerability",
    "layer_vulnerability",
    "loss_surface",
    "pixel_vulnerability",
    "step_counts",
]
