"""Everything that defines a training run, in one record."""

import dataclasses
import difflib
import math
import types
import typing

from anp_tf.attacks import PGD
from anp_tf.data import AUGMENTATIONS
from anp_tf.layers import MASKS
from anp_tf.methods import METHODS
from anp_tf.models import NETWORKS

UNBOUNDED = ("checkpoint_seconds", "adversarial_weight")  # which may be infinite


def option(default, text):
    """A field of `Settings` with its help text."""
    return dataclasses.field(default=default, metadata={"help": text})


@dataclasses.dataclass(frozen=True)
class Settings:
    """The options of a run, checked; each is a flag of the command lines.

    Raises:
        ValueError: if a value is not valid; the message names the flag.
    """

    dataset: str = option("mnist", "TFDS name of an image classification set; or an image folder, .npz, .csv or .parquet file")  # fmt: skip # noqa: E501
    image_size: tuple[float, ...] = option((), "H,W: what the images of a folder or of TFDS are resized to")  # fmt: skip # noqa: E501
    image_key: str | None = option(None, "of TFDS: the feature that holds the images")
    label_key: str | None = option(None, "the feature of TFDS, or the column of a table, that holds the labels")  # fmt: skip # noqa: E501
    test_share: float = option(0.2, "share of a folder or a table that is for testing, if it has no test part")  # fmt: skip # noqa: E501
    data_dir: str | None = option(None, "TFDS data directory; else TFDS_DATA_DIR, else ~/tensorflow_datasets")  # fmt: skip # noqa: E501
    limit_train_examples: int | None = option(None, "use only so many training images")
    limit_test_examples: int | None = option(None, "use only so many test images")
    augmentation: str = option("auto", "of training images: none, crop, crop_flip, crop_alternate, or auto: crop_flip for CIFAR")  # fmt: skip # noqa: E501
    validation_examples: int = option(1000, "training images set aside to choose the best epoch (at most a fifth)")  # fmt: skip # noqa: E501
    network: str = option("lenet5_caffe", f"one of {', '.join(NETWORKS)}")
    width_multiplier: float = option(1.0, "scales the widths of the network")
    dropout_multiplier: float = option(1.0, "scales the dropout rates of networks without masks")
    method: str = option("anp_vs", f"one of {', '.join(METHODS)}")
    init_from: str | None = option(None, "workdir of a network of the same shape to start from")
    epochs: int = option(200, "passes over the training images")
    batch_size: int = option(64, "images a step")
    optimizer: str = option("adam", "of the weights: adam, or sgd with Nesterov momentum 0.9")
    learning_rate: float = option(1e-3, "rate of the weights' optimizer")
    mask_learning_rate: float = option(1e-2, "Adam's rate for the masks")
    schedule: str = option("step", "step (the paper's), one_cycle, or restart: a cycle up to the end of pruning, then another")  # fmt: skip # noqa: E501
    decay_at: tuple[float, ...] = option(
        (0.5, 0.7), "step: shares of the steps at which both rates fall"
    )
    decay_factor: float = option(0.1, "step: factor by which they fall")
    peak_at: float = option(0.4, "one_cycle: share of the steps at which the weights' rate peaks")
    mask_decay_at: float = option(0.8, "one_cycle: share of the steps from which the masks' rate falls")  # fmt: skip # noqa: E501
    mask_freeze_at: float = option(1.0, "share of the steps from which the masks are fixed, and their rate 0")  # fmt: skip # noqa: E501
    fix_sparsity: float = option(0.0, "share of the units that are pruned, at least, when the masks are fixed")  # fmt: skip # noqa: E501
    weight_decay: float = option(1e-4, "coefficient of half the squared weights")
    decayed: str = option("all", "which weights decay: all or kernels")
    average_decay: float = option(0.0, "share of the weights' averages that a step keeps, and these make the network; 0: none")  # fmt: skip # noqa: E501
    label_smoothing: float = option(0.0, "share of a label's probability spread over all classes, in training")  # fmt: skip # noqa: E501
    adversarial_weight: float = option(2.0, "w, weight of the adversarial against the clean loss; inf: adversarial alone")  # fmt: skip # noqa: E501
    beta: float | None = option(None, "weight of KL/N, of masks or random weights; default 4 for anp and anp_vs, 1 for bp, 0.01 for at_bnn")  # fmt: skip # noqa: E501
    kl_flops_exponent: float = option(0.0, "a unit's KL counts by its share of the FLOPs to this power; 0 is the paper's")  # fmt: skip # noqa: E501
    vulnerability_weight: float = option(1e-3, "lambda, weight of the vulnerability")
    trades_beta: float = option(6.0, "trades: beta_T, weight of the divergence of the predictions")
    prior_scale: float = option(1.0, "at_bnn: deviation of the prior of the weights")
    initial_rho: float = option(-3.0, "at_bnn: where the weights' rho starts")
    target_sparsity: float = option(0.8, "admm, magnitude: share of the weights that are cut")
    granularity: str = option("weight", "magnitude: cut single weights (weight), filters (filter), or units of masks (unit)")  # fmt: skip # noqa: E501
    target_units: tuple[float, ...] = option((), "magnitude of units: how many each mask keeps; by default the same share")  # fmt: skip # noqa: E501
    prune_until: float = option(0.5, "admm, magnitude: share of the steps after which all is cut")
    prune_updates: int = option(20, "admm, magnitude: updates up to then")
    mask: str = option("beta_bernoulli", f"that is learned: one of {', '.join(MASKS)}")
    posterior: str = option("kumaraswamy", "of beta_bernoulli masks: kumaraswamy or beta")
    initial_a: float = option(
        2.0, "where a_u of beta_bernoulli masks starts; -1 keeps 24 % of units, 2 68 %"
    )
    epsilon: float = option(0.3, "radius of the attack's L-infinity ball, in pixel units")
    train_epsilon: float | None = option(None, "radius in training, by default --epsilon")
    attack: str = option("pgd", "in training: pgd, fgsm, n_fgsm (noise, one step), or square_pgd (pgd, then squares)")  # fmt: skip # noqa: E501
    attack_noise: float = option(2.0, "n_fgsm: size of the noise in units of epsilon; doubled after a collapse")  # fmt: skip # noqa: E501
    attack_queries: int = option(10, "square_pgd: squares that are tried after PGD")
    attack_steps: int = option(20, "PGD steps in training")
    attack_steps_first: int | None = option(None, "PGD steps at first, growing to --attack_steps over the run, each the longer")  # fmt: skip # noqa: E501
    attack_step_size: float = option(0.01, "length of a PGD step in training, in pixel units")
    last_attack_at: float = option(1.0, "share of the steps from which the attack is PGD of --last_attack_steps")  # fmt: skip # noqa: E501
    last_attack_steps: int = option(2, "PGD steps there, each of 2.5 epsilon / steps")
    epsilon_warmup_epochs: float = option(2.0, "epochs over which the attack grows from 0")
    kl_warmup_epochs: float = option(2.0, "epochs over which beta grows from 0")
    validation_attack_steps: int = option(10, "PGD steps on the validation images, each of 2.5 epsilon / steps")  # fmt: skip # noqa: E501
    eval_attack_steps: int = option(40, "PGD steps in the evaluation")
    eval_attack_step_size: float = option(0.01, "length of a PGD step in the evaluation")
    eval_samples: int = option(10, "at_bnn: draws of the weights in the evaluation of sampled networks")  # fmt: skip # noqa: E501
    select: str = option("best", "the network kept: best (robust validation accuracy) or last")
    select_min_sparsity: float = option(0.0, "share of pruned units, 0 to 1, an epoch needs to be chosen as best")  # fmt: skip # noqa: E501
    mixed_precision: str = option("none", "of layers in training: none (float32), or bfloat16; weights and losses stay float32")  # fmt: skip # noqa: E501
    jit: bool = option(False, "compile the training step by XLA; for GPUs, on CPUs it is many times slower")  # fmt: skip # noqa: E501
    steps_per_execution: int = option(1, "steps that run in one call, a divisor of the steps of an epoch")  # fmt: skip # noqa: E501
    op_threads: int | None = option(None, "CPU threads of an operation, by default all; if fewer, attacks on parts of a batch run side by side")  # fmt: skip # noqa: E501
    seed: int = option(0, "of all randomness")
    deterministic: bool = option(False, "bit for bit reproducible, at some cost in speed")
    distribution: str = option("auto", "over none, mirrored (this machine's GPUs), multi_worker (many machines), auto (mirrored or none)")  # fmt: skip # noqa: E501
    checkpoint_seconds: float = option(60.0, "time between checkpoints within an epoch")
    keep_checkpoints: int = option(3, "number of checkpoints kept")

    def __post_init__(self):
        one_of("dataset", self.dataset, None)
        one_of("network", self.network, NETWORKS)
        one_of("method", self.method, METHODS)
        one_of("posterior", self.posterior, ("kumaraswamy", "beta"))
        one_of("mask", self.mask, MASKS)
        one_of("attack", self.attack, ("pgd", "fgsm", "n_fgsm", "square_pgd"))
        one_of("augmentation", self.augmentation, ("auto", *AUGMENTATIONS))
        one_of("granularity", self.granularity, ("weight", "filter", "unit"))
        one_of("optimizer", self.optimizer, ("adam", "sgd"))
        one_of("decayed", self.decayed, ("all", "kernels"))
        one_of("schedule", self.schedule, ("step", "one_cycle", "restart"))
        one_of("select", self.select, ("best", "last"))
        one_of("distribution", self.distribution, ("auto", "none", "mirrored", "multi_worker"))
        one_of("mixed_precision", self.mixed_precision, ("none", "bfloat16"))
        for name in ("epsilon", "attack_step_size", "eval_attack_step_size"):
            _in(name, getattr(self, name), lambda v: 0 < v <= 1, "in (0, 1], in pixel units")
        if self.train_epsilon is not None:
            _in("train_epsilon", self.train_epsilon, lambda v: 0 < v <= 1, "in (0, 1], or none")
        for name in ("batch_size", "attack_steps", "eval_attack_steps", "validation_attack_steps"):
            _in(name, getattr(self, name), lambda v: v >= 1, "at least 1")
        for name in (
            "limit_train_examples",
            "limit_test_examples",
            "attack_steps_first",
            "op_threads",
        ):
            _in(name, getattr(self, name), lambda v: v is None or v >= 1, "at least 1")
        for name in (
            "epochs",
            "keep_checkpoints",
            "prune_updates",
            "eval_samples",
            "attack_queries",
            "last_attack_steps",
            "steps_per_execution",
        ):
            _in(name, getattr(self, name), lambda v: v >= 1, "at least 1")
        for name in (
            "learning_rate",
            "mask_learning_rate",
            "decay_factor",
            "width_multiplier",
            "prior_scale",
        ):
            _in(name, getattr(self, name), lambda v: v > 0, "above 0")
        for name in (
            "validation_examples",
            "weight_decay",
            "adversarial_weight",
            "vulnerability_weight",
            "attack_noise",
            "kl_flops_exponent",
            "trades_beta",
            "epsilon_warmup_epochs",
            "kl_warmup_epochs",
            "checkpoint_seconds",
        ):
            _in(name, getattr(self, name), lambda v: v >= 0, "at least 0")
        _in("seed", self.seed, lambda v: 0 <= v < 2**31, "in [0, 2**31)")
        for name in ("peak_at", "mask_decay_at", "test_share"):
            _in(name, getattr(self, name), lambda v: 0 < v < 1, "in (0, 1)")
        for name in ("prune_until", "mask_freeze_at", "last_attack_at"):
            _in(name, getattr(self, name), lambda v: 0 < v <= 1, "in (0, 1]")
        if self.attack != "pgd" and METHODS[self.method].attack_class is not PGD:
            raise ValueError(
                f"--attack: expected pgd, for method {self.method}, received {self.attack}"
            )
        if self.beta is None:
            object.__setattr__(self, "beta", METHODS[self.method].default_beta)
        _in("beta", self.beta, lambda v: v is None or v >= 0, "at least 0")
        _in("dropout_multiplier", self.dropout_multiplier, lambda v: 0 <= v <= 1, "in [0, 1]")
        for name in (
            "select_min_sparsity",
            "target_sparsity",
            "average_decay",
            "label_smoothing",
            "fix_sparsity",
        ):
            _in(name, getattr(self, name), lambda v: 0 <= v < 1, "in [0, 1)")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and field.name not in UNBOUNDED:
                _in(field.name, value, math.isfinite, "that is finite")
        _in(
            "decay_at",
            self.decay_at,
            lambda v: all(0 < share < 1 for share in v) and list(v) == sorted(v),
            "increasing shares in (0, 1)",
        )

        _in(
            "image_size",
            self.image_size,
            lambda v: len(v) in (0, 2) and all(side >= 1 and side == int(side) for side in v),
            "H,W of whole numbers of at least 1",
        )
        _in(
            "target_units",
            self.target_units,
            lambda v: all(count >= 1 and count == int(count) for count in v),
            "of whole numbers of at least 1",
        )
        if self.fix_sparsity and METHODS[self.method].learns_masks and self.mask_freeze_at == 1:
            raise ValueError(
                "--fix_sparsity: expected 0 for masks that are never fixed, by --mask_freeze_at=1, "
                f"received {self.fix_sparsity}"
            )

    @property
    def epsilon_in_training(self):
        """The radius of the attack in training."""
        return self.epsilon if self.train_epsilon is None else self.train_epsilon

    @property
    def data_options(self):
        """How the data set is read: the keyword arguments of `anp_tf.data.load`."""
        return {
            "image_size": tuple(map(int, self.image_size)) or None,
            "image_key": self.image_key,
            "label_key": self.label_key,
            "test_share": self.test_share,
        }

    @property
    def resolved_augmentation(self):
        """How training images are augmented: `augmentation` with `auto` resolved."""
        if self.augmentation == "auto":
            return "crop_flip" if self.dataset.startswith("cifar") else "none"
        return self.augmentation

    def flag_lines(self):
        """The record as the lines of a flagfile; options that are None are left out."""
        lines = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type is bool:
                lines.append(f"--{field.name}" if value else f"--no{field.name}")
            elif isinstance(value, tuple):
                lines.append(f"--{field.name}={','.join(map(str, value))}")
            elif value is not None:
                lines.append(f"--{field.name}={value}")
        return lines

    @classmethod
    def from_flag_lines(cls, lines):
        """The record that `flag_lines` wrote.

        Raises:
            ValueError: if a line is not a known flag with a value of its type.
        """
        fields = {field.name: field for field in dataclasses.fields(cls)}
        switches = {name for name, field in fields.items() if field.type is bool}
        values = {}
        for line in map(str.strip, lines):
            if not line or line.startswith("#"):
                continue
            name, equals, text = line.removeprefix("--").partition("=")
            if not equals and name in switches:
                values[name] = True
            elif not equals and name.removeprefix("no") in switches:
                values[name.removeprefix("no")] = False
            elif equals and name in fields:
                values[name] = parse(fields[name].type, text)
            else:
                raise ValueError(f"unknown flag in the line {line!r}")
        return cls(**values)


def base_type(annotation):
    """The type behind `X | None`."""
    if isinstance(annotation, types.UnionType):
        return next(kind for kind in typing.get_args(annotation) if kind is not types.NoneType)
    return annotation


def parse(annotation, text):
    """The value of an option from its text; a ValueError if it is not of the option's type."""
    kind = base_type(annotation)
    if typing.get_origin(kind) is tuple:
        return tuple(float(part) for part in text.split(",") if part)
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError(f"expected true or false, received {text!r}")
        return text.lower() == "true"
    return kind(text)


def one_of(name, value, known):
    """A ValueError with near matches unless `value` is one of `known` (any string if None)."""
    if known is None:
        if not value:
            raise ValueError(f"--{name}: expected a name, received {value!r}")
        return
    if value not in known:
        near = difflib.get_close_matches(str(value), known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"--{name}: expected one of {', '.join(known)}, received {value!r}{hint}")


def _in(name, value, valid, expected):
    if not valid(value):
        raise ValueError(f"--{name}: expected a value {expected}, received {value}")
