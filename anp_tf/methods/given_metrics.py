"""The metrics that are given to `compile`, of the clean and of the adversarial outputs."""

import keras
import tensorflow as tf

OF_EVERY_METHOD = ("accuracy", "acc")


class GivenMetrics:
    """Two of each metric: of the clean outputs, and `adversarial_…` of the adversarial ones.

    Args:
        metrics: List of Keras metrics, their names or functions `(targets, logits)`, or None;
            `"accuracy"` is left out, since methods have it.
        weighted_metrics: List likewise, of metrics that weigh the examples as the loss does;
            `"accuracy"` is named `weighted_accuracy`, as by Keras beside one that does not weigh.
        taken: Names that metrics must not have.

    Attributes:
        all: List of `keras.Metric`s.

    Raises:
        ValueError: if one is no metric, or has the name of another one.
    """

    def __init__(self, metrics, weighted_metrics, taken):
        self._triples = []  # of clean outputs, of adversarial ones, whether weighted
        for given, weighted in ((metrics, False), (weighted_metrics, True)):
            for metric in keras.tree.flatten(given or []):
                if metric not in OF_EVERY_METHOD:
                    self._triples.append((*_pair(metric), weighted))
                elif weighted:
                    names = "weighted_accuracy", "adversarial_weighted_accuracy"
                    self._triples.append((*_wrapped(_correct, *names), weighted))
        self.all = [metric for *pair, _ in self._triples for metric in pair]
        names = [*taken, *(metric.name for metric in self.all)]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(
                    f"Argument `metrics`: the name {name!r} is taken; give the metric another "
                    "name=. The methods have the names " + ", ".join(taken)
                )

    def update(self, targets, clean, adversarial, weights):
        """Takes a batch in.

        Args:
            targets: Tensor [batch, ...], labels as `fit` was given them.
            clean, adversarial: Tensors [batch, classes], logits, or those of the first examples;
                None where there are none.
            weights: Tensor [batch] or None.
        """
        for *pair, weighted in self._triples:
            for metric, logits in zip(pair, (clean, adversarial), strict=True):
                if logits is not None:
                    count = tf.shape(logits)[0]
                    of_these = weights[:count] if weighted and weights is not None else None
                    metric.update_state(targets[:count], logits, of_these)

    def results(self, clean, adversarial):
        """Dict of the results, of clean or adversarial outputs, or both, as the booleans say."""
        chosen = [
            metric
            for *pair, _ in self._triples
            for metric, there in zip(pair, (clean, adversarial), strict=True)
            if there
        ]
        return {metric.name: metric.result() for metric in chosen}


def _pair(given):
    """The metric of the clean outputs, and that of the adversarial ones."""
    try:
        metric = keras.metrics.get(given)
        if not isinstance(metric, keras.Metric):
            name = given if isinstance(given, str) else metric.__name__
            return _wrapped(metric, name, f"adversarial_{name}")
        config = {**metric.get_config(), "name": f"adversarial_{metric.name}"}
        return metric, type(metric).from_config(config)
    except (TypeError, ValueError, AttributeError, NotImplementedError) as error:
        raise ValueError(
            "Argument `metrics` must have Keras metrics with a `get_config`, their names or "
            f"functions. Received: {given!r} ({error})"
        ) from error


def _wrapped(function, *names):
    return [keras.metrics.MeanMetricWrapper(function, name=name) for name in names]


def _correct(targets, logits):
    """Which examples are classified correctly, by labels that are integers or one-hot."""
    one_hot = targets.shape.rank == 2 and targets.shape[-1] == logits.shape[-1]
    kind = "categorical" if one_hot else "sparse_categorical"
    return getattr(keras.metrics, f"{kind}_accuracy")(targets, logits)
