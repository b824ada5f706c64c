"""The practical black-box attack: train a substitute on the target's labels, and attack that."""

import keras
import numpy as np
import tensorflow as tf

from anp_tf.arguments import check_count, check_number
from anp_tf.attacks.gradients import input_gradient
from anp_tf.losses import cross_entropy


def train_substitute(
    target,
    pixels,
    substitute,
    *,
    rounds=6,
    epochs=10,
    step=0.1,
    batch_size=128,
    learning_rate=1e-3,
    max_queries=6400,
    seed=0,
):
    """Trains a network, in place, to give the labels that `target` gives (Papernot et al. 2017).

    Each round but the first adds a point x + step * sign(dF_l(x)/dx), clipped to [0, 1], for every
    point x so far; F_l is the substitute's logit of x's label l. The target labels the new points,
    and the substitute is trained on all of them, from the weights it has. Where doubling would
    exceed `max_queries`, as many parents as still fit are drawn at random without replacement; from
    then on the points stay the same.

    Nothing of the target is used but its label, the class of the highest logit, and each point is
    asked for once. Attacks made on the substitute are then transferred. The first queries are the
    attacker's own images, 150 in the paper, and are left out of the evaluation:

        substitute = substitute_network()
        train_substitute(network, pixels[:150], substitute)
        held_out = tf.data.Dataset.from_tensor_slices((pixels[150:], labels[150:])).batch(256)
        evaluate_robustness(network, held_out, FGSM(epsilon=0.3), source=substitute)

    Args:
        target: Keras model, or any function `(pixels, training) -> logits`; it is called eagerly,
            with at most `batch_size` images and `training=False`.
        pixels: Array [n, ...] in [0, 1], the first queries.
        substitute: Functional `keras.Model` from pixels to logits; its initial weights are the
            caller's choice.
        rounds: Integer, at least 1: how often the substitute is trained.
        epochs: Integer, at least 1: passes over the points in a round.
        step: Float, positive; in pixel units.
        batch_size: Integer, at least 1.
        learning_rate: Float, positive; Adam's.
        max_queries: Integer, at least n: the most images the target may be asked for.
        seed: Integer, at least 0; of the order of the batches and of the drawn parents.

    Returns:
        Number of queries, that is of points the substitute was last trained on: the smaller of
        n * 2^(rounds - 1) and `max_queries`.

    Raises:
        ValueError: if an argument is out of range, the pixels do not fit the substitute or are not
            in [0, 1], or the target's logits are of other classes than the substitute's or NaN.
        tf.errors.InvalidArgumentError: if the substitute's gradient is not finite.

    Reference:
        - Papernot et al. 2017, "Practical Black-Box Attacks against Machine Learning",
          https://arxiv.org/abs/1602.02697
        - Papernot et al. 2016, "Transferability in Machine Learning: from Phenomena to Black-Box
          Attacks using Adversarial Samples", https://arxiv.org/abs/1605.07277 (which bounds the
          queries by reservoir sampling)
    """
    points = np.asarray(pixels, np.float32)
    rounds = check_count("rounds", rounds)
    epochs = check_count("epochs", epochs)
    batch_size = check_count("batch_size", batch_size)
    max_queries = check_count("max_queries", max_queries, len(points))
    for name, value in (("step", step), ("learning_rate", learning_rate)):
        check_number(name, value, lambda v: v > 0, "a number above 0")
    shape = substitute.input_shape
    if not (len(points) and tf.TensorShape(shape).is_compatible_with(points.shape)):
        raise ValueError(
            f"Argument `pixels` must hold at least one image and fit the substitute's inputs, "
            f"{shape}. Received: an array of shape {points.shape}"
        )
    if not np.all((points >= 0) & (points <= 1)):
        raise ValueError("Argument `pixels` must be in [0, 1]. Received: NaN or other values")

    def ask(x):
        return _labels(target(x, training=False), substitute.output_shape[-1])

    def move(x, y):
        gradient = input_gradient(substitute, x, y, _logit_of_label)
        return tf.clip_by_value(x + step * tf.sign(gradient), 0, 1)

    rng = np.random.default_rng(seed)
    train = _training_step(substitute, learning_rate)
    labels = _in_batches(ask, batch_size, points)
    for index in range(rounds):
        count = min(len(points), max_queries - len(points))
        if index and count:
            parents = np.sort(rng.choice(len(points), count, replace=False))
            new = _in_batches(move, batch_size, points[parents], labels[parents])
            points = np.concatenate([points, new])
            labels = np.concatenate([labels, _in_batches(ask, batch_size, new)])
        for _ in range(epochs):
            order = rng.permutation(len(points))
            for start in range(0, len(points), batch_size):
                batch = order[start : start + batch_size]
                train(tf.constant(points[batch]), tf.constant(labels[batch]))
    return len(points)


def _labels(logits, num_classes):
    """The highest logit of each row, int64 [batch]."""
    logits = tf.convert_to_tensor(logits)
    if logits.shape[1:] != [num_classes]:
        raise ValueError(
            f"The target must give logits of the substitute's {num_classes} classes. "
            f"Received: logits of shape {tuple(logits.shape)}"
        )
    if tf.reduce_any(tf.math.is_nan(logits)):
        raise ValueError("The target's logits are NaN, so they give no label.")
    return tf.argmax(logits, -1)


def _logit_of_label(logits, labels):
    return tf.gather(logits, labels, batch_dims=1)


def _in_batches(function, batch_size, *arrays):
    """The function's results for rows of the arrays, joined to one array."""
    starts = range(0, len(arrays[0]), batch_size)
    batches = ([tf.constant(array[i : i + batch_size]) for array in arrays] for i in starts)
    return np.concatenate([function(*batch).numpy() for batch in batches])


def _training_step(network, learning_rate):
    """A function of pixels and labels that takes one step of Adam on the cross-entropy."""
    optimizer = keras.optimizers.Adam(learning_rate)
    optimizer.build(network.trainable_variables)

    @tf.function(reduce_retracing=True)
    def train(x, y):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(cross_entropy(network(x, training=True), y))
            loss += sum(network.losses)
        gradients = tape.gradient(loss, network.trainable_variables)
        optimizer.apply(gradients, network.trainable_variables)

    return train
