"""Averages of the weights over the steps: what they are worth is the network that has them."""

import collections

import keras
import tensorflow as tf

from anp_tf.layers import given_masks, seed_states
from anp_tf.layers.many_masks import inference_masks
from anp_tf.methods.draws import seeds
from anp_tf.models.graph import graph_of


class WeightAverages:
    """Exponential averages of weights, which take the weights' place for a while.

    In their place statistics of batch normalization are those of other weights: they are set to 0,
    filled by forward passes in training, and divided by what such means have reached by then. Those
    of layers that are not trainable, which training leaves alone, stay as they are.

    Args:
        network: Functional `keras.Model` of the weights.
        weights: List of its trainable variables that are averaged.
        decay: Float in (0, 1), share of the average that a step keeps; less in the first steps, so
            that the start is forgotten: (1 + step) / (10 + step).

    Attributes:
        variables: List of Keras variables, the averages. A checkpoint must hold them.
    """

    def __init__(self, network, weights, decay):
        self.weights, self.decay = weights, decay
        self.variables = [
            keras.Variable(
                weight.numpy(),
                trainable=False,
                dtype=weight.dtype,
                name=f"{weight.name}_average",
                aggregation="mean",
                autocast=False,
            )
            for weight in weights
        ]
        self.normalizations = [
            layer
            for layer in network._flatten_layers(include_self=False)
            if isinstance(layer, keras.layers.BatchNormalization)
        ]
        self._seeds = seed_states(network)  # from which layers draw in the passes for statistics
        self._calls = collections.Counter(node.layer for node in graph_of(network).nodes)
        self._own = []  # pairs of a variable and its value, while averages are in their place

    def update(self, step):
        """Follows the weights after a step; `step` is the number of those before."""
        step = tf.cast(step, tf.float32)
        rate = 1.0 - tf.minimum(self.decay, (1.0 + step) / (10.0 + step))
        for average, weight in zip(self.variables, self.weights, strict=True):
            average.assign(average + tf.cast(rate, average.dtype) * (weight - average))

    def of(self, weight):
        """The average of one of the weights."""
        return next(a for w, a in zip(self.weights, self.variables, strict=True) if w is weight)

    def use(self, run):
        """Puts the averages in the weights' place; does nothing where they are in it.

        Args:
            run: Function that runs the network in training mode, and returns how many times.
        """
        if self._own:
            return
        # With a momentum of 1 the statistics stay as they are.
        normalizations = [
            layer for layer in self.normalizations if layer.trainable and layer.momentum < 1
        ]
        statistics = [
            v for layer in normalizations for v in (layer.moving_mean, layer.moving_variance)
        ]
        self._own = [(v, v.numpy()) for v in [*self.weights, *statistics, *self._seeds]]
        for weight, average in zip(self.weights, self.variables, strict=True):
            weight.assign(average)
        if not statistics:
            return
        for variable in statistics:
            variable.assign(tf.zeros_like(variable.value))
        try:
            count = run()
        except BaseException:
            self.put_back()
            raise
        if not count:
            self.put_back()
            raise ValueError("Argument `batches` must have batches of images. Received: none")
        for layer in normalizations:
            # One that is inside another layer is in no call of the graph, and taken as called once.
            reached = 1.0 - layer.momentum ** (count * max(1, self._calls[layer]))
            for variable in (layer.moving_mean, layer.moving_variance):
                variable.assign(variable / reached)

    def check_out_of_place(self):
        """Raises a ValueError while the averages are in the weights' place."""
        if self._own:
            raise ValueError(
                "The averages are in the weights' place, by `use_averages`. Expected a call of "
                "`use_weights` before training, `save_weights` and `load_weights`"
            )

    def put_back(self):
        """Puts back what was there before; does nothing where it is in place."""
        for variable, value in self._own:
            variable.assign(value)
        self._own = []


class StatisticsPasses:
    """Runs training images in training mode, attacked as in training, with the masks of inference.

    Args:
        model: `TrainingModel`.

    Call arguments:
        batches: Iterable of `(pixels, labels)`, as `fit` takes them.

    Returns:
        Integer, how many times the network was run.
    """

    def __init__(self, model):
        self.model = model
        self._run = tf.function(self._passes)

    def __call__(self, batches):
        return sum(int(self._run(data, tf.constant(index))) for index, data in enumerate(batches))

    def _passes(self, data, index):
        model = self.model
        batch, fixed = model.read(data), inference_masks(model.masks)
        images = [batch.pixels] if model.clean_share() else []
        if model.attack is not None:
            seed, _ = seeds(model.seed, -2 - index)
            step = model.optimizer.iterations
            images.append(model.training_attack(batch.pixels, batch.labels, fixed, seed, step))
        with given_masks(fixed):
            for each in images:
                model.network(each, training=True)
        return len(images)
