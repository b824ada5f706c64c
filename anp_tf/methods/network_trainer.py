"""What Keras users know of a model that is trained: `compile`, `fit`, `save`, its metrics."""

import keras
import tensorflow as tf

from anp_tf.layers import mask_layers
from anp_tf.layers.many_masks import inference_masks
from anp_tf.methods.batch_reader import BatchReader, told
from anp_tf.methods.callback_checks import check_callbacks
from anp_tf.methods.checks import (
    EndNotFinite,
    check_compile_arguments,
    check_finite,
    check_optimizer,
    check_own_weights,
    check_trained,
)
from anp_tf.methods.forward import ATTACKED_ALONE_NAMES, ATTACKED_NAMES, CLEAN_NAMES
from anp_tf.methods.given_metrics import GivenMetrics
from anp_tf.methods.replicas import per_replica


class NetworkTrainer(keras.Model):
    """A `keras.Model` that trains another one, `network`, with one or two optimizers.

    Subclasses set `means`, a dict of metrics.

    Args:
        network: Functional `keras.Model`.

    Attributes:
        masks: List of the network's mask layers.
        mask_variables: List of those of the network's trainable variables that are masks'.
        weight_variables: List of the others.
        averages: `WeightAverages`, or None.
        masks_stay: Boolean, whether the masks are fixed, so that a step leaves them alone.
        left_out: `keras.metrics.Sum` of the steps whose gradients were not finite, under XLA.
    """

    def __init__(self, network, **kwargs):
        super().__init__(**kwargs)
        self.network = network
        self.masks = mask_layers(network)
        self.mask_variables = [v for mask in self.masks for v in mask.trainable_variables]
        of_masks = {id(variable) for variable in self.mask_variables}
        self.weight_variables = [v for v in network.trainable_variables if id(v) not in of_masks]
        self.read = BatchReader(network)
        self.given_metrics = GivenMetrics(None, None, ())
        self.mask_optimizer = None
        self.averages = None
        self.masks_stay = False
        self.left_out = keras.metrics.Sum(name="left_out")

    def compile(
        self,
        optimizer="adam",
        mask_optimizer=None,
        *,
        metrics=None,
        weighted_metrics=None,
        **kwargs,
    ):
        """As `keras.Model.compile`, with a second optimizer for the masks.

        Args:
            optimizer: Keras optimizer of the weights.
            mask_optimizer: Keras optimizer of the masks' parameters, not the same object; needed
                by methods with masks.
            metrics, weighted_metrics: Lists of Keras metrics of the logits, their names or
                functions. Each is shown of the clean outputs, by its name, and of the adversarial
                ones, as `adversarial_…`, beside the method's own.
            **kwargs: As `keras.Model.compile`, but for losses, which are the method's, and loss
                scaling. `jit_compile` is off unless asked for.

        Raises:
            ValueError: if the method has masks and `mask_optimizer` is missing or is `optimizer`,
                if an argument is not supported, such as an optimizer with averages, accumulated
                gradients or scaled losses, or if `trainable` of a layer has changed since the
                method was made.
        """
        check_compile_arguments(kwargs)
        check_trained(self)
        given_metrics = GivenMetrics(metrics, weighted_metrics, tuple(self.means))
        optimizer = keras.optimizers.get(optimizer)
        check_optimizer("optimizer", optimizer)
        if self.mask_variables:
            if mask_optimizer is None or mask_optimizer is optimizer:
                raise ValueError(
                    f"Method {type(self).__name__} needs an optimizer of its own for the masks. "
                    f"Received: mask_optimizer={mask_optimizer}"
                )
            mask_optimizer = keras.optimizers.get(mask_optimizer)
            check_optimizer("mask_optimizer", mask_optimizer)
        kwargs = {"jit_compile": False, **kwargs, "auto_scale_loss": False}
        super().compile(optimizer=optimizer, **kwargs)
        self.given_metrics = given_metrics
        # Built here, inside the strategy's scope: Keras would build only `optimizer`, and with the
        # masks' variables among the others.
        self.optimizer.build(self.weight_variables)
        if self.mask_variables:
            self.mask_optimizer = mask_optimizer
            self.mask_optimizer.build(self.mask_variables)

    def apply_gradients(self, tapes, losses, examples):
        """Applies the gradients of the weights' and of the masks' loss, taken at one point.

        The gradient of a variable that its loss does not depend on is 0. Masks that are fixed stay
        as they are. Where XLA compiles the step, and leaves the check out, gradients that are not
        finite are replaced by 0, and counted.

        Args:
            tapes: Pair of gradient tapes, of the weights and of the masks.
            losses: Pair of scalars; the second is not used without masks.
            examples: Integer, how many the losses are of: those of this replica.
        """
        optimizers = [(self.optimizer, self.weight_variables)]
        if self.mask_variables and not self.masks_stay:
            optimizers.append((self.mask_optimizer, self.mask_variables))
        gradients = [
            per_replica(tape.gradient(loss, variables), variables, optimizer, examples)
            for (optimizer, variables), tape, loss in zip(optimizers, tapes, losses, strict=False)
        ]
        checked = check_finite(gradients, losses[0])
        if self.jit_compile:
            finite = tf.math.is_finite(checked)
            self.left_out.update_state(tf.where(finite, 0.0, 1.0))
            gradients = keras.tree.map_structure(
                lambda part: tf.where(finite, part, tf.zeros_like(part)), gradients
            )
        with tf.control_dependencies([checked]):
            for (optimizer, variables), group in zip(optimizers, gradients, strict=True):
                optimizer.apply(group, variables)
            if not self.weight_variables:  # `apply` does not count a step of no variables
                self.optimizer.iterations.assign_add(1)

    def fit(
        self,
        x=None,
        y=None,
        batch_size=None,
        epochs=1,
        verbose="auto",
        callbacks=None,
        validation_split=0.0,
        validation_data=None,
        **kwargs,
    ):
        """As `keras.Model.fit`, with the method's own callbacks before the given ones.

        Pixels are floats in [0, 1] or uint8 of 0 to 255, labels integers or one-hot;
        `class_weight` and `sample_weight` weigh an example's part of all losses.

        Raises:
            ValueError: if pixels or labels are out of range; or before the first step, if a
                callback monitors what will not be there, a `ModelCheckpoint` cannot save, or a
                layer of the network adds a loss of its own, or averages are in the weights' place.
            FloatingPointError: if the loss, its gradient or that of the attack is not finite; the
                step has changed nothing then. With `jit_compile=True` the error comes after the
                epoch, and such a step moves the weights by the optimizer's momentum alone.
        """
        self._assert_compile_called("fit")
        check_own_weights(self)
        if not isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks = list(keras.tree.flatten(callbacks or []))
            if callbacks:
                validated = validation_data is not None or validation_split > 0
                check_callbacks(self, callbacks, self.log_names(validated))
            callbacks = [*self.callbacks(), *callbacks]
        kwargs.setdefault("shuffle", not isinstance(x, tf.data.Dataset))  # Keras would warn
        with told():
            return super().fit(
                x,
                y,
                batch_size,
                epochs,
                verbose,
                callbacks,
                validation_split,
                validation_data,
                **kwargs,
            )

    def evaluate(self, *args, **kwargs):
        """As `keras.Model.evaluate`, with images and labels as in `fit`.

        With `return_dict=True` each result has its name; `metrics_names` are those of `fit`, too.
        """
        with told():
            return super().evaluate(*args, **kwargs)

    def train_on_batch(self, *args, **kwargs):
        """As `keras.Model.train_on_batch`, with images and labels as in `fit`."""
        check_own_weights(self)
        with told():
            return super().train_on_batch(*args, **kwargs)

    def test_on_batch(self, *args, **kwargs):
        """As `keras.Model.test_on_batch`, with images and labels as in `fit`."""
        with told():
            return super().test_on_batch(*args, **kwargs)

    def log_names(self, validated):
        """List of what an epoch's logs have; `validated`: with validation."""
        raise NotImplementedError(f"{type(self).__name__} must implement `log_names`.")

    def callbacks(self):
        """The callbacks that the method needs; a `CallbackList` given to `fit` must have them."""
        return [EndNotFinite()] if self.jit_compile else []

    @property
    def metrics(self):
        return [*self.means.values(), *self.given_metrics.all]

    def shown(self, clean, adversarial):
        """Dict of what the metrics show of clean or adversarial images, as the booleans say."""
        names = CLEAN_NAMES if clean else ()
        if adversarial:
            names += ATTACKED_NAMES if clean else ATTACKED_ALONE_NAMES
        logs = {name: self.means[name].result() for name in names}
        return logs | self.given_metrics.results(clean, adversarial)

    def pruned_shares(self, fixed):
        """Dict of the shares that are pruned, for the logs; `fixed`: the masks of inference."""
        if not self.masks:
            return {}
        units = tf.concat(list(fixed.values()), 0)
        return {"sparsity": tf.reduce_mean(tf.cast(tf.equal(units, 0.0), tf.float32))}

    def call(self, inputs, training=False):
        return self.network(self.read.pixels(inputs), training=training)

    def save(self, *args, **kwargs):
        """Saves `network`, what was trained, as `keras.Model.save`: so do callbacks.

        `save_weights` keeps what training needs to go on, with the optimizers.
        """
        self.network.save(*args, **kwargs)

    def save_weights(self, *args, **kwargs):
        """As `keras.Model.save_weights`; a ValueError while averages are in the weights' place."""
        check_own_weights(self)
        super().save_weights(*args, **kwargs)

    def load_weights(self, *args, **kwargs):
        """As `keras.Model.load_weights`; a ValueError while averages are in the weights' place."""
        check_own_weights(self)
        super().load_weights(*args, **kwargs)

    def export(self, *args, **kwargs):
        """Exports `network`, as `keras.Model.export`."""
        self.network.export(*args, **kwargs)

    def _get_metrics_result_or_logs(self, logs):
        """The logs of an epoch: of all examples, where a step's are means of what replicas have
        seen, and with what was pruned after the last step."""
        results = {name: mean.result() for name, mean in self.means.items()}
        results |= self.given_metrics.results(True, True)
        results |= self.pruned_shares(inference_masks(self.masks))
        return logs | {name: value for name, value in results.items() if name in logs}

    def _maybe_symbolic_build(self, *args, **kwargs):
        """Nothing is left to build; and over several workers Keras's way of building fails."""
