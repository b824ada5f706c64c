"""Concurrent adversarial training and weight pruning, the row `admm`."""

import tensorflow as tf

from anp_tf.methods.gradual_pruning import GradualPruning, state_variable
from anp_tf.pruning.magnitude import largest

FIRST_RHO, RHO_GROWTH = 1e-3, 1.3


class ADMM(GradualPruning):
    """(CE(x) + w CE(x')) / (1 + w) + decay + sum (rho/2) |W - Z + U|^2 (Ye et al. 2019).

    At each update Z = Proj(W + U), the largest weights of each layer, U += W - Z, and rho grows. At
    the last the weights are pruned to the largest and trained on without the penalty.
    """

    in_words = "adversarial training, pruned by ADMM"
    starts_from = "at"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.rho = state_variable(FIRST_RHO, (), "rho")
        self.z = [state_variable(kernel, kernel.shape, "z") for kernel in self.kernels]
        self.u = [state_variable(0.0, kernel.shape, "u") for kernel in self.kernels]

    def objective(self, terms):
        distances = [
            tf.nn.l2_loss(tf.cast(w, tf.float32) - z + u)
            for w, z, u in zip(self.kernels, self.z, self.u, strict=True)
        ]
        penalty = self.rho * tf.add_n(distances)
        return self.mixed_loss(terms) + terms.decay + penalty, None

    def prune(self, update):
        share = 1.0 - self.target_sparsity
        if update == self.pruning_updates:
            for kernel, kept in zip(self.kernels, self.kept, strict=True):
                kept.assign(largest(kernel, share))
            self.rho.assign(0.0)
            return
        for w, z, u in zip(self.kernels, self.z, self.u, strict=True):
            shifted = tf.cast(w, tf.float32) + u
            z.assign(shifted * largest(shifted, share))
            u.assign(shifted - z)
        self.rho.assign(self.rho * RHO_GROWTH)

    def state_variables(self):
        return [*super().state_variables(), self.rho, *self.z, *self.u]
