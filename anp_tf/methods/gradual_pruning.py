"""What the methods that prune by magnitude share: when they prune, and that zeros stay zero."""

import keras
import numpy as np
import tensorflow as tf

from anp_tf.arguments import check, check_count, check_number
from anp_tf.methods.penalties import is_kernel
from anp_tf.methods.training_model import TrainingModel


class GradualPruning(TrainingModel):
    """Adversarial training that prunes at evenly spaced steps, and trains what is left on.

    Subclasses implement `prune`. What it cuts, by zeros in `kept`, stays zero: the weights are set
    to zero after each step, by a callback that `fit` adds.

    Args:
        target_sparsity: Float in [0, 1), share of the kernels' weights to be cut in the end.
        pruning_steps: Integer, at least 1; the step after which all is cut.
        pruning_updates: Integer, at least 1; how many times `prune` is called up to then.
    """

    uses_attack = True
    takes: tuple[str, ...] = ("target_sparsity", "prune_until", "prune_updates")

    def __init__(self, *args, target_sparsity=0.8, pruning_steps=1, pruning_updates=1, **kwargs):
        super().__init__(*args, **kwargs)
        check_number("target_sparsity", target_sparsity, lambda v: 0 <= v < 1, "a share in [0, 1)")
        self.target_sparsity = target_sparsity
        self.pruning_steps = check_count("pruning_steps", pruning_steps)
        self.pruning_updates = min(
            check_count("pruning_updates", pruning_updates), self.pruning_steps
        )
        self.kernels = list(filter(is_kernel, self.weight_variables))
        self.kept = [state_variable(1.0, kernel.shape, "kept") for kernel in self.kernels]
        self.updates = state_variable(0.0, (), "updates")

    def compile(self, *args, steps_per_execution=1, **kwargs):
        """As `TrainingModel.compile`; weights are cut after each step, so that one runs at a time.

        Raises:
            ValueError: as there, and if `steps_per_execution` is not 1.
        """
        is_1 = steps_per_execution == 1
        check(
            "steps_per_execution", steps_per_execution, is_1, "1: weights are cut after each step"
        )
        super().compile(*args, **kwargs)

    def prune(self, update):
        """The `update`-th pruning, from 1 to `pruning_updates`; it may set `kept`."""
        raise NotImplementedError(f"{type(self).__name__} must implement `prune`.")

    def callbacks(self):
        return [*super().callbacks(), _Pruning()]

    def state_variables(self):
        return [*super().state_variables(), self.updates, *self.kept]

    def cut(self):
        """Sets the weights that are not kept to zero, and their averages."""
        for kernel, kept in zip(self.kernels, self.kept, strict=True):
            kept = tf.cast(kept, kernel.dtype)
            kernel.assign(kernel * kept)
            if self.averages:
                average = self.averages.of(kernel)
                average.assign(average * kept)

    def pruned_shares(self, fixed):
        total = sum(int(np.prod(kept.shape)) for kept in self.kept)
        left = keras.ops.sum([keras.ops.sum(kept) for kept in self.kept])
        return {**super().pruned_shares(fixed), "weight_sparsity": 1.0 - left / total}


class _Pruning(keras.callbacks.Callback):
    """Prunes when it is due, and keeps cut weights at zero.

    On the host and after the step, since variables of several replicas are assigned there.
    """

    def on_train_batch_end(self, batch, logs=None):
        model = self.model
        step, done = int(model.optimizer.iterations.numpy()), int(model.updates.numpy())
        due = step * model.pruning_updates // model.pruning_steps
        for update in range(done + 1, min(due, model.pruning_updates) + 1):
            model.prune(update)
            model.updates.assign(update)
        if int(model.updates.numpy()):  # also after a `compile`, with which steps count from 0
            model.cut()


def state_variable(value, shape, name):
    """A variable of the method, filled with a value or a tensor; a checkpoint must hold it."""
    variable = keras.Variable(
        "zeros", shape=shape, trainable=False, dtype="float32", name=name, autocast=False
    )
    variable.assign(tf.broadcast_to(tf.cast(tf.convert_to_tensor(value), tf.float32), shape))
    return variable
