"""The network and the training model of some settings."""

import functools
import logging

import keras

from anp_tf.attacks import FGSM, NFGSM, PGD, InTurn, Square, SquarePGD
from anp_tf.layers import MASKS, UnitMask, mask_layers
from anp_tf.layers.nested import nested_layers
from anp_tf.methods import METHODS, Bound, Distillation, Schedule
from anp_tf.models import NETWORKS
from anp_tf.models.random_weights import with_random_weights
from anp_tf.pruning import flops_weights, insert_masks
from anp_tf.train.networks import AUTO, default_network, own_network
from anp_tf.train.schedules import schedules
from anp_tf.workdir import load_network

log = logging.getLogger(__name__)

DROPOUT = (keras.layers.Dropout, keras.layers.GaussianDropout, keras.layers.AlphaDropout)


def build_network(settings, examples):
    """The untrained network of the settings, for examples of this shape and number of classes."""
    method = METHODS[settings.method]
    name = settings.network
    if name == AUTO:
        name = default_network(examples.image_shape)
    mask = _mask(settings) if method.uses_masks else None
    shapes = {"input_shape": examples.image_shape, "num_classes": examples.num_classes}
    if name in NETWORKS:
        network = NETWORKS[name](
            mask=None if settings.mask_layers else mask,
            width_multiplier=settings.width_multiplier,
            **shapes,
        )
    else:
        if settings.width_multiplier != 1:
            raise ValueError(
                f"width_multiplier: expected 1 for a network that is none of "
                f"{', '.join(NETWORKS)}, received {settings.width_multiplier:g}"
            )
        network = own_network(name, **shapes, fresh=settings.fresh)
    if method.uses_random_weights:
        network = _random(network, settings)
    if mask is not None and not mask_layers(network):
        network = _masked(network, mask, settings.mask_layers)
    for layer in nested_layers(network):
        if isinstance(layer, DROPOUT):
            layer.rate *= settings.dropout_multiplier
    _compute_as_asked(network, settings)
    return network


def _masked(network, mask, layers):
    """The network with masks after some of its layers, or after all that can have one."""
    try:
        network = insert_masks(network, mask, layers or None)
    except ValueError as error:
        about = "mask_layers" if "Argument `layers`" in str(error) else "network"
        raise ValueError(f"{about}: {error}") from error
    if not mask_layers(network):
        raise ValueError("network: expected a layer that can have a mask, received none")
    return network


def _mask(settings):
    """A function from a name to a mask of the settings."""
    if METHODS[settings.method].learns_masks:
        options = {
            "beta_bernoulli": {"posterior": settings.posterior, "initial_a": settings.initial_a}
        }
        return functools.partial(MASKS[settings.mask], **options.get(settings.mask, {}))
    return UnitMask


def _random(network, settings):
    """The network with random weights in all layers that can have such."""
    options = {"prior_scale": settings.prior_scale, "initial_rho": settings.initial_rho}
    try:
        network, others = with_random_weights(network, **options)
    except ValueError as error:
        raise ValueError(f"network: {error}") from error
    if others:
        log.warning("the weights of %s are not random", ", ".join(others))
    return network


def compute_in(network, policy):
    """Has a network's layers compute as a Keras dtype policy says, its weights staying as they are.

    Args:
        network: Functional `keras.Model`; the layers of nested models count.
        policy: `"float32"` or `"mixed_bfloat16"`.
    """
    for layer in nested_layers(network):
        if not isinstance(layer, keras.layers.InputLayer):
            layer.dtype_policy = policy


def _compute_as_asked(network, settings):
    """Has a network's layers compute in the precision of the settings."""
    if settings.mixed_precision == "bfloat16":
        compute_in(network, "mixed_bfloat16")


def build_training_model(settings, network, num_examples, steps_per_epoch):
    """The compiled training model of the settings."""
    method = METHODS[settings.method]
    total_steps = settings.epochs * steps_per_epoch
    weighted = method.learns_masks and settings.kl_flops_exponent
    model = method(
        network,
        num_examples,
        attack=_attack(settings, method, network),
        validation_attack=_validation_attack(settings, network) if method.uses_attack else None,
        adversarial_weight=settings.adversarial_weight,
        label_smoothing=settings.label_smoothing,
        beta=settings.beta,
        kl_weights=flops_weights(network, settings.kl_flops_exponent) if weighted else None,
        vulnerability_weight=settings.vulnerability_weight,
        vulnerability_share=settings.vulnerability_share,
        weight_decay=settings.weight_decay,
        decayed=settings.decayed,
        average_decay=settings.average_decay,
        schedule=_schedule(settings, method, total_steps, steps_per_epoch),
        target_units=[int(n) for n in settings.target_units] or None,
        bound=_bound(settings, steps_per_epoch),
        distillation=_distillation(settings),
        seed=settings.seed,
        **_method_options(settings, method, total_steps),
    )
    rate, mask_rate = schedules(settings, total_steps)
    clip = settings.gradient_norm
    if settings.optimizer == "sgd":
        optimizer = keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, global_clipnorm=clip)
    else:
        optimizer = keras.optimizers.Adam(rate, global_clipnorm=clip)
    model.compile(
        optimizer,
        keras.optimizers.Adam(mask_rate),
        jit_compile=settings.jit,
        steps_per_execution=settings.steps_per_execution,
    )
    return model


