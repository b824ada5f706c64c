"""The model that `fit` trains: a network, an attack, and a method's two losses."""

import math
import typing
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from anp_tf.attacks import PGD
from anp_tf.layers import bayes_layers, seed_states
from anp_tf.layers.many_masks import inference_masks
from anp_tf.methods import checks
from anp_tf.methods.averages import StatisticsPasses, WeightAverages
from anp_tf.methods.bound_loss import Bound, BoundLoss
from anp_tf.methods.distillation import Distillation
from anp_tf.methods.draws import drawn_masks, seeds
from anp_tf.methods.forward import Forward
from anp_tf.methods.network_trainer import NetworkTrainer
from anp_tf.methods.penalties import Decay, Divergence
from anp_tf.methods.replicas import average, for_fit, moving_averages
from anp_tf.methods.schedule import Schedule
from anp_tf.methods.slimming import FollowPruning, Slimming
from anp_tf.methods.terms import Terms
from anp_tf.methods.training_attack import TrainingAttack, validation_attack_like
from anp_tf.pruning.units import cut_to_counts, cut_to_share


class TrainingModel(NetworkTrainer):
    """Trains a network by a method: `compile` with one or two optimizers, then `fit`.

    A step perturbs the batch against the network in inference mode, runs the clean and the
    adversarial images through the network with one shared draw of the masks, and applies both
    gradients, of the weights' loss and of the masks' loss, taken at the same point.

    Subclasses implement `objective`, and say by class attributes what they need. All randomness is
    a function of `seed` and the number of steps done.

    Args:
        network: Functional `keras.Model` from pixels [batch, ...] in [0, 1] to logits.
        num_examples: Integer, size of the training set: the N of beta KL / N.
        attack: `anp_tf.attacks` object for training; methods without one leave it unused.
        validation_attack: The attack of `evaluate` and of `fit`'s validation; None: clean images
            only. `"auto"`: PGD of 10 steps in the ball of `attack`, for methods with an attack.
        adversarial_weight: Float, w: the adversarial loss counts w times the clean one; infinite:
            it counts alone, and clean images are run only where the method needs them otherwise.
        label_smoothing: Float in [0, 1), of the losses in training.
        beta: Float, at least 0; weight of the divergence of the masks or the random weights.
        kl_weights: Sequence of floats, a factor of the divergence of each mask, in the order of
            `mask_layers`; None: 1 for all.
        vulnerability_weight: Float, at least 0; lambda, for methods that suppress vulnerability.
        vulnerability_share: Float in (0, 1]; where clean images are run for the vulnerability
            alone, the share of each batch it is estimated on.
        weight_decay: Float, at least 0; coefficient of half the squared weights.
        decayed: Which weights decay: `"all"`, or `"kernels"`, those of more than one
            axis but for biases and the scales and slopes of features.
        average_decay: Float in [0, 1); if above 0, `averages` of the weights are kept, which keep
            this share of themselves at each step.
        schedule: `Schedule`, what changes over the steps; None: nothing does.
        latents: Sequence of the names of the layers whose outputs are the latent features; None:
            those that end in an activation (`anp_tf.models.with_latents`).
        target_units: Sequence of integers, how many units each mask keeps, at most, when the masks
            are fixed: those of the highest expected masks. None: what the masks do not prune.
        bound: `Bound`, by which what can be proved counts in the losses; None: it does not.
        distillation: `Distillation`, by which a teacher's predictions are labels in training; None:
            those of the data set alone.
        seed: Integer of 32 bits.

    Raises:
        ValueError: if the network is not one from images to logits, if the vulnerability counts and
            there are no latent features, if the method needs an attack, masks or random weights and
            has none, if it has masks or random weights and needs none, if a layer adds its
            divergence to the loss by itself, or if an argument is out of its range.
    """

    uses_attack = False
    uses_masks = masks_are_optional = False
    learns_masks = False  # which are distributions then
    uses_random_weights = False
    suppresses = False  # the vulnerability
    compares = False  # clean and adversarial predictions
    default_beta = 0.0  # of the command line
    starts_from: str | None = None  # the method whose network is the start
    attack_class: type[PGD] = PGD  # with which the method is defined
    takes: tuple[str, ...] = ()  # options that no other method reads
    in_words = ""  # what it is, for reports

    def __init__(
        self,
        network: keras.Model,
        num_examples: int,
        attack: Callable[..., tf.Tensor] | None = None,
        validation_attack: Callable[..., tf.Tensor] | str | None = "auto",
        adversarial_weight: float = 2.0,
        label_smoothing: float = 0.0,
        beta: float = 1.0,
        kl_weights: Sequence[float] | None = None,
        vulnerability_weight: float = 0.0,
        vulnerability_share: float = 1.0,
        weight_decay: float = 1e-4,
        decayed: str = "all",
        average_decay: float = 0.0,
        schedule: Schedule | None = None,
        latents: Sequence[str] | None = None,
        target_units: Sequence[int] | None = None,
        bound: Bound | None = None,
        distillation: Distillation | None = None,
        seed: int = 0,
        **kwargs: typing.Any,
    ) -> None:
        checks.check_network(type(self), network, attack)
        checks.check_weights(adversarial_weight, beta, vulnerability_weight, weight_decay)
        checks.check_shares(label_smoothing, average_decay, vulnerability_share)
        checks.check_options(num_examples, validation_attack, decayed, seed)
        checks.check_records(schedule, bound, distillation)
        super().__init__(network, **kwargs)
        self.schedule = schedule or Schedule()
        self.attack = attack if self.uses_attack else None
        auto = validation_attack == "auto"
        self.validation_attack = validation_attack_like(self.attack) if auto else validation_attack
        self.num_examples = num_examples
        self.adversarial_weight = adversarial_weight
        self.beta = beta
        self.vulnerability_weight = vulnerability_weight
        self.vulnerability_share = vulnerability_share
        fixed = not self.learns_masks or self.schedule.mask_freeze_step is not None
        self.target_units = checks.checked_target_units(target_units, self.masks, fixed)
        self.seed = seed
        self.moving_averages = moving_averages(network)
        if average_decay:
            self.averages = WeightAverages(network, self.weight_variables, average_decay)
        divergent = [(layer, 1.0) for layer in bayes_layers(network)]
        factors = checks.checked_kl_weights(kl_weights, self.masks)
        divergent += zip(self.masks, factors, strict=True) if self.learns_masks else []
        self.divergence = Divergence(divergent, beta / num_examples, self.schedule.kl_warmup_steps)
        self.decay = Decay(self.weight_variables, weight_decay, decayed)
        self.forward = Forward(
            network, latents, self.needs_vulnerability(), label_smoothing, distillation
        )
        self.means = {**self.forward.means, "kl": self.divergence.mean}
        self.bound_loss = None
        if bound is not None and bound.weight:
            self.bound_loss = BoundLoss(network, bound)
            self.means.update(self.bound_loss.means)
        self.slimming = Slimming(network, [r for r in (self.forward, self.bound_loss) if r])
        self.training_attack = TrainingAttack(self.attack, self.slimming.attacked, self.schedule)
        self._saved = [*TrainingModel.state_variables(self), *seed_states(network)]  # by Keras
        self._statistics = StatisticsPasses(self)
        self.built = True

    def objective(self, terms):
        """The losses of a step, from `Terms`.

        Returns:
            Pair of scalars: the loss of the weights, and that of the masks, None where no mask is
            learned.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `objective`.")

    def mixed_loss(self, terms):
        """(CE(x) + w CE(x')) / (1 + w); CE(x') for an infinite w."""
        w = self.adversarial_weight
        if math.isinf(w):
            return terms.adversarial_loss
        return (terms.clean_loss + w * terms.adversarial_loss) / (1.0 + w)

    def suppression(self, terms):
        """lambda V. 0 if lambda is 0; V may then be None."""
        weight = self.vulnerability_weight
        return weight * terms.vulnerability if weight else 0.0

    def callbacks(self):
        return [*super().callbacks(), *([FollowPruning()] if self.masks else [])]

    def train_slimmed(self):
        """From here on trains through the slimmed network, and leaves the masks as they are.

        Before that units are cut, as far as is asked for.
        """
        self.cut_units()
        self.masks_stay = True
        self.slimming.train_slimmed()
        self.retrace()

    def cut_units(self):
        """Cuts units by their expected masks, by `target_units` or `fix_sparsity`."""
        if self.target_units:
            cut_to_counts(self.network, self.target_units)
        if self.schedule.fix_sparsity:
            cut_to_share(self.network, self.schedule.fix_sparsity)

    def retrace(self):
        """Has the steps of `fit` traced anew: the networks that they run have changed."""
        self.make_train_function(force=True)
        self.test_function = None
        self._statistics = StatisticsPasses(self)

    def use_averages(self, batches):
        """Puts the averages in the weights' place, with statistics of theirs, or leaves them there.

        Args:
            batches: Iterable of `(pixels, labels)`, as `fit` takes them: the training images for
                these statistics, which are attacked as in training.

        Raises:
            ValueError: if there are no averages or no batches.
        """
        if self.averages is None:
            raise ValueError("There are averages only with `average_decay` above 0. Received: 0")
        self.averages.use(lambda: self._statistics(batches))

    def use_weights(self):
        """Puts the weights and their statistics back; does nothing where they are in place."""
        if self.averages:
            self.averages.put_back()

    def state_variables(self):
        """Variables besides the network's and the optimizers' that a checkpoint must hold."""
        averages = self.averages.variables if self.averages else []
        return [*self.slimming.attacked.variables, *averages, *self.training_attack.variables]

    def train_step(self, data):
        batch = self.read(data)
        step = self.optimizer.iterations
        attack_seed, mask_seed = seeds(self.seed, step)
        fixed = inference_masks(self.masks)
        adversarial = None
        if self.attack is not None:
            adversarial = self.training_attack(batch.pixels, batch.labels, fixed, attack_seed, step)
        with tf.GradientTape() as weight_tape, tf.GradientTape() as mask_tape:
            draws = drawn_masks(fixed, batch.pixels, mask_seed, step, self.schedule)
            terms = self._terms(batch, adversarial, draws, step)
            losses = checks.checked_losses(self, self.objective(terms))
            if self.bound_loss is not None:
                loss = self.bound_loss(batch.pixels, batch.labels, draws, step, batch.weights)
                losses = self.bound_loss.mixed(losses, loss)
        self.apply_gradients((weight_tape, mask_tape), losses, batch.count)
        if self.averages:
            self.averages.update(self.optimizer.iterations - 1)
        average(self.moving_averages, batch.count)
        return for_fit(self._logs(fixed))

    def test_step(self, data):
        batch = self.read(data)
        fixed = inference_masks(self.masks)
        adversarial = None
        if self.validation_attack is not None:
            seed, _ = seeds(self.seed, -1)
            adversarial = self.slimming.attacked(
                self.validation_attack, batch.pixels, batch.labels, fixed, seed=seed
            )
        self._forward(batch, batch.pixels, adversarial, fixed, training=False)
        logs = self.shown(True, adversarial is not None)
        if self.bound_loss is not None:
            self.bound_loss.validate(batch.pixels, batch.labels, fixed, batch.weights)
            logs |= {name: mean.result() for name, mean in self.bound_loss.means.items()}
        return for_fit(logs)

    def _forward(self, batch, clean, adversarial, masks, training):
        """The passes of a batch, whose results go to the metrics."""
        passes = self.forward(clean, checks.checked_images(adversarial), batch, masks, training)
        _, clean_logits, _, adversarial_logits, _ = passes
        self.given_metrics.update(batch.targets, clean_logits, adversarial_logits, batch.weights)
        return passes

    def needs_vulnerability(self):
        """Whether the vulnerability counts in the losses."""
        return self.suppresses and self.vulnerability_weight > 0

    def clean_share(self):
        """Share of a batch's clean images that a training step runs."""
        if self.attack is None or self.compares or not math.isinf(self.adversarial_weight):
            return 1.0
        return self.vulnerability_share if self.needs_vulnerability() else 0.0

    def _terms(self, batch, adversarial, draws, step):
        clean = batch.first_pixels(self.clean_share())
        passes = self._forward(batch, clean, adversarial, draws, training=True)
        checks.check_own_losses(self.network)
        terms = (*passes, self.divergence(step), self.decay(), batch.weights)
        return Terms(*(None if term is None else tf.cast(term, tf.float32) for term in terms))

    def _logs(self, fixed):
        logs = self.shown(self.clean_share() > 0, self.attack is not None)
        logs["learning_rate"] = tf.convert_to_tensor(self.optimizer.learning_rate)
        if self.bound_loss is not None:
            logs["bound_loss"] = self.means["bound_loss"].result()
        if self.divergence.layers:
            logs["kl"] = self.means["kl"].result()
        logs |= self.pruned_shares(fixed)
        if self.mask_optimizer is not None:
            logs["mask_learning_rate"] = tf.convert_to_tensor(self.mask_optimizer.learning_rate)
        return logs

    def log_names(self, validated):
        names = list(self._logs(inference_masks(self.masks)))
        if validated:
            names += [f"val_{n}" for n in self.shown(True, self.validation_attack is not None)]
            names += [f"val_{n}" for n in (self.bound_loss.means if self.bound_loss else ())]
        return names
