"""A training run, from settings to a trained network in its workdir."""

import functools
import logging
import math
import types

import keras
import tensorflow as tf

from anp_tf import data
from anp_tf.attacks import FGSM, PGD
from anp_tf.attacks.pgd import NO_FINITE_GRADIENT
from anp_tf.layers import (
    MASKS,
    BayesBatchNormalization,
    BayesConv2D,
    BayesDense,
    BayesianMask,
    UnitMask,
)
from anp_tf.methods import METHODS, GradualPruning, MagnitudePruning, Trades
from anp_tf.methods.training_model import NOT_FINITE
from anp_tf.models import NETWORKS
from anp_tf.pruning import flops_weights
from anp_tf.training.best import BestEpoch
from anp_tf.training.checkpoints import Checkpoints, NonFiniteError
from anp_tf.training.progress import Progress
from anp_tf.training.records import Records
from anp_tf.training.saver import Saver
from anp_tf.training.schedules import schedules
from anp_tf.workdir import WorkdirError, load_network

log = logging.getLogger(__name__)


def train(settings, workdir):
    """Trains as the settings say; goes on where an earlier start of the same run was stopped.

    Args:
        settings: `Settings`.
        workdir: `Workdir`.

    Returns:
        The trained network, which is in the workdir too.

    Raises:
        DataError, WorkdirError, CheckpointError: as their names say.
        NonFiniteError: if a loss or gradient is NaN or infinite.
        Stopped: if a signal asked the run to stop.
    """
    with workdir.locked():
        workdir.open(settings)
        if workdir.network.exists():
            return workdir.load_network()
        network = _train(settings, workdir)
        workdir.results.unlink(missing_ok=True)  # of a network that was removed
        workdir.save_network(network)
        return network


def _train(settings, workdir):
    keras.utils.set_random_seed(settings.seed)
    if settings.deterministic:
        tf.config.experimental.enable_op_determinism()
    training, validation = _examples(settings)
    batch_size = min(settings.batch_size, len(training))
    steps_per_epoch = len(training) // batch_size
    with _strategy().scope():
        network = build_network(settings, training)
        if settings.init_from:
            copy_weights(load_network(settings.init_from), network)
        model = build_training_model(settings, network, len(training), steps_per_epoch)
    best = _best_epoch(settings, model)
    checkpoints = Checkpoints(workdir.checkpoints, _variables(model), settings.keep_checkpoints)
    saver = Saver(checkpoints, workdir, best, steps_per_epoch, settings.checkpoint_seconds)
    step = saver.restore(model)
    shown = data.batches((validation or training).take(8), 8)
    records = Records(workdir, *next(iter(shown)))
    start = f"step {step}" if step else settings.init_from or "random weights"
    progress = Progress(settings.method, start, settings.epochs, steps_per_epoch, step)
    callbacks = keras.callbacks.CallbackList(
        [*model.callbacks(), best, records, progress, saver], add_history=True, model=model
    )
    with progress, saver:
        while step < settings.epochs * steps_per_epoch:
            # An epoch that was stopped in the middle is a shorter one for `fit`.
            epoch, within = divmod(step, steps_per_epoch)
            until = epoch + 1 if within else settings.epochs
            try:
                model.fit(
                    data.training_batches(
                        training, batch_size, settings.seed, step, settings.crop_flip
                    ),
                    initial_epoch=epoch,
                    epochs=until,
                    steps_per_epoch=steps_per_epoch - within,
                    validation_data=validation and data.batches(validation, 250),
                    callbacks=callbacks,
                    shuffle=False,
                    verbose=0,
                )
            except tf.errors.InvalidArgumentError as error:
                if NOT_FINITE not in error.message and NO_FINITE_GRADIENT not in error.message:
                    raise
                raise _non_finite(model, checkpoints) from error
            step = until * steps_per_epoch
    if best.choice and settings.select == "best":
        for variable, value in zip(network.variables, best.weights, strict=True):
            variable.assign(value)
    elif settings.select == "best" and best.min_sparsity:
        log.warning(
            "no epoch reached the sparsity %s of --select_min_sparsity; the last network is kept",
            best.min_sparsity,
        )
    return network


