"""What every Bayesian mask is: a random factor per unit in training, a fixed one in inference."""

import contextlib
import threading

import keras
import numpy as np
import tensorflow as tf

from anp_tf.arguments import check, check_number
from anp_tf.layers.nested import nested_layers

_local = threading.local()


@contextlib.contextmanager
def given_masks(masks):
    """Within the block, mask layers use these masks in place of their own.

    That is how several forward passes share one draw, how a draw is repeated for the clean and the
    adversarial half of a batch, and how an attack loop gets by without computing the expected masks
    anew at each step. In a `tf.function` it acts while the function is traced.

    Args:
        masks: Dict from mask layer to its mask, float32 of shape [units] or [batch, units].
    """
    outer = getattr(_local, "masks", {})
    masks = {layer: tf.convert_to_tensor(mask, tf.float32) for layer, mask in masks.items()}
    _local.masks = {**outer, **masks}
    try:
        yield
    finally:
        _local.masks = outer


class BayesianMask(keras.layers.Layer):
    """Base class of masks that are learned as distributions, one factor per unit.

    A unit is one index of the last axis: a channel of a convolution, an input of a dense layer. A
    subclass creates its variables in `build` (after `super().build(input_shape)`, by
    `add_unit_weight`) and implements

    - `sample(batch_size, seed)`: masks for training, float32 [batch_size, units];
    - `expected()`: the mask for inference, float32 [units], exactly 0 where a unit is pruned;
    - `kl()`: the divergence of the posterior from the prior, a scalar, summed over the units.

    The mask is float32 whatever the layer's dtype policy, and is cast where it multiplies. A layer
    that is called several times in a model draws, and adds its divergence, at each call; within
    `given_masks`, and so in the training models of `anp_tf.methods`, all calls share a mask.

    Args:
        kl_weight: Float, at least 0. In training, `kl_weight * kl()` is added to the model's loss;
            1/N for N training examples is the evidence lower bound. With 0, nothing is added: the
            training model of `anp_tf.methods` weighs the divergence itself.
        seed: Optional integer, for reproducible draws.

    Attributes:
        may_be_negative: Boolean. A subclass whose `expected` is never below 0 sets it to False:
            more networks can then be attacked and trained at the size that slimming leaves.

    Call arguments:
        inputs: Tensor [batch, ..., units].
        training: Boolean; draw a mask per example, or multiply by the expected mask.
    """

    may_be_negative = True

    def __init__(self, kl_weight=0.0, seed=None, **kwargs):
        super().__init__(**kwargs)
        check_number("kl_weight", kl_weight, lambda v: v >= 0, "a number of at least 0")
        self.kl_weight = kl_weight
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.supports_masking = True

    def build(self, input_shape):
        units = input_shape[-1]
        if units is None:
            raise ValueError(
                f"Layer `{self.name}` has a mask value per unit, so the last axis of its input "
                f"must be known. Received: input_shape={input_shape}"
            )
        self.units = units
        self.kept = self.add_unit_weight("kept", "ones", trainable=False)

    def add_unit_weight(self, name, initializer, **kwargs):
        """Adds a variable [units], float32 whatever the dtype policy."""
        return self.add_weight(
            name=name,
            shape=(self.units,),
            initializer=initializer,
            dtype="float32",
            autocast=False,
            **kwargs,
        )

    def sample(self, batch_size, seed):
        """Training-time masks [batch_size, units]; `seed` is a stateless seed, int32 [2]."""
        raise NotImplementedError(f"{type(self).__name__} must implement `sample`.")

    def expected(self):
        """The inference mask [units] before `prune`, exactly 0 where a unit is pruned."""
        raise NotImplementedError(f"{type(self).__name__} must implement `expected`.")

    def kl(self):
        """Divergence of the posterior from the prior, a float32 scalar in nats."""
        raise NotImplementedError(f"{type(self).__name__} must implement `kl`.")

    def training_mask(self, batch_size, seed):
        """`sample`, without the units that were cut by `prune`: float32 [batch_size, units]."""
        return self.sample(batch_size, seed) * self.kept

    def inference_mask(self):
        """`expected`, without the units that were cut by `prune`: float32 [units]."""
        self._check_built()
        return self.expected() * self.kept

    def present_mask(self):
        """The mask that `given_masks` gives, [units] or [batch, units]; else `inference_mask`."""
        mask = self.given_mask()
        return self.inference_mask() if mask is None else mask

    def given_mask(self):
        """The mask that `given_masks` gives, [units] or [batch, units]; None if it gives none."""
        return getattr(_local, "masks", {}).get(self)

    def active_units(self):
        """Boolean tensor [units]: which units are not pruned."""
        return tf.not_equal(self.inference_mask(), 0.0)

    def prune(self, units):
        """Cuts units for good, besides those the posterior prunes.

        Args:
            units: Integer, or sequence of integers in [0, units), the units to cut.

        Raises:
            ValueError: if a unit is not an integer or does not exist, or if the layer is not built.
        """
        self._check_built()
        try:
            cut = np.atleast_1d(np.asarray(units))
        except ValueError:  # of sequences of several lengths
            cut = np.array([None])
        there = cut.dtype.kind in "iu" and np.all((cut >= 0) & (cut < self.units))
        expected = f"integers from 0 to {self.units - 1}, the units of layer `{self.name}`"
        check("units", units, not cut.size or there, expected)
        kept = np.array(self.kept)
        kept[cut.astype(np.int64)] = 0.0
        self.kept.assign(kept)

    def _check_built(self):
        if not self.built:
            raise ValueError(f"Layer `{self.name}` has no units yet: build the model first.")

    def _check_inputs(self, inputs):
        shape, dtype = tf.TensorShape(inputs.shape), tf.as_dtype(inputs.dtype)
        several = shape.rank is not None and shape.rank >= 2
        if not dtype.is_floating or not several or shape[-1] not in (None, self.units):
            raise ValueError(
                f"Layer `{self.name}` masks floats [batch, ..., {self.units}] of a known rank. "
                f"Received: {dtype.name} of shape {shape}"
            )

    def call(self, inputs, training=False):
        self._check_inputs(inputs)
        if training and self.kl_weight > 0:
            self.add_loss(self.kl_weight * self.kl())
        mask = self.given_mask()
        if mask is None:
            if training:
                seed = tf.cast(self.seed_generator.next(), tf.int32)
                mask = self.training_mask(tf.shape(inputs)[0], seed)
            else:
                mask = self.inference_mask()
        if mask.shape.rank == 2:
            shape = [-1] + [1] * (inputs.shape.rank - 2) + [self.units]
            mask = tf.reshape(mask, shape)
        return inputs * tf.cast(mask, inputs.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def compute_output_spec(self, inputs, training=False):
        if self.built:
            self._check_inputs(inputs)
        return super().compute_output_spec(inputs, training=training)

    def get_config(self):
        return {**super().get_config(), "kl_weight": self.kl_weight, "seed": self.seed}


def made_mask(make, name):
    """The mask layer of a name; a ValueError if what is to make it is none that makes layers.

    Args:
        make: Function `name -> mask layer`, such as the class of a mask.
        name: String.
    """
    valid = callable(make) and not isinstance(make, keras.layers.Layer)
    check("mask", make, valid, "a function `name -> mask layer`, or the class of a mask")
    return make(name=name)


def mask_layers(model):
    """The Bayesian masks of a model, nested models included, in the order of its layers."""
    return [layer for layer in nested_layers(model) if isinstance(layer, BayesianMask)]
