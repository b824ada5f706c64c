"""The bounds of every tensor of a network."""

import dataclasses

import keras
import tensorflow as tf

from anp_tf.bounds.affine import Affine
from anp_tf.bounds.ball import Ball
from anp_tf.bounds.rule import UNITS, Interval, Rule, within_float32
from anp_tf.bounds.rules import rules_of
from anp_tf.models.graph import graph_of


@dataclasses.dataclass(frozen=True, eq=False)
class Step:
    """What a rule makes of some tensors.

    Attributes:
        rule: `Rule`.
        unit: Float, the unit roundoff of the layer's arithmetic.
        inputs: Tuple of the keys of the tensors that it reads.
        output: Key of what it makes.
    """

    rule: Rule
    unit: float
    inputs: tuple
    output: object


class BoundedNetwork:
    """The rules of a network's layers, in the order of its graph.

    Weights and masks are read when bounds are computed; within `given_masks` the given masks are.
    Outputs in float64 are those that they are in float32, in which networks are judged.

    Args:
        network: Built functional or Sequential `keras.Model` from pixels to outputs [batch, units].
        rounding: Boolean; False computes bounds in float32 that do not cover rounding, for
            training.

    Raises:
        ValueError: if a layer has no rule, if pixels or a layer's arithmetic are not float32 or
            float64, if a layer rounds its inputs, or if the network has several inputs or outputs.
    """

    def __init__(self, network, rounding=True):
        graph = graph_of(network)
        inputs, outputs = (keras.tree.flatten(each) for each in (graph.input, graph.output))
        if len(inputs) != 1 or len(outputs) != 1 or len(outputs[0].shape) != 2:
            raise ValueError(
                "Bounds are for networks from one tensor of pixels to one of shape "
                f"[batch, units]. Received: network={network.name!r} with inputs "
                f"{[tensor.shape for tensor in inputs]} and outputs "
                f"{[tensor.shape for tensor in outputs]}"
            )
        if rounding:
            _check_types(inputs[0], graph.nodes)
        self.dtype = tf.float64 if rounding else tf.float32
        self.input, self.output = id(inputs[0]), id(outputs[0])
        self.input_shape = inputs[0].shape[1:]
        self.units = outputs[0].shape[-1]
        self._unit = UNITS["float32"] if rounding else 0.0
        self._graph = graph  # keeps the tensors, and so their ids
        self.steps = []
        for node in graph.nodes:
            unit = UNITS[_computes_in(node)] if rounding else 0.0
            keys = tuple(id(tensor) for tensor in node.inputs)
            rules = rules_of(node)
            for index, rule in enumerate(rules):
                last = index == len(rules) - 1
                key = id(node.outputs[0]) if last else (id(node.outputs[0]), index)
                self.steps.append(Step(rule, unit, keys, key))
                keys = (key,)
        if rounding and outputs[0].dtype == "float64":
            cast = Affine(lambda x, absolute: x, terms=1)
            self.steps.append(Step(cast, self._unit, (self.output,), "outputs in float32"))
            self.output = "outputs in float32"

    def ball(self, x, epsilon, norm="linf"):
        return Ball(tf.cast(tf.convert_to_tensor(x), self.dtype), epsilon, norm, self._unit)

    def intervals(self, ball, change=lambda key, box: box):
        """Dict from each tensor's key to its `Interval`, layer by layer.

        Args:
            ball: `Ball`.
            change: Function of a key and an `Interval` to the one that takes its place.
        """
        boxes = {self.input: ball.box}
        for step in self.steps:
            boxes[step.output] = change(step.output, self._interval(step, boxes))
        return boxes

    def tight_intervals(self, ball, rows):
        """As `intervals`, but where a layer is not linear, by linear bounds of what it reads.

        Args:
            ball: `Ball`.
            rows: Integer, how many numbers of a tensor are bounded at a time.
        """
        boxes = {self.input: ball.box}
        flat = {self.input} if ball.norm == "linf" else set()  # linear in the pixels
        bent = set()  # made by layers whose own inputs have had lines
        for step in self.steps:
            if step.rule.linear:
                if flat.issuperset(step.inputs):
                    flat.add(step.output)
            else:
                for key in step.inputs:
                    if key not in flat and key not in bent:
                        boxes[key] = self._tightened(key, ball, boxes, rows)
                        bent.add(key)
                bent.add(step.output)
            boxes[step.output] = self._interval(step, boxes)
        return boxes

    def _interval(self, step, boxes):
        box = step.rule.interval(step.unit, *(boxes[key] for key in step.inputs))
        return within_float32(box) if step.unit else box

    def _tightened(self, key, ball, boxes, rows):
        box = boxes[key]
        shape = box.lower.shape[1:]
        size, batch = shape.num_elements(), tf.shape(box.lower)[0]

        def bound(places):
            ones = tf.one_hot(places, size, dtype=self.dtype)
            ones = tf.reshape(tf.concat([ones, -ones], 0), [1, -1, *shape])
            least = self.least(key, repeated(ones, batch), ball, boxes)
            return tf.stack(tf.split(least, 2, axis=1), -1)

        found = in_parts(bound, size, rows, tf.TensorSpec([None, None, 2], self.dtype))
        found = tf.reshape(found, tf.concat([[batch], shape, [2]], 0))
        lower, negative = tf.unstack(found, axis=-1)
        return Interval(tf.maximum(box.lower, lower), tf.minimum(box.upper, -negative))

    def least(self, key, coefficients, ball, boxes, lines=True, slopes=None, added=None):
        """Bounds linear functions of a tensor from below.

        Args:
            key: Key of the tensor.
            coefficients: Tensor [batch, rows, ...], the linear functions.
            ball: `Ball`.
            boxes: Dict from the keys of all tensors before to their `Interval`s.
            lines: Boolean; False: by lines up to the last layer that is not linear, and by its
                interval.
            slopes: Dict from `Step` to the slopes of its lines; those of the rules if it has none.
            added: Dict from the keys of tensors to linear functions of them, each a tensor [batch,
                rows, ...], that are added; or None.

        Returns:
            Tensor [batch, rows]; -inf where there is no bound.
        """
        finite = tf.constant(True)
        for box in boxes.values():
            finite &= _finite(box.lower, 1) & _finite(box.upper, 1)
        sound = finite[:, tf.newaxis]
        constant = tf.zeros(tf.shape(coefficients)[:2], self.dtype)
        pending = {key: coefficients}
        for step in reversed(self.steps):
            row = pending.pop(step.output, None)
            if row is None:
                continue
            if added and step.output in added:
                row += added[step.output]
            inputs, output = [boxes[each] for each in step.inputs], boxes[step.output]
            if step.rule.linear or lines:
                given = (slopes or {}).get(step)
                parts, more = step.rule.backward(step.unit, row, inputs, output, given)
            else:
                parts, more = Rule.backward(step.rule, step.unit, row, inputs, output)
            constant += more
            if self._unit:
                constant -= 2.0**-50 * tf.abs(constant)
            for each, part in zip(step.inputs, parts, strict=True):
                if part is not None:
                    sound &= _finite(part, 2)
                    pending[each] = pending[each] + part if each in pending else part
        if self.input in pending:
            constant += ball.least(pending[self.input])
        if not self._unit:
            return constant
        constant -= 2.0**-50 * tf.abs(constant)
        sound &= tf.math.is_finite(constant)
        return tf.where(sound, constant, -float("inf"))