def _examples(settings):
    """The training and the validation examples; None for the latter where none are set aside."""
    examples = data.load(settings.dataset, "train", settings.data_dir)
    if settings.limit_train_examples:
        examples = examples.take(settings.limit_train_examples)
    held_out = min(settings.validation_examples, len(examples) // 5)
    return (
        data.split_validation(examples, held_out, settings.seed) if held_out else (examples, None)
    )


def _best_epoch(settings, model):
    warm_ups = [0.0]
    if model.uses_attack:
        warm_ups.append(settings.epsilon_warmup_epochs)
    if model.divergent:
        warm_ups.append(settings.kl_warmup_epochs)
    if model.mask_freeze_step is not None:
        warm_ups.append(settings.mask_freeze_at * settings.epochs)
    if isinstance(model, GradualPruning):
        warm_ups.append(settings.prune_until * settings.epochs)
    first_epoch = min(settings.epochs, 1 + math.ceil(max(warm_ups)))
    return BestEpoch(first_epoch, settings.select_min_sparsity if model.masks else 0.0)


def build_network(settings, examples):
    """The untrained network of the settings, for examples of this shape and number of classes."""
    method = METHODS[settings.method]
    return NETWORKS[settings.network](
        mask=_mask(settings) if method.uses_masks else None,
        input_shape=examples.image_shape,
        num_classes=examples.num_classes,
        width_multiplier=settings.width_multiplier,
        layers=_random_layers(settings) if method.uses_random_weights else keras.layers,
    )


def _mask(settings):
    """A function from a name to a mask of the settings."""
    if METHODS[settings.method].learns_masks:
        options = {
            "beta_bernoulli": {"posterior": settings.posterior, "initial_a": settings.initial_a}
        }
        return functools.partial(MASKS[settings.mask], **options.get(settings.mask, {}))
    return UnitMask


def _random_layers(settings):
    """The layers of a network with random weights."""
    options = {"prior_scale": settings.prior_scale, "initial_rho": settings.initial_rho}
    return types.SimpleNamespace(
        Conv2D=functools.partial(BayesConv2D, **options),
        Dense=functools.partial(BayesDense, **options),
        BatchNormalization=functools.partial(BayesBatchNormalization, **options),
    )


def build_training_model(settings, network, num_examples, steps_per_epoch):
    """The compiled training model of the settings."""
    method = METHODS[settings.method]
    total_steps = settings.epochs * steps_per_epoch
    validation_attack = PGD(
        epsilon=settings.epsilon,
        step_size=min(1.0, 2.5 * settings.epsilon / settings.validation_attack_steps),
        steps=settings.validation_attack_steps,
    )
    weighted = method.learns_masks and settings.kl_flops_exponent
    grows = settings.attack_steps_first and settings.attack != "fgsm"
    freezes = method.learns_masks and settings.mask_freeze_at < 1
    model = method(
        network,
        num_examples,
        attack=_attack(settings, method),
        validation_attack=validation_attack if method.uses_attack else None,
        adversarial_weight=settings.adversarial_weight,
        beta=settings.beta,
        kl_weights=flops_weights(network, settings.kl_flops_exponent) if weighted else None,
        vulnerability_weight=settings.vulnerability_weight,
        weight_decay=settings.weight_decay,
        epsilon_warmup_steps=round(settings.epsilon_warmup_epochs * steps_per_epoch),
        attack_growth=(settings.attack_steps_first, total_steps) if grows else None,
        kl_warmup_steps=round(settings.kl_warmup_epochs * steps_per_epoch),
        mask_freeze_step=round(settings.mask_freeze_at * total_steps) if freezes else None,
        seed=settings.seed,
        **_method_options(settings, method, total_steps),
    )
    rates = schedules(settings, total_steps)
    model.compile(*(keras.optimizers.Adam(rate) for rate in rates))
    return model


def _attack(settings, method):
    if settings.attack == "fgsm":
        return FGSM(epsilon=settings.epsilon)
    return method.attack_class(
        epsilon=settings.epsilon,
        step_size=settings.attack_step_size,
        steps=settings.attack_steps,
    )


def _method_options(settings, method, total_steps):
    """The arguments that only some methods have."""
    options = {}
    if issubclass(method, Trades):
        options["trades_beta"] = settings.trades_beta
    if issubclass(method, GradualPruning):
        options["target_sparsity"] = settings.target_sparsity
        options["pruning_steps"] = max(1, round(settings.prune_until * total_steps))
        options["pruning_updates"] = settings.prune_updates
    if issubclass(method, MagnitudePruning):
        options["granularity"] = settings.granularity
    return options


def copy_weights(source, network):
    """Copies the weights of the layers of the same name; masks may differ.

    Raises:
        WorkdirError: if a layer of `network` has no counterpart of the same shape.
    """
    layers = {layer.name: layer for layer in source.layers}
    for layer in network.layers:
        if isinstance(layer, BayesianMask) or not layer.weights:
            continue
        theirs, ours = _plain_weights(layers.get(layer.name)), _plain_weights(layer)
        shapes = [tuple(weight.shape) for weight in theirs.values()]
        expected = [tuple(weight.shape) for weight in ours.values()]
        if list(theirs) != list(ours) or shapes != expected:
            raise WorkdirError(
                f"cannot start from `{source.name}`: layer {layer.name} has weights of shapes "
                f"{expected} here and {shapes or 'none'} there"
            )
        for name, weight in ours.items():
            weight.assign(theirs[name])


def _plain_weights(layer):
    """A layer's weights by their names; of random weights the means, named as a plain layer's."""
    weights = layer.weights if layer is not None else []
    return {weight.name: weight for weight in weights if not weight.name.endswith("_rho")}


def _strategy():
    if len(tf.config.list_physical_devices("GPU")) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def _variables(model):
    groups = {
        "network": model.network.variables,
        "optimizer": model.optimizer.variables,
        "mask_optimizer": model.mask_optimizer.variables if model.mask_optimizer else [],
        "metrics": model.metrics_variables,
        "method": model.state_variables(),
    }
    return {
        f"{group}/{index}/{variable.name}": variable
        for group, variables in groups.items()
        for index, variable in enumerate(variables)
    }


def _non_finite(model, checkpoints):
    step = int(model.optimizer.iterations.numpy())
    return NonFiniteError(
        f"the loss or its gradient is not finite at step {step + 1}; {checkpoints.last_good()}; a "
        "lower --learning_rate or --mask_learning_rate may help"
    )
