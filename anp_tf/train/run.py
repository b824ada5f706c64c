"""A training run, from settings to a trained network in its workdir."""

import contextlib
import hashlib
import logging
import math

import keras
import tensorflow as tf

from anp_tf import data
from anp_tf.errors import NonFiniteError, WorkerLost
from anp_tf.models import NETWORKS
from anp_tf.progress import Progress
from anp_tf.pruning import cost
from anp_tf.run_data import check_training_data
from anp_tf.threads import use_op_threads
from anp_tf.train.averaging import Averaging
from anp_tf.train.best import BestEpoch
from anp_tf.train.build import (
    build_network,
    build_training_model,
    compute_in,
)
from anp_tf.train.checkpoints import Checkpoints
from anp_tf.train.clock import Clock
from anp_tf.train.collapse import CollapseGuard
from anp_tf.train.distribution import LOST_WORKER, devices_for
from anp_tf.train.networks import check_name
from anp_tf.train.prepare import (
    check_execution,
    checked_batch_size,
    examples_of,
    slow_precision,
    statistics_batches,
    summary,
    used_settings,
    validation_batches,
    weights_from,
    write_down,
)
from anp_tf.train.records import Records
from anp_tf.train.saver import Saver
from anp_tf.train.start import copy_weights
from anp_tf.workdir import load_network

log = logging.getLogger(__name__)


def train(settings, workdir, overwrite=False):
    """Trains as the settings say; goes on where an earlier start of the same run was stopped.

    What is used in place of what the settings say, such as the default network of the images, is in
    `workdir.settings()` from then on.

    Args:
        settings: `Settings`.
        workdir: `Workdir`.
        overwrite: Boolean; a run in the workdir that has finished or is another one is removed.

    Returns:
        The trained network, which is in the workdir too.

    Raises:
        DataError, WorkdirError, CheckpointError: as their names say.
        NonFiniteError: if a loss or gradient is NaN or infinite.
        ValueError: if the batches cannot be divided over the devices, or if TensorFlow has started
            with another number of threads.
        Stopped: if a signal asked the run to stop.
        WorkerLost: a `Stopped`, if another worker has ended or cannot be reached.
    """
    check_name(settings.network)
    if settings.op_threads:
        use_op_threads(settings.op_threads)
    devices = devices_for(settings.distribution)
    if devices.workers == 1:
        return _locked(settings, workdir, devices, overwrite)
    try:
        return _locked(settings, workdir, devices, overwrite)
    except LOST_WORKER as error:
        raise WorkerLost(
            "another worker has ended; the same command, on all workers, goes on from the last "
            "checkpoint"
        ) from error


def _locked(settings, workdir, devices, overwrite):
    with workdir.locked() if devices.chief else contextlib.nullcontext():
        devices.check_same("options", settings.of_the_run())
        start = workdir.start(settings, overwrite) if devices.chief else None
        if devices.of_chief(start is not None and start.finished):
            if start is not None:
                if start.settings.dataset != workdir.settings().dataset:
                    check_training_data(workdir, examples_of(start.settings)[0])
                workdir.begin(start)
            return workdir.load_network()
        network = _train(settings, workdir, devices, start)
        log.info("SHA-256 of the weights: %s", _digest(network))
        if devices.chief:
            workdir.results.unlink(missing_ok=True)  # of a network that was removed
            workdir.save_network(network)
        devices.total(0)  # from here on all may read it
        # Of several workers, one whose variables are this process's own.
        return network if devices.workers == 1 else workdir.load_network()


