"""PGD of other packages, called as their documentation says, on the same network and images.

Each function takes a network, PGD's numbers (`Budget`), images [batch, height, width, channels] and
labels [batch], NumPy arrays; it returns `Peer`. It raises ImportError where the package is missing.
Those that `agreement` calls, too, take a seed; None: none is set.
"""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from anp_tf.attacks import PGD


@dataclasses.dataclass(frozen=True)
class Budget:
    """PGD: radius, length of a step, number of steps, `"Linf"` or `"L2"`."""

    epsilon: float = 0.3
    step_size: float = 0.03
    steps: int = 20
    norm: str = "Linf"


@dataclasses.dataclass(frozen=True)
class Peer:
    """An attack that is ready to be timed.

    Attributes:
        attack: Function that returns the adversarial images, a NumPy array; of some packages it
            takes the numbers of the images to attack.
        logits: The network's logits of the clean images as the package computes them.
    """

    attack: Callable
    logits: np.ndarray


def ours(network, budget, x, y):
    pgd = PGD(epsilon=budget.epsilon, step_size=budget.step_size, steps=budget.steps)
    attack = tf.function(functools.partial(pgd, network))
    x, y = tf.constant(x), tf.constant(y)
    return Peer(lambda: attack(x, y).numpy(), network(x, training=False).numpy())


def plain(network, budget, x, y):
    """What the loop costs without any care: the steps written down in one `tf.function`."""
    clean, labels = tf.constant(x), tf.constant(y)

    @tf.function
    def attack():
        noise = tf.random.uniform(tf.shape(clean), -budget.epsilon, budget.epsilon)
        images = tf.clip_by_value(clean + noise, 0.0, 1.0)
        for _ in tf.range(budget.steps):
            with tf.GradientTape() as tape:
                tape.watch(images)
                loss = tf.nn.sparse_softmax_cross_entropy_with_logits(
                    labels, network(images, training=False)
                )
            moved = images + budget.step_size * tf.sign(tape.gradient(loss, images))
            moved = tf.clip_by_value(moved, clean - budget.epsilon, clean + budget.epsilon)
            images = tf.clip_by_value(moved, 0.0, 1.0)
        return images

    return Peer(lambda: attack().numpy(), network(clean, training=False).numpy())


def cleverhans(network, budget, x, y):
    from cleverhans.tf2.attacks import projected_gradient_descent

    attack = projected_gradient_descent.projected_gradient_descent
    options = {"eps": budget.epsilon, "eps_iter": budget.step_size, "nb_iter": budget.steps}
    options |= {"norm": np.inf, "clip_min": 0.0, "clip_max": 1.0, "rand_init": True}
    clean, labels = tf.constant(x), tf.constant(y)
    return Peer(lambda: attack(network, clean, y=labels, **options).numpy(), network(clean).numpy())


def art(network, budget, x, y, seed=None):
    from art.attacks.evasion import ProjectedGradientDescent
    from art.estimators.classification import TensorFlowV2Classifier

    classifier = TensorFlowV2Classifier(
        model=network,
        nb_classes=int(network(x[:1]).shape[-1]),
        input_shape=x.shape[1:],
        loss_object=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        clip_values=(0.0, 1.0),
    )
    attack = ProjectedGradientDescent(
        classifier,
        norm=2 if budget.norm == "L2" else np.inf,
        eps=budget.epsilon,
        eps_step=budget.step_size,
        max_iter=budget.steps,
        num_random_init=1,
        batch_size=len(x),
        verbose=False,
    )

    def call(which=slice(None)):
        if seed is not None:
            np.random.seed(seed)
        return attack.generate(x[which], y[which])

    return Peer(call, classifier.predict(x, batch_size=len(x)))


def foolbox(network, budget, x, y, seed=None):
    import eagerpy
    from foolbox import TensorFlowModel
    from foolbox.attacks import L2PGD, LinfPGD

    model = TensorFlowModel(network, bounds=(0.0, 1.0), device=tf.constant(0.0).device)
    attack_class = L2PGD if budget.norm == "L2" else LinfPGD
    attack = attack_class(abs_stepsize=budget.step_size, steps=budget.steps, random_start=True)

    def given(array, which):
        return eagerpy.astensor(tf.constant(array[which]))

    def call(which=slice(None)):
        if seed is not None:
            tf.random.set_seed(seed)
        labels = given(y.astype(np.int64), which)
        _, images, _ = attack(model, given(x, which), labels, epsilons=budget.epsilon)
        return images.numpy()

    return Peer(call, model(given(x, slice(None))).numpy())


def pytorch(network, budget, x, y):
    """The steps written down in PyTorch; images and weights are in its channels_last format."""
    import torch

    from anp_tf.benchmark.torch_graph import TorchGraph, as_torch, signature_of

    model = TorchGraph(signature_of(network))
    clean, labels = as_torch(x), torch.from_numpy(y)

    def call():
        noise = torch.empty_like(clean).uniform_(-budget.epsilon, budget.epsilon)
        images = (clean + noise).clamp(0, 1)
        for _ in range(budget.steps):
            images.requires_grad_()
            loss = torch.nn.functional.cross_entropy(model(images), labels, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, images)
            moved = images.detach() + budget.step_size * gradient.sign()
            moved = torch.minimum(
                torch.maximum(moved, clean - budget.epsilon), clean + budget.epsilon
            )
            images = moved.clamp(0, 1)
        return images.permute(0, 2, 3, 1).numpy()

    with torch.no_grad():
        return Peer(call, model(clean).numpy())


OURS = "anp_tf"
LOGITS_TOLERANCE = 1e-4  # of the largest logit
PEERS = {
    OURS: ours,
    "plain tf.function": plain,
    "cleverhans": cleverhans,
    "PyTorch": pytorch,
    "ART": art,
    "foolbox": foolbox,
}


def same_logits(logits, expected):
    """Whether another package computes a network's logits, arrays, up to rounding."""
    return np.allclose(logits, expected, atol=LOGITS_TOLERANCE * np.abs(expected).max())
