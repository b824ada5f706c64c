"""What Keras users know of a model that is trained: `compile`, `fit`, `save`, its metrics."""

import keras

from anp_tf.methods.checks import check_compile_arguments


class NetworkTrainer(keras.Model):
    """A `keras.Model` that trains another one, `network`, with one or two optimizers.

    Subclasses set `network`, `weight_variables`, `mask_variables` and `means`, a dict of metrics.
    """

    mask_optimizer = None

    def compile(self, optimizer="adam", mask_optimizer=None, **kwargs):
        """As `keras.Model.compile`, with a second optimizer for the masks.

        Args:
            optimizer: Keras optimizer of the weights.
            mask_optimizer: Keras optimizer of the masks' parameters, not the same object; needed
                by methods with masks.
            **kwargs: As `keras.Model.compile`, but for losses and metrics, which are the
                method's, and loss scaling. `jit_compile` is off unless asked for.

        Raises:
            ValueError: if the method has masks and `mask_optimizer` is missing or is `optimizer`,
                or if an argument is not supported.
        """
        check_compile_arguments(kwargs)
        kwargs = {"jit_compile": False, **kwargs, "auto_scale_loss": False}
        super().compile(optimizer=optimizer, **kwargs)
        # Built here, inside the strategy's scope: Keras would build only `optimizer`, and with the
        # masks' variables among the others.
        self.optimizer.build(self.weight_variables)
        if self.mask_variables:
            if mask_optimizer is None or mask_optimizer is self.optimizer:
                raise ValueError(
                    f"Method {type(self).__name__} needs an optimizer of its own for the masks. "
                    f"Received: mask_optimizer={mask_optimizer}"
                )
            self.mask_optimizer = keras.optimizers.get(mask_optimizer)
            self.mask_optimizer.build(self.mask_variables)

    def fit(self, *args, callbacks=None, **kwargs):
        """As `keras.Model.fit`, with the method's own callbacks before the given ones."""
        if not isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks = [*self.callbacks(), *(callbacks or [])]
        return super().fit(*args, callbacks=callbacks, **kwargs)

    def callbacks(self):
        """The callbacks that the method needs; a `CallbackList` given to `fit` must have them."""
        return []

    @property
    def metrics(self):
        return list(self.means.values())

    def call(self, inputs, training=False):
        return self.network(inputs, training=training)

    def save(self, *args, **kwargs):
        """Not supported: what was trained is `network`, which saves and loads as any Keras model.

        Raises:
            ValueError: always.
        """
        raise ValueError("A training model is not saved; save its network: `model.network.save(…)`")

    def _maybe_symbolic_build(self, *args, **kwargs):
        """Nothing is left to build; and over several workers Keras's way of building fails."""