def _schedule(settings, method, total_steps, steps_per_epoch):
    grows = settings.attack_steps_first and settings.attack not in ("fgsm", "n_fgsm")
    return Schedule(
        epsilon_warmup_steps=round(settings.epsilon_warmup_epochs * steps_per_epoch),
        kl_warmup_steps=round(settings.kl_warmup_epochs * steps_per_epoch),
        attack_growth=(settings.attack_steps_first, total_steps) if grows else None,
        last_attack=_last_attack(settings, method, total_steps),
        mask_freeze_step=_mask_freeze_step(settings, method, total_steps),
        fix_sparsity=settings.fix_sparsity if method.learns_masks else 0.0,
    )


def _bound(settings, steps_per_epoch):
    """How bounds count in training, or None."""
    if not settings.bound_weight:
        return None
    return Bound(
        weight=settings.bound_weight,
        epsilon=settings.bound_epsilon,
        warmup_steps=round(settings.bound_warmup_epochs * steps_per_epoch),
        masks=settings.bound_masks,
    )


def _distillation(settings):
    """How a teacher counts in training, or None."""
    if not settings.teacher:
        return None
    teacher = load_network(settings.teacher, "teacher")
    _compute_as_asked(teacher, settings)
    try:
        return Distillation(teacher, settings.teacher_weight)
    except ValueError as error:
        raise ValueError(f"teacher: {settings.teacher}: {error}") from error


def _mask_freeze_step(settings, method, total_steps):
    """The step from which masks do not change, or None: learned ones are fixed, others all cut."""
    if method.learns_masks and settings.mask_freeze_at < 1:
        return round(settings.mask_freeze_at * total_steps)
    if "granularity" in method.takes and settings.granularity == "unit":
        return _pruning_steps(settings, total_steps) + 1
    return None


def _pruning_steps(settings, total_steps):
    return max(1, round(settings.prune_until * total_steps))


def _attack(settings, method, network):
    if settings.attack == "fgsm":
        return FGSM(epsilon=settings.epsilon_in_training)
    if settings.attack == "n_fgsm":
        return NFGSM(epsilon=settings.epsilon_in_training, noise=settings.attack_noise)
    options = {
        "epsilon": settings.epsilon_in_training,
        "step_size": settings.attack_step_size,
        "steps": settings.attack_steps,
    }
    if settings.attack == "square_pgd":
        _check_images("attack", settings.attack, "pgd", network)
        return SquarePGD(**options, queries=settings.attack_queries)
    return method.attack_class(**options)


def _covering(epsilon, steps):
    """The arguments of PGD whose steps together are 2.5 times as long as its radius."""
    return {"epsilon": epsilon, "step_size": min(1.0, 2.5 * epsilon / steps), "steps": steps}


def _validation_attack(settings, network):
    epsilon, restarts = settings.epsilon, settings.validation_attack_restarts
    attack = PGD(**_covering(epsilon, settings.validation_attack_steps), restarts=restarts)
    if queries := settings.validation_attack_queries:
        _check_images("validation_attack_queries", queries, "0", network)
        return InTurn(attack, Square(epsilon=epsilon, queries=queries, channels_first=False))
    return attack


def _check_images(name, value, instead, network):
    """A ValueError that names an option by which squares of examples that are no images move."""
    if len(network.input_shape) != 4:
        raise ValueError(
            f"{name}: expected {instead}, for the Square attack moves squares of images, and "
            f"examples are of shape {network.input_shape[1:]}; received {value}"
        )


def _last_attack(settings, method, total_steps):
    """The step from which another attack takes the place of the first one, and that attack."""
    if settings.last_attack_at == 1:
        return None
    covering = _covering(settings.epsilon_in_training, settings.last_attack_steps)
    attack = method.attack_class(**covering)
    return round(settings.last_attack_at * total_steps), attack


def _method_options(settings, method, total_steps):
    """The arguments of a method that it has by the options that it takes."""
    arguments = {
        "trades_beta": ("trades_beta", settings.trades_beta),
        "target_sparsity": ("target_sparsity", settings.target_sparsity),
        "prune_until": ("pruning_steps", _pruning_steps(settings, total_steps)),
        "prune_updates": ("pruning_updates", settings.prune_updates),
        "granularity": ("granularity", settings.granularity),
    }
    return dict(arguments[name] for name in method.takes)