def bounded_network(network):
    """The `BoundedNetwork` of a network, which may be one already."""
    return network if isinstance(network, BoundedNetwork) else BoundedNetwork(network)


def in_parts(bound, size, rows, signature):
    """What a function makes of the places 0 to size - 1, so many rows at a time.

    Args:
        bound: Function of integers [rows] to a tensor [batch, rows, ...].
        size: Integer.
        rows: Integer, how many places at a time.
        signature: `tf.TensorSpec` of what `bound` returns.

    Returns:
        Tensor [batch, size, ...].
    """
    if size <= rows:
        return bound(tf.range(size))
    count = -(-size // rows)
    found = tf.map_fn(
        lambda start: bound(start + tf.range(rows)),  # places beyond the last have rows of 0
        tf.range(count) * rows,
        parallel_iterations=1,
        fn_output_signature=signature,
    )
    found = tf.transpose(found, [1, 0, *range(2, found.shape.rank)])
    shape = tf.shape(found)
    return tf.reshape(found, tf.concat([shape[:1], [count * rows], shape[3:]], 0))[:, :size]


def repeated(tensor, count, axis=0):
    """The tensor, of size 1 along an axis, so many times along it."""
    shape = [1] * tensor.shape.rank
    shape[axis] = count
    return tensor * tf.ones(tf.stack(shape), tensor.dtype)


def _finite(tensor, axes):
    return tf.reduce_all(tf.math.is_finite(tensor), range(axes, tensor.shape.rank))


def _check_types(pixels, nodes):
    """A ValueError where numbers are rounded in ways that bounds do not cover."""
    if pixels.dtype not in UNITS:
        raise ValueError(
            f"Bounds are for networks whose pixels are one of {tuple(UNITS)}. "
            f"Received: an input of {pixels.dtype}"
        )
    for node in nodes:
        kind, layer = _computes_in(node), f"`{node.layer.name}` ({type(node.layer).__name__})"
        if kind not in UNITS:
            raise ValueError(
                f"Bounds are for layers that compute in one of {tuple(UNITS)}. "
                f"Layer {layer} computes in {kind}."
            )
        if any(UNITS[tensor.dtype] < UNITS[kind] for tensor in node.inputs):
            raise ValueError(
                "Bounds are for layers that do not round what they read. "
                f"Layer {layer} reads float64 and computes in {kind}."
            )


def _computes_in(node):
    """The type that the layer of a node computes in; an operation has none but its output's."""
    return getattr(node.layer, "compute_dtype", node.outputs[0].dtype)
