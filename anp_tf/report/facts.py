"""What the runs of a report were: the facts at its head."""

import datetime

from anp_tf.intervals import with_interval
from anp_tf.options import length_text
from anp_tf.reproduce.paper import PAPER_EPOCHS, TRAINING_IMAGES

SMALL_SHARE = 0.1  # of the paper's budget


def facts(runs):
    """Pairs of a name and a text, each fact once, with the runs' labels where they differ.

    Args:
        runs: List of `ReportedRun`.
    """
    found = {
        "Trained on": [_images(run) for run in runs],
        "Epochs": [str(run.settings.epochs) for run in runs],
        "Training time": [_duration(run) for run in runs],
        "Begun": [_date(run) for run in runs],
        "Tested on": [f"{run.results['test_examples']:,} images" for run in runs],
        "Attack": [_attack(run.results) for run in runs],
        "Black-box images of": [run.results.get("black_box_source") or "" for run in runs],
    }
    labels = [run.label for run in runs]
    return [(name, once(labels, texts)) for name, texts in found.items() if any(texts)]


def once(labels, texts):
    """The text if all are the same; else each with the labels of what it is of."""
    groups = {}
    for label, text in zip(labels, texts, strict=True):
        groups.setdefault(text, []).append(label)
    if len(groups) == 1:
        return texts[0]
    return "; ".join(f"{text or 'not known'} ({', '.join(of)})" for text, of in groups.items())


def summary(run):
    """A sentence on how well a run's network does, and how small it is."""
    row = run.results
    total = row["test_examples"]
    parts = [
        f"{with_interval(row['clean_accuracy'], total)} % of the test images are classified "
        f"correctly, {with_interval(row['white_box_accuracy'], total)} % under {row['attack']}"
    ]
    if row["sparsity_percent"]:
        parts.append(
            f"{row['sparsity_percent']:.1f} % of the units are pruned: "
            f"{row['flops_reduction']:.1f} times fewer FLOPs, "
            f"{row['slim_parameter_bytes']:,} bytes of parameters in place of "
            f"{row['dense_parameter_bytes']:,}"
        )
    return "; ".join(parts) + "."


def small_run(runs):
    """A sentence, where the largest budget of training is below a tenth of the paper's; or None.

    The budget of a run is the images that it saw, and that of the paper 200 times its data set.
    """
    largest = max(runs, key=_seen)
    share = _seen(largest) / (
        PAPER_EPOCHS * TRAINING_IMAGES.get(largest.settings.dataset, _size(largest))
    )
    if share >= SMALL_SHARE:
        return None
    return (
        f"A small run: {100 * share:.2g} % of the training of Madaan et al. (2020), which is "
        f"{PAPER_EPOCHS} epochs of the whole data set. The figures are of this run, not of what "
        "the methods can do."
    )


def _seen(run):
    return run.settings.epochs * _size(run)


def _size(run):
    """The images of an epoch; where it was not written down, all those of the data set."""
    whole = TRAINING_IMAGES.get(run.settings.dataset, 1)
    return run.results.get("training_examples") or run.settings.limit_train_examples or whole


def _images(run):
    number = run.results.get("training_examples")
    images = f"{number:,} images of " if number else ""
    return f"{images}{run.settings.dataset}, {architecture(run)}"


def architecture(run):
    """The name of a run's network, also of one that was chosen for the data."""
    return str(run.results.get("architecture", run.settings.network))


def _duration(run):
    """How long the epochs of a run took, as text."""
    seconds = sum(record.get("seconds", 0) for record in run.workdir.epochs())
    return str(datetime.timedelta(seconds=round(seconds))) if seconds else ""


def _date(run):
    text = run.results.get("date")
    return f"{datetime.datetime.fromisoformat(text):%-d %B %Y}" if text else ""


def _attack(results):
    return (
        f"{results['attack']} within the L-infinity ball: each pixel, in [0, 1], moves by at most "
        f"ε = {length_text(results['epsilon'])}, in steps of {length_text(results['step_size'])}"
    )
