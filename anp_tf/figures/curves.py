"""Accuracy against the strength of the attack: its radius, its steps, its restarts."""

import numpy as np

from anp_tf.figures import canvas
from anp_tf.figures.attacked_images import logits, rounded
from anp_tf.losses import classified

RADIUS_FACTORS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)  # of the attack's epsilon
STEP_COUNTS = (1, 2, 5, 10, 20, 100)  # beside those of the attack
RANDOM_STARTS = 5


def epsilons(attack):
    """The radii of `accuracy_by_epsilon`, increasing, in pixel units."""
    return sorted({min(1.0, factor * attack.epsilon) for factor in RADIUS_FACTORS})


def step_counts(attack):
    """The numbers of steps of `accuracy_by_steps`, increasing."""
    return sorted({*STEP_COUNTS, attack.steps})


def accuracy_by_epsilon(attacked, progress=None):
    """Accuracy under the attack with several radii; the step grows with the radius.

    Args:
        attacked: `AttackedImages`.
        progress: Optional function, called with the number of attacked images so far.

    Returns:
        Dict of lists: `epsilon` in pixel units, from 0, and `accuracy` in percent.
    """
    radii = epsilons(attacked.attack)
    changes = [{"scale": radius / attacked.attack.epsilon} for radius in radii]
    clean = 100 * np.mean(_correct(attacked, attacked.pixels))
    accuracies = [clean, *_accuracies(attacked, changes, progress)]
    return {"epsilon": rounded([0.0, *radii]), "accuracy": rounded(accuracies)}


def accuracy_by_steps(attacked, progress=None):
    """Accuracy under the attack with several numbers of steps of the same size.

    Args:
        attacked, progress: As in `accuracy_by_epsilon`.

    Returns:
        Dict of lists: `steps`, and `accuracy` in percent.
    """
    counts = step_counts(attacked.attack)
    changes = [{"steps": steps} for steps in counts]
    return {"steps": counts, "accuracy": rounded(_accuracies(attacked, changes, progress))}


def accuracy_by_restarts(attacked, progress=None):
    """Share of the images that none of several runs of the attack fools.

    The runs differ in their random start. An image that is misclassified after one run is left out
    of the next.

    Args:
        attacked, progress: As in `accuracy_by_epsilon`.

    Returns:
        Dict of lists: `restarts`, from 1, and `accuracy` in percent.
    """
    robust = _correct(attacked, attacked.adversarial)  # the first run
    accuracies = [100 * np.mean(robust)]
    for restart in range(1, RANDOM_STARTS):
        left = np.flatnonzero(robust)
        if len(left):
            images = attacked.again(left, seed=attacked.seed + restart)
            robust[left] = _correct(attacked, images, left)
        accuracies.append(100 * np.mean(robust))
        if progress:
            progress(restart * len(robust))
    return {"restarts": list(range(1, RANDOM_STARTS + 1)), "accuracy": rounded(accuracies)}


def draw_accuracy_by_epsilon(networks, path):
    """Draws a line a network, from what `accuracy_by_epsilon` returned of each, to `path`."""
    _draw(networks, path, "epsilon", "radius ε of the attack, in pixel units")


def draw_accuracy_by_steps(networks, path):
    """Draws a line a network, from what `accuracy_by_steps` returned of each, to `path`."""
    _draw(networks, path, "steps", "steps of the attack", log=True)


def draw_accuracy_by_restarts(networks, path):
    """Draws a line a network, from what `accuracy_by_restarts` returned of each, to `path`."""
    _draw(networks, path, "restarts", "runs of the attack from random starts")


def _draw(networks, path, key, label, log=False):
    figure = canvas.new_figure(3.2)
    axes = canvas.plot(figure, label, "accuracy under attack, %")
    for index, (name, data) in enumerate(networks.items()):
        axes.plot(data[key], data["accuracy"], label=canvas.plain(name), **canvas.style(index))
    if key != "epsilon":
        ticks = sorted({value for data in networks.values() for value in data[key]})
        if log:
            axes.set_xscale("log")
            axes.minorticks_off()
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.set_ylim(-3, 103)
    canvas.legend(figure, axes)
    canvas.save(figure, path)


def _accuracies(attacked, changes, progress):
    """The accuracy in percent under the attack with each of the changes."""
    accuracies = []
    for change in changes:
        images = attacked.again(**change)
        accuracies.append(100 * np.mean(_correct(attacked, images)))
        if progress:
            progress(len(accuracies) * len(images))
    return accuracies


def _correct(attacked, pixels, which=slice(None)):
    """Which of the images are classified correctly, boolean [n]."""
    return classified(logits(attacked.network, pixels), attacked.examples.labels[which]).numpy()
