"""Everything that defines a training run, in one record."""

import dataclasses
import json
import pathlib
import re

from anp_tf.names import AUGMENTATIONS, MASKS, METHODS, NETWORKS
from anp_tf.options import (
    ABOVE_0,
    ABOVE_0_TO_1,
    ABOVE_MINUS_80,
    AT_LEAST_0,
    AT_LEAST_0_OR_INFINITE,
    AT_LEAST_1,
    BELOW_1,
    DATA,
    EVALUATION,
    FINITE,
    INSIDE,
    LENGTH,
    MACHINE,
    NAME,
    RUN,
    SEED,
    SHARE,
    Options,
    Range,
    option,
)

LONGEST_STEP = 0.01  # of PGD, unless another one is given
SHARES = Range(
    lambda v: all(0 < share < 1 for share in v) and list(v) == sorted(v),
    "increasing shares in (0, 1)",
)
COUNTS = Range(
    lambda v: all(count >= 1 and count == int(count) for count in v),
    "whole numbers of at least 1",
)
SIZE = Range(lambda v: len(v) in (0, 2) and COUNTS.holds(v), "H,W, two whole numbers of at least 1")

CIFAR = (
    "cifar10",
    "cifar10_1",
    "cifar10_corrupted",
    "cifar10_h",
    "cifar10_n",
    "cifar100",
    "cifar100_n",
)
READING = ("image_size", "image_key", "label_key", "test_share")  # how a data set is read


