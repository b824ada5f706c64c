"""What a run is made of: its examples, its batches, and what is written down of it."""

import dataclasses
import datetime
import os
import platform
import shlex
import sys

import tensorflow as tf

from anp_tf import __version__, data
from anp_tf.data.batches import check_augmentation
from anp_tf.files import write_json
from anp_tf.interruption import passing
from anp_tf.methods import METHODS
from anp_tf.options import length_text
from anp_tf.processor import emulates_bfloat16
from anp_tf.robustness import digest
from anp_tf.train.networks import AUTO, default_network
from anp_tf.workdir import network_path

STATISTICS_BATCHES = 20


def used_settings(settings, training, validation, batch_size):
    """The settings with what is used in place of what they say.

    Raises:
        ValueError: if there is no default network, or if the augmentation is not for the examples.
    """
    name, augmentation = settings.network, settings.augmentation
    if augmentation == AUTO and len(training.image_shape) != 3:
        augmentation = "none"
    used = dataclasses.replace(
        settings,
        batch_size=batch_size,
        validation_examples=len(validation) if validation else 0,
        network=default_network(training.image_shape) if name == AUTO else name,
        augmentation=augmentation,
    )
    check_augmentation(used.augmentation_options["augmentation"], training.image_shape)
    return used


def write_down(workdir, asked, used, training, devices):
    """Writes down what a run was asked for and what it uses, both `Settings`, and its data."""
    workdir.describe(training)
    origin = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "version": __version__,
        "command": _command(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {devices}",
        "training_examples": len(training),
        "data": training.identity,
        "validation_examples": used.validation_examples,
        "batch_size": used.batch_size,
        **digests_of_others(used),
    }
    write_json(workdir.origin, origin)
    workdir.use(asked, used)


def digests_of_others(settings):
    """Dict of the SHA-256 of the networks that a run starts from and that teach it, if there."""
    given = {f"{name}_sha256": getattr(settings, name) for name in ("init_from", "teacher")}
    paths = {name: network_path(path) for name, path in given.items() if path}
    return {name: digest(path) for name, path in paths.items() if path.exists()}


def _command():
    """The command line of this process, as it can be typed."""
    module = getattr(sys.modules["__main__"], "__spec__", None)
    start = ["-m", module.name.removesuffix(".__main__")] if module else [sys.argv[0]]
    return shlex.join(["python", *start, *sys.argv[1:]])


def examples_of(settings):
    """The training and the validation examples; None for the latter where none are set aside."""
    passing("examples")

    def load(part):
        return data.load(settings.dataset, part, settings.data_dir, **settings.data_options)

    examples = load("train")
    if settings.limit_train_examples:
        examples = examples.take(settings.limit_train_examples)
    if settings.validation_examples and (apart := load("validation")) is not None:
        return examples, apart.take(settings.validation_examples)
    held_out = min(settings.validation_examples, len(examples) // 5)
    return (
        data.split_validation(examples, held_out, settings.seed) if held_out else (examples, None)
    )


def checked_batch_size(settings, examples, devices):
    """The batch size, an equal part of it for each replica."""
    if settings.batch_size % devices.replicas:
        raise ValueError(
            f"batch_size: expected a multiple of {devices.replicas}, one part for each replica of "
            f"--distribution={settings.distribution}, received {settings.batch_size}"
        )
    size = min(settings.batch_size, examples) // devices.replicas * devices.replicas
    if not size:
        raise data.DataError(f"{examples} training examples for {devices.replicas} replicas")
    return size


def check_execution(settings, steps_per_epoch):
    """Checks that the steps of a call fit into an epoch, and that nothing is due between them."""
    count = settings.steps_per_execution
    if steps_per_epoch % count:
        raise ValueError(
            f"steps_per_execution: expected a divisor of the {steps_per_epoch} steps of an "
            f"epoch, received {count}"
        )
    if count > 1 and "prune_until" in METHODS[settings.method].takes:
        raise ValueError(
            f"steps_per_execution: expected 1 for {settings.method}, which cuts weights after "
            f"every step, received {count}"
        )


def validation_batches(examples, devices):
    """Batches of equal parts for the replicas, without the few examples that are left over."""
    used = len(examples) // devices.replicas * devices.replicas
    if not used:
        return None
    size = max(1, 250 // devices.replicas) * devices.replicas
    return devices.share(data.batches(examples.take(used), size))


def statistics_batches(settings, training, batch_size):
    """The batches that the statistics of averaged networks are of, always the same."""
    batches = data.training_batches(
        training, batch_size, settings.seed, **settings.augmentation_options
    )
    return batches.take(min(STATISTICS_BATCHES, len(training) // batch_size))


def summary(settings, training):
    """What is trained on what, and against which attack, in one line."""
    parts = [
        f"{settings.network} on {len(training):,} examples of {settings.dataset}",
        f"batches of {settings.batch_size}",
    ]
    if METHODS[settings.method].uses_attack:
        radius = settings.epsilon_in_training
        unit = "pixels in [0, 1]"
        if training.columns:
            unit = "shares of each column's range in the training part"
        parts.append(f"ε = {length_text(radius)} in {unit}")
    return ", ".join(parts)


def slow_precision(settings):
    """What to say of a precision that takes longer than float32 here; None if there is nothing."""
    on_cpu = not tf.config.list_physical_devices("GPU")
    if settings.mixed_precision == "bfloat16" and on_cpu and emulates_bfloat16():
        return (
            "this CPU has no instructions for bfloat16, so that training takes two to three times "
            "as long as with --mixed_precision=none"
        )
    return None


def weights_from(settings):
    """What a run without `init_from` starts from, in words."""
    kept = settings.network.endswith(".keras") and not settings.fresh
    return settings.network if kept else "random weights"