def _train(settings, workdir, devices, start):
    if start is not None:
        settings = start.settings
    if settings.network not in NETWORKS:
        keras.utils.clear_session(free_memory=False)  # so that its layers have the same names
    keras.utils.set_random_seed(settings.seed)
    if settings.deterministic:
        tf.config.experimental.enable_op_determinism()
    training, validation = examples_of(settings)
    batch_size = checked_batch_size(settings, len(training), devices)
    asked, settings = settings, used_settings(settings, training, validation, batch_size)
    steps_per_epoch = len(training) // batch_size
    check_execution(settings, steps_per_epoch)
    if start is not None and start.goes_on:
        check_training_data(workdir, training)
    with devices.strategy.scope():
        network = build_network(settings, training)
        cost(network)  # an error now if it is not known, and not when results are made of it
        if settings.init_from:
            copy_weights(load_network(settings.init_from, "init_from"), network)
        model = build_training_model(settings, network, len(training), steps_per_epoch)
    # Not before all is read that the run is made of: it may take the place of another one.
    if start is not None:
        workdir.begin(start)
        write_down(workdir, asked, settings, training, devices)
    best = _best_epoch(settings, model)
    checkpoints = Checkpoints(
        workdir.checkpoints, _variables(model), settings.keep_checkpoints, devices
    )
    clock = Clock()
    saved = {"best": best, "clock": clock}
    if model.training_attack.noise is not None:
        saved["collapse"] = CollapseGuard(model)
    saver = Saver(
        checkpoints, workdir, saved, steps_per_epoch, settings.checkpoint_seconds, devices
    )
    step = saver.restore(model)
    watchers, shows = [clock, best], []
    with contextlib.ExitStack() as stack:
        if devices.chief:
            shown = data.batches((validation or training).take(8), 8)
            start = f"step {step}" if step else settings.init_from or weights_from(settings)
            progress = Progress(
                settings.method, start, settings.epochs, steps_per_epoch, step, str(devices)
            )
            progress.say(summary(settings, training))
            if warning := slow_precision(settings):
                progress.say(warning)
            watchers.append(Records(workdir, *next(iter(shown))))
            shows.append(stack.enter_context(progress))
        if model.averages:
            averaging = Averaging(statistics_batches(settings, training, batch_size))
            watchers.append(averaging)
        if "collapse" in saved:
            watchers.append(saved["collapse"])
        stack.enter_context(saver)
        callbacks = keras.callbacks.CallbackList(
            [*model.callbacks(), *watchers, saver, *shows], add_history=True, model=model
        )
        while step < settings.epochs * steps_per_epoch:
            # An epoch that was stopped in the middle is a shorter one for `fit`.
            epoch, within = divmod(step, steps_per_epoch)
            until = epoch + 1 if within else settings.epochs
            batches = data.training_batches(
                training, batch_size, settings.seed, step, **settings.augmentation_options
            )
            try:
                model.fit(
                    devices.share(batches),
                    initial_epoch=epoch,
                    epochs=until,
                    steps_per_epoch=steps_per_epoch - within,
                    validation_data=validation and validation_batches(validation, devices),
                    callbacks=callbacks,
                    shuffle=False,
                    verbose=0,
                )
            except FloatingPointError as error:
                raise _non_finite(model, checkpoints) from error
            step = until * steps_per_epoch
    if model.averages:
        model.use_averages(averaging.batches)
    if best.choice and settings.select == "best":
        for variable, value in zip(network.variables, best.weights, strict=True):
            variable.assign(value)
    elif settings.select == "best" and best.min_sparsity:
        log.warning(
            "no epoch reached the sparsity %s of --select_min_sparsity; the last network is kept",
            best.min_sparsity,
        )
    compute_in(network, "float32")
    return network


def _best_epoch(settings, model):
    warm_ups = [0.0]
    if model.uses_attack:
        warm_ups.append(settings.epsilon_warmup_epochs)
    if model.divergence.layers:
        warm_ups.append(settings.kl_warmup_epochs)
    if model.learns_masks and model.schedule.mask_freeze_step is not None:
        warm_ups.append(settings.mask_freeze_at * settings.epochs)
    if "prune_until" in model.takes:
        warm_ups.append(settings.prune_until * settings.epochs)
    if settings.bound_weight:
        warm_ups.append(settings.bound_warmup_epochs)
    first_epoch = min(settings.epochs, 1 + math.ceil(max(warm_ups)))
    return BestEpoch(first_epoch, settings.select_min_sparsity if model.masks else 0.0)


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


def _digest(network):
    """What is equal for equal weights, bit for bit: to compare workers, or runs."""
    digest = hashlib.sha256()
    for variable in network.variables:
        digest.update(variable.numpy().tobytes())
    return digest.hexdigest()


def _non_finite(model, checkpoints):
    step = int(model.optimizer.iterations.numpy())
    return NonFiniteError(
        f"the loss or its gradient is not finite at step {step + 1}; {checkpoints.last_good()}; a "
        "lower --learning_rate or --mask_learning_rate may help"
    )