# fmt: off
# ruff: noqa: E501
@dataclasses.dataclass(frozen=True)
class Settings(Options):
    """The options of a run, checked; each is a flag of the command lines.

    Raises:
        ValueError: if a value is not valid; the message begins with the option's name.
    """

    dataset: str = option("mnist", "TFDS name of an image classification set; or an image folder, .npz, .csv or .parquet file", NAME, DATA, path=True)
    image_size: tuple[float, ...] = option((), "H,W: what the images of a folder or of TFDS are resized to", SIZE, DATA)
    image_key: str | None = option(None, "of TFDS: the feature that holds the images", scope=DATA)
    label_key: str | None = option(None, "the feature of TFDS, or the column of a table, that holds the labels", scope=DATA)
    test_share: float = option(0.2, "share of a folder or a table that is for testing, if it has no test part", INSIDE, DATA)
    data_dir: str | None = option(None, "TFDS data directory; else TFDS_DATA_DIR, else ~/tensorflow_datasets", scope=MACHINE)
    limit_train_examples: int | None = option(None, "use only so many training images", AT_LEAST_1, DATA)
    limit_test_examples: int | None = option(None, "use only so many test images", AT_LEAST_1, EVALUATION)
    augmentation: str = option("auto", "of training images: none, crop, crop_flip, crop_alternate, or auto: crop_flip for CIFAR", ("auto", *AUGMENTATIONS), group="data")
    crop_pixels: int = option(4, "how far crops shift training images at most", AT_LEAST_1, group="data")
    validation_examples: int = option(1000, "training images set aside to choose the best epoch (at most a fifth)", AT_LEAST_0, DATA)
    network: str = option("auto", "one that --width_multiplier names, one of Keras, MODULE:FUNCTION, FILE.keras", NAME, path=True, group="network")
    fresh: bool = option(False, "new weights for the network of a .keras file", group="network")
    width_multiplier: float = option(1.0, f"scales the widths of {', '.join(NETWORKS)}", ABOVE_0, group="network")
    dropout_multiplier: float = option(1.0, "scales the dropout rates of the network", SHARE, group="network")
    method: str = option("anp_vs", f"one of {', '.join(METHODS)}", METHODS, RUN)
    init_from: str | None = option(None, "workdir or .keras file of a network of the same shape to start from", scope=RUN, path=True)
    epochs: int = option(200, "passes over the training images", AT_LEAST_1)
    batch_size: int = option(64, "images a step", AT_LEAST_1)
    optimizer: str = option("adam", "of the weights: adam, or sgd with Nesterov momentum 0.9", ("adam", "sgd"))
    learning_rate: float = option(1e-3, "rate of the weights' optimizer", ABOVE_0)
    mask_learning_rate: float = option(1e-2, "Adam's rate for the masks", ABOVE_0, of="learns_masks")
    schedule: str = option("step", "step (the paper's), one_cycle, or restart: a cycle up to the end of pruning, then another", ("step", "one_cycle", "restart"))
    decay_at: tuple[float, ...] = option((0.5, 0.7), "step: shares of the steps at which both rates fall", SHARES)
    decay_factor: float = option(0.1, "step: factor by which they fall", ABOVE_0)
    peak_at: float = option(0.4, "one_cycle: share of the steps at which the weights' rate peaks", INSIDE)
    mask_decay_at: float = option(0.8, "one_cycle: share of the steps from which the masks' rate falls", INSIDE, of="learns_masks")
    mask_freeze_at: float = option(1.0, "share of the steps from which the masks are fixed, and their rate 0", ABOVE_0_TO_1, of="learns_masks")
    fix_sparsity: float = option(0.0, "share of the units that are pruned, at least, when the masks are fixed", BELOW_1, of="learns_masks")
    weight_decay: float = option(1e-4, "coefficient of half the squared weights", AT_LEAST_0)
    gradient_norm: float | None = option(None, "gradients of the weights are cut to this norm", ABOVE_0)
    decayed: str = option("all", "which weights decay: all or kernels", ("all", "kernels"))
    average_decay: float = option(0.0, "share of the weights' averages that a step keeps, and these make the network; 0: none", BELOW_1)
    label_smoothing: float = option(0.0, "share of a label's probability spread over all classes, in training", BELOW_1)
    teacher: str | None = option(None, "workdir or .keras file of a robust network whose predictions are labels, too", scope=RUN, path=True)
    teacher_weight: float = option(1.0, "how much they count against the labels of the data set", ABOVE_0_TO_1)
    adversarial_weight: float = option(2.0, "w, weight of the adversarial against the clean loss; inf: adversarial alone", AT_LEAST_0_OR_INFINITE, of="uses_attack")
    beta: float | None = option(None, "weight of KL/N, of masks or random weights; default 4 for anp and anp_vs, 1 for bp, 0.01 for at_bnn", AT_LEAST_0, of="default_beta")
    kl_flops_exponent: float = option(0.0, "a unit's KL counts by its share of the FLOPs to this power; 0 is the paper's", AT_LEAST_0, of="learns_masks")
    vulnerability_weight: float = option(1e-3, "lambda, weight of the vulnerability", AT_LEAST_0, of="suppresses")
    vulnerability_share: float = option(1.0, "share of each batch that it is estimated on, where only adversarial images count", ABOVE_0_TO_1, of="suppresses")
    trades_beta: float = option(6.0, "trades: beta_T, weight of the divergence of the predictions", AT_LEAST_0, of="takes")
    prior_scale: float = option(1.0, "at_bnn: deviation of the prior of the weights", ABOVE_0, of="uses_random_weights")
    initial_rho: float = option(-3.0, "at_bnn: where the weights' rho starts", ABOVE_MINUS_80, of="uses_random_weights")
    target_sparsity: float = option(0.8, "admm, magnitude: share of the weights that are cut", BELOW_1, of="takes")
    granularity: str = option("weight", "magnitude: cut single weights (weight), filters (filter), or units of masks (unit)", ("weight", "filter", "unit"), of="takes")
    target_units: tuple[float, ...] = option((), "how many units each mask keeps when the masks are fixed", COUNTS, of="uses_masks")
    prune_until: float = option(0.5, "admm, magnitude: share of the steps after which all is cut", ABOVE_0_TO_1, of="takes")
    prune_updates: int = option(20, "admm, magnitude: updates up to then", AT_LEAST_1, of="takes")
    mask: str = option("beta_bernoulli", f"that is learned: one of {', '.join(MASKS)}", MASKS, of="learns_masks")
    mask_layers: tuple[str, ...] = option((), "layers of one's own network that get masks; by default all that can", of="uses_masks")
    posterior: str = option("kumaraswamy", "of beta_bernoulli masks: kumaraswamy or beta", ("kumaraswamy", "beta"), of="learns_masks")
    initial_a: float = option(2.0, "where a_u of beta_bernoulli masks starts; -1 keeps 24 % of units, 2 68 %", FINITE, of="learns_masks")
    epsilon: float | None = option(None, "radius of the attack's L-infinity ball, such as 8/255; default 0.3 for MNIST, 8/255 else", LENGTH, EVALUATION, group="attack")
    train_epsilon: float | None = option(None, "radius in training, by default --epsilon", LENGTH, of="uses_attack")
    attack: str = option("pgd", "in training: pgd, fgsm, n_fgsm (noise, one step), or square_pgd (pgd, then squares)", ("pgd", "fgsm", "n_fgsm", "square_pgd"), of="uses_attack")
    attack_noise: float = option(2.0, "n_fgsm: size of the noise in units of epsilon; doubled after a collapse", AT_LEAST_0, of="uses_attack")
    attack_queries: int = option(10, "square_pgd: squares that are tried after PGD", AT_LEAST_1, of="uses_attack")
    attack_steps: int = option(20, "PGD steps in training", AT_LEAST_1, of="uses_attack")
    attack_steps_first: int | None = option(None, "PGD steps at first, growing to --attack_steps over the run, each the longer", AT_LEAST_1, of="uses_attack")
    attack_step_size: float | None = option(None, "length of a PGD step in training; default 0.01, of a small epsilon a quarter", LENGTH, of="uses_attack")
    last_attack_at: float = option(1.0, "share of the steps from which the attack is PGD of --last_attack_steps", ABOVE_0_TO_1, of="uses_attack")
    last_attack_steps: int = option(2, "PGD steps there, each of 2.5 epsilon / steps", AT_LEAST_1, of="uses_attack")
    epsilon_warmup_epochs: float = option(2.0, "epochs over which the attack grows from 0", AT_LEAST_0, of="uses_attack")
    kl_warmup_epochs: float = option(2.0, "epochs over which beta grows from 0", AT_LEAST_0, of="default_beta")
    bound_weight: float = option(0.0, "weight of what intervals can prove against the rest of the loss", SHARE, group="bounds")
    bound_epsilon: float | None = option(None, "radius of the ball of the bounds; default --epsilon", LENGTH, group="bounds")
    bound_warmup_epochs: float = option(2.0, "epochs over which that radius grows from 0", AT_LEAST_0, group="bounds")
    bound_masks: bool = option(False, "the bounds count in the loss of the masks, too", group="bounds")
    validation_attack_steps: int = option(10, "PGD steps on the validation images, each of 2.5 epsilon / steps", AT_LEAST_1, RUN)
    validation_attack_restarts: int = option(1, "runs of that attack, each on the images that those before left", AT_LEAST_1, RUN)
    validation_attack_queries: int = option(0, "queries of the Square attack on the images that PGD left", AT_LEAST_0, RUN)
    eval_attack_steps: int = option(40, "PGD steps in the evaluation", AT_LEAST_1, EVALUATION)
    eval_attack_step_size: float | None = option(None, "length of a PGD step in the evaluation; default as in training", LENGTH, EVALUATION)
    eval_samples: int = option(10, "at_bnn: draws of the weights in the evaluation of sampled networks", AT_LEAST_1, EVALUATION, of="uses_random_weights")
    select: str = option("best", "the network kept: best (robust validation accuracy; with bounds, with what is proved) or last", ("best", "last"), RUN)
    select_min_sparsity: float = option(0.0, "share of pruned units, 0 to 1, an epoch needs to be chosen as best", BELOW_1, RUN, of="learns_masks")
    mixed_precision: str = option("none", "of layers in training: none (float32), or bfloat16; weights and losses stay float32", ("none", "bfloat16"), MACHINE)
    jit: bool = option(False, "compile the training step by XLA; for GPUs, on CPUs it is many times slower", scope=MACHINE)
    steps_per_execution: int = option(1, "steps that run in one call, a divisor of the steps of an epoch", AT_LEAST_1, group="machine")
    op_threads: int | None = option(None, "CPU threads of an operation, by default all; if fewer, attacks on parts of a batch run side by side", AT_LEAST_1, MACHINE)
    seed: int = option(0, "of all randomness", SEED)
    deterministic: bool = option(False, "bit for bit reproducible, at some cost in speed", scope=RUN, group="machine")
    distribution: str = option("auto", "over none, mirrored (this machine's GPUs), multi_worker (many machines), auto (mirrored or none)", ("auto", "none", "mirrored", "multi_worker"), MACHINE)
    checkpoint_seconds: float = option(60.0, "time between checkpoints within an epoch", AT_LEAST_0_OR_INFINITE, MACHINE)
    keep_checkpoints: int = option(3, "number of checkpoints kept", AT_LEAST_1, MACHINE)
    # fmt: on

    def defaults(self):
        yield "beta", method_class(self.method).default_beta
        yield "epsilon", 0.3 if set_name(self.dataset) == "mnist" else 8 / 255
        yield "bound_epsilon", self.epsilon
        yield "attack_step_size", min(LONGEST_STEP, self.epsilon_in_training / 4)
        yield "eval_attack_step_size", min(LONGEST_STEP, self.epsilon / 4)

    def check_together(self):
        from anp_tf.attacks import PGD

        method = method_class(self.method)
        if self.attack != "pgd" and method.attack_class is not PGD:
            raise ValueError(
                f"attack: expected pgd, for method {self.method}, received {self.attack}"
            )
        grows = method.uses_attack and self.attack not in ("fgsm", "n_fgsm")
        if grows and (self.attack_steps_first or 0) > self.attack_steps:
            raise ValueError(
                f"attack_steps_first: expected at most attack_steps, {self.attack_steps}, "
                f"received {self.attack_steps_first}"
            )
        if method.learns_masks and self.mask_freeze_at == 1:
            for name, none in (("fix_sparsity", 0.0), ("target_units", ())):
                if getattr(self, name) != none:
                    raise ValueError(
                        f"{name}: expected none for masks that are never fixed, by "
                        f"mask_freeze_at=1, received {getattr(self, name)}"
                    )

    @property
    def epsilon_in_training(self):
        """The radius of the attack in training."""
        return self.epsilon if self.train_epsilon is None else self.train_epsilon

    @property
    def data_options(self):
        """How the data set is read: the keyword arguments of `anp_tf.data.load`."""
        options = {name: getattr(self, name) for name in READING}
        return {**options, "image_size": tuple(map(int, self.image_size)) or None}

    @property
    def augmentation_options(self):
        """How training images are augmented: keyword arguments of `anp_tf.data.training_batches`."""
        augmentation = self.augmentation
        if augmentation == "auto":
            augmentation = "crop_flip" if set_name(self.dataset) in CIFAR else "none"
        return {"augmentation": augmentation, "crop_pixels": self.crop_pixels}


def set_name(dataset):
    """The name of a TFDS set, which may be named by the folder that it is prepared in."""
    try:
        return json.loads((pathlib.Path(dataset) / "dataset_info.json").read_text())["name"]
    except (OSError, ValueError, LookupError, TypeError):
        return re.split("[/:]", dataset)[0]


def method_class(name):
    """The class of a training method; for it TensorFlow is imported, and not for the options."""
    from anp_tf.methods import METHODS

    return METHODS[name]


def unread(method):
    """The options that a method, a class of `METHODS`, does not read."""
    names = []
    for field in dataclasses.fields(Settings):
        of = field.metadata["of"]
        reads = field.name in method.takes if of == "takes" else of is None or getattr(method, of)
        if not reads:
            names.append(field.name)
    return names
