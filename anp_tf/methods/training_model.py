"""The model that `fit` trains: a network, an attack, and a method's two losses."""

import logging
import math

import keras
import tensorflow as tf

from anp_tf.attacks import PGD
from anp_tf.layers import bayes_layers, given_masks, mask_layers
from anp_tf.losses import l2_decay
from anp_tf.methods.attacked_network import AttackedNetwork
from anp_tf.methods.averages import WeightAverages
from anp_tf.methods.checks import check_finite, check_network, unpack
from anp_tf.methods.follow_pruning import FollowPruning
from anp_tf.methods.forward import ATTACKED, ATTACKED_ALONE, CLEAN, Forward
from anp_tf.methods.network_trainer import NetworkTrainer
from anp_tf.methods.replicas import average, for_fit, per_replica
from anp_tf.methods.terms import Terms
from anp_tf.methods.training_attack import TrainingAttack, warmed
from anp_tf.pruning.groups import left_out
from anp_tf.pruning.units import cut_to_share
from anp_tf.pruning.view import SlimView

log = logging.getLogger(__name__)


class TrainingModel(NetworkTrainer):
    """Trains a network by a method: `compile` with one or two optimizers, then `fit`.

    A step perturbs the batch against the network in inference mode, runs the clean and the
    adversarial images through the network with one shared draw of the masks, and applies both
    gradients, of the weights' loss and of the masks' loss, taken at the same point.

    Subclasses implement `objective` and say what they need: by `uses_attack`, `uses_masks` (and
    `learns_masks`, where these are distributions), `uses_random_weights`, `suppresses` (the
    vulnerability) and `compares` (clean and adversarial predictions); by `default_beta` what
    the command line takes where no beta is given; by `starts_from` the method whose network they
    start from; by `attack_class` the attack they are defined with. All randomness is a function of
    `seed` and the number of steps done.

    Args:
        network: Functional `keras.Model` from pixels [batch, ...] in [0, 1] to logits.
        num_examples: Integer, size of the training set: the N of beta KL / N.
        attack: `anp_tf.attacks` object for training; None for methods without one.
        validation_attack: The attack of `evaluate` and of `fit`'s validation; None to validate on
            clean images only.
        adversarial_weight: Float, w: the adversarial loss counts w times the clean one; infinite:
            it counts alone, and clean images are run only where the method needs them otherwise.
        label_smoothing: Float in [0, 1), of the losses in training.
        beta: Float, at least 0; weight of the divergence of the masks or the random weights.
        kl_weights: Sequence of floats, a factor of the divergence of each mask, in the order of
            `mask_layers`; None: 1 for all.
        vulnerability_weight: Float, at least 0; lambda, weight of the vulnerability.
        weight_decay: Float, at least 0; coefficient of half the squared weights.
        decayed: Which weights decay: `"all"`, or `"kernels"`, those of more than one axis.
        average_decay: Float in [0, 1); if above 0, `averages` of the weights are kept, which keep
            this share of themselves at each step.
        epsilon_warmup_steps: Integer; the attack grows linearly from 0 over so many steps.
        attack_growth: Pair of integers, or None. (k, n): the attack has k steps at first, and grows
            linearly to its own number over n training steps, in steps that cover the same way.
        last_attack: Pair of an integer and an attack, or None. (k, attack): from training step k on
            this attack takes the place of `attack`.
        kl_warmup_steps: Integer; beta grows linearly from 0 over so many steps.
        mask_freeze_step: Integer; from this step on the masks are those of inference, and a rate of
            0 is to keep them so: the weights are tuned to the network that will be used. `fit`
            then trains them through the slimmed network, which computes the same at less cost.
            None: never. The attack runs on the slimmed network all the time.
        latents: Sequence of the names of the layers whose outputs are the latent features; None:
            those that end in an activation (`anp_tf.models.with_latents`).
        fix_sparsity: Float in [0, 1), share of the units that are pruned, at least, when the masks
            are fixed: by `anp_tf.pruning.cut_to_share`.
        seed: Integer.

    Raises:
        ValueError: if the network is not one from images to logits, if the vulnerability counts and
            there are no latent features, if the method needs an attack, masks or random weights and
            has none, if it has masks or random weights and needs none, or if a layer adds its
            divergence to the loss by itself.
    """

    uses_attack = False
    uses_masks = False
    learns_masks = False
    suppresses = False
    uses_random_weights = False
    compares = False
    default_beta = 0.0
    starts_from = None
    attack_class = PGD

    def __init__(
        self,
        network,
        num_examples,
        attack=None,
        validation_attack=None,
        adversarial_weight=2.0,
        label_smoothing=0.0,
        beta=1.0,
        kl_weights=None,
        vulnerability_weight=0.0,
        weight_decay=1e-4,
        decayed="all",
        average_decay=0.0,
        epsilon_warmup_steps=0,
        attack_growth=None,
        last_attack=None,
        kl_warmup_steps=0,
        mask_freeze_step=None,
        latents=None,
        fix_sparsity=0.0,
        seed=0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_network(type(self), network, attack)
        self.masks = mask_layers(network)
        for row in left_out(network) if self.masks else ():
            log.warning("no mask for %s", row)
        random_weights = bayes_layers(network)
        self.network = network
        suppresses = self.suppresses and vulnerability_weight > 0
        self.forward = Forward(network, latents, suppresses, label_smoothing)
        self.attacked = AttackedNetwork(network)
        self.num_examples = num_examples
        self.attack = attack if self.uses_attack else None
        self.validation_attack = validation_attack
        self.adversarial_weight = adversarial_weight
        self.beta = beta
        self.kl_weights = [1.0] * len(self.masks) if kl_weights is None else list(kl_weights)
        if len(self.kl_weights) != len(self.masks):
            raise ValueError(
                "Argument `kl_weights` must have a factor for each mask. "
                f"Received: kl_weights={kl_weights} for {len(self.masks)} masks"
            )
        self.vulnerability_weight = vulnerability_weight
        self.weight_decay = weight_decay
        # Layers with a divergence, and the factor it counts by.
        self.divergent = [(layer, 1.0) for layer in random_weights]
        if self.learns_masks:
            self.divergent += list(zip(self.masks, self.kl_weights, strict=True))
        self.epsilon_warmup_steps = epsilon_warmup_steps
        self.kl_warmup_steps = kl_warmup_steps
        self.mask_freeze_step = mask_freeze_step
        self.fix_sparsity = fix_sparsity
        self.seed = seed
        self.mask_variables = [v for mask in self.masks for v in mask.trainable_variables]
        of_masks = {id(variable) for variable in self.mask_variables}
        self.weight_variables = [v for v in network.trainable_variables if id(v) not in of_masks]
        self.decayed = [v for v in self.weight_variables if decayed == "all" or len(v.shape) > 1]
        self.averages = None
        if average_decay:
            self.averages = WeightAverages(network, self.weight_variables, average_decay)
        self.training_attack = TrainingAttack(
            self.attack, self.attacked, epsilon_warmup_steps, attack_growth, last_attack
        )
        self.noise = self.training_attack.noise
        # Of batch normalization; each replica would keep its own.
        self.statistics = [
            v for v in network.non_trainable_variables if keras.backend.is_float_dtype(v.dtype)
        ]
        self.means = {**self.forward.means, "kl": keras.metrics.Mean(name="kl")}
        self._statistics_function = None
        self.built = True

    def objective(self, terms):
        """The losses of the weights and of the masks (None without masks), from `Terms`."""
        raise NotImplementedError(f"{type(self).__name__} must implement `objective`.")

    def mixed_loss(self, terms):
        """(CE(x) + w CE(x')) / (1 + w); CE(x') for an infinite w."""
        w = self.adversarial_weight
        if math.isinf(w):
            return terms.adversarial_loss
        return (terms.clean_loss + w * terms.adversarial_loss) / (1.0 + w)

    def suppression(self, terms):
        """lambda V; 0 where lambda is, and V need not be known."""
        if not self.vulnerability_weight:
            return 0.0
        return self.vulnerability_weight * terms.vulnerability

    def callbacks(self):
        return [FollowPruning()] if self.masks else []

    def slim(self):
        """From here on trains through the slimmed network: the masks must not change any more.

        Before that units are cut, as far as `fix_sparsity` asks for.
        """
        if self.fix_sparsity:
            cut_to_share(self.network, self.fix_sparsity)
        try:
            view = SlimView(self.network)
            self.forward.slim(view)
        except ValueError as error:
            log.warning("the network is trained at its full size: %s", error)
        else:
            self.attacked.view = view
            self.retrace()

    def retrace(self):
        """Has the steps of `fit` traced anew: the networks that they run have changed."""
        self.make_train_function(force=True)
        self.test_function = None
        self._statistics_function = None

    def use_averages(self, batches):
        """Puts the averages in the weights' place, with batch normalization's statistics of theirs.

        Args:
            batches: Iterable of `(pixels, labels)`, the training images for these statistics, which
                are attacked as in training.
        """
        if self._statistics_function is None:
            self._statistics_function = tf.function(self._statistics_passes)
        run = self._statistics_function
        self.averages.use(
            lambda: sum(
                int(run(x, tf.cast(y, tf.int32), tf.constant(index)))
                for index, (x, y) in enumerate(batches)
            )
        )

    def use_weights(self):
        """Puts the weights and their statistics back; does nothing where they are in place."""
        if self.averages.used:
            self.averages.put_back()

    def _statistics_passes(self, x, y, index):
        """Runs the images of a training step in training mode; the number of passes."""
        fixed = {mask: mask.inference_mask() for mask in self.masks}
        images = [x] if self._needs_clean() else []
        if self.attack is not None:
            seed, _ = self._seeds(-2 - index)
            images.append(self.training_attack(x, y, fixed, seed, self.optimizer.iterations))
        with given_masks(fixed):
            for each in images:
                self.network(each, training=True)
        return len(images)

    def state_variables(self):
        """Variables besides the network's and the optimizers' that a checkpoint must hold."""
        averages = self.averages.variables if self.averages else []
        return [*self.attacked.variables, *averages, *([] if self.noise is None else [self.noise])]

    def train_step(self, data):
        x, y = unpack(data)
        step = self.optimizer.iterations
        attack_seed, mask_seed = self._seeds(step)
        fixed = {mask: mask.inference_mask() for mask in self.masks}
        adversarial = None
        if self.attack is not None:
            adversarial = self.training_attack(x, y, fixed, attack_seed, step)
        with tf.GradientTape() as weight_tape, tf.GradientTape() as mask_tape:
            draws = self._draws(tf.shape(x)[0], mask_seed, step, fixed)
            terms = self._terms(x, adversarial, y, draws, step)
            weight_loss, mask_loss = self.objective(terms)
        pairs = [(self.optimizer, self.weight_variables, weight_tape, weight_loss)]
        if self.mask_variables:
            pairs.append((self.mask_optimizer, self.mask_variables, mask_tape, mask_loss))
        gradients = [
            per_replica(tape.gradient(loss, variables)) for _, variables, tape, loss in pairs
        ]
        with tf.control_dependencies([check_finite(gradients, weight_loss)]):
            for (optimizer, variables, _, _), group in zip(pairs, gradients, strict=True):
                optimizer.apply(group, variables)
        if self.averages:
            self.averages.update(self.optimizer.iterations - 1)
        average(self.statistics)
        return for_fit(self._logs(fixed))

    def test_step(self, data):
        x, y = unpack(data)
        fixed = {mask: mask.inference_mask() for mask in self.masks}
        adversarial = None
        if self.validation_attack is not None:
            seed, _ = self._seeds(-1)
            adversarial = self.attacked(self.validation_attack, x, y, fixed, seed=seed)
        self.forward(x, adversarial, y, fixed, training=False)
        names = CLEAN if adversarial is None else CLEAN + ATTACKED
        return for_fit({name: self.means[name].result() for name in names})

    def _draws(self, batch_size, seed, step, fixed):
        """The masks of a step: a draw each, or what they are `fixed` to."""
        draws = {
            mask: mask.training_mask(batch_size, tf.random.fold_in(seed, index))
            for index, mask in enumerate(self.masks)
        }
        if self.mask_freeze_step is None:
            return draws
        frozen = tf.cast(step, tf.int64) >= self.mask_freeze_step
        return {mask: tf.where(frozen, fixed[mask], draw) for mask, draw in draws.items()}

    def _needs_clean(self):
        """Whether a training step runs the clean images."""
        return (
            self.attack is None
            or (self.suppresses and self.vulnerability_weight > 0)
            or self.compares
            or not math.isinf(self.adversarial_weight)
        )

    def _terms(self, x, adversarial, y, draws, step):
        clean = x if self._needs_clean() else None
        passes = self.forward(clean, adversarial, y, draws, training=True)
        kl = tf.constant(0.0)
        for layer, factor in self.divergent:
            kl += factor * layer.kl()
        self.means["kl"].update_state(kl)
        kl_weight = self.beta / self.num_examples * warmed(step, self.kl_warmup_steps)
        decay = self.weight_decay * l2_decay(self.decayed)
        for variable in self.weight_variables:
            if variable.regularizer is not None:
                decay += variable.regularizer(variable)
        terms = (*passes, kl_weight * kl, decay)
        return Terms(*(None if term is None else tf.cast(term, tf.float32) for term in terms))

    def _seeds(self, step):
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        seed = tf.random.fold_in(tf.constant([self.seed, 0], tf.int32), step)
        return tf.unstack(tf.random.split(tf.random.fold_in(seed, replica), 2))

    def _logs(self, fixed):
        names = CLEAN if self._needs_clean() else ()
        if self.attack is not None:
            names += ATTACKED if names else ATTACKED_ALONE
        logs = {name: self.means[name].result() for name in names}
        logs["learning_rate"] = tf.convert_to_tensor(self.optimizer.learning_rate)
        if self.divergent:
            logs["kl"] = self.means["kl"].result()
        if self.masks:
            units = tf.concat(list(fixed.values()), 0)
            logs["sparsity"] = tf.reduce_mean(tf.cast(tf.equal(units, 0.0), tf.float32))
        if self.mask_optimizer is not None:
            logs["mask_learning_rate"] = tf.convert_to_tensor(self.mask_optimizer.learning_rate)
        return logs
