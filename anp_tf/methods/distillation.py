"""Labels that another network gives, in place of the data set's or beside them."""

import dataclasses

import keras
import tensorflow as tf

from anp_tf.arguments import check_number
from anp_tf.models.classifier import check_classifier


@dataclasses.dataclass(frozen=True)
class Distillation:
    """How much the predictions of a robust network count as labels (RSLAD, Zi et al. 2021).

    Each cross-entropy of a method, be it of the clean or of the adversarial images, becomes
    (1 - weight) times itself, plus weight times KL(softmax of the teacher's logits on the clean
    image || softmax of the network's). With `adversarial_weight=5` and a weight of 1 these are the
    5/6 and 1/6 of RSLAD. Attacks in training are against the data set's labels.

    Attributes:
        teacher: Functional `keras.Model` from the same images to logits of the same classes, which
            is not trained.
        weight: Float in (0, 1].

    Raises:
        ValueError: if a value is out of its range, or the teacher is no such network.
    """

    teacher: keras.Model
    weight: float = 1.0

    def __post_init__(self):
        check_number("weight", self.weight, lambda v: 0 < v <= 1, "a number in (0, 1]")
        check_classifier(self.teacher)

    def check(self, network):
        """Checks that the teacher takes a network's images and has its classes.

        Raises:
            ValueError: if not.
        """
        for what, of_teacher, of_network in (
            ("inputs", self.teacher.input_shape, network.input_shape),
            ("logits", self.teacher.output_shape, network.output_shape),
        ):
            if of_teacher != of_network:
                raise ValueError(
                    f"teacher: expected a network with {what} of shape {of_network}, as the one "
                    f"that is trained has, received {of_teacher}"
                )

    def logits(self, x):
        """The teacher's logits of clean images, [batch, classes] in float32."""
        return tf.stop_gradient(tf.cast(self.teacher(x, training=False), tf.float32))
