"""IBP and CROWN in NumPy, on matrices that are read off the layers by calling them."""

import itertools
import types

import keras
import numpy as np
import pytest
import scipy.optimize

L = keras.layers


def steps_of(network):
    """The layers of a network without branches as pairs of a kind and its numbers."""
    steps = []
    for layer in network.layers:
        if isinstance(layer, L.InputLayer):
            continue
        shape = layer.input.shape[1:]
        size = int(np.prod(shape))
        if isinstance(layer, L.ReLU):
            steps.append(("relu", None))
            continue
        basis = np.concatenate([np.zeros([1, size]), np.eye(size)]).astype(np.float32)
        answer = np.asarray(layer(basis.reshape(-1, *shape), training=False), np.float64)
        answer = answer.reshape(size + 1, -1)
        if "MaxPooling" in type(layer).__name__:
            steps.append(("max", [np.flatnonzero(column) for column in answer[1:].T]))
        else:
            steps.append(("affine", ((answer[1:] - answer[0]).T, answer[0])))
    return steps


def ibp(steps, lower, upper):
    """List of the bounds before each step, and of the outputs."""
    bounds = [(lower, upper)]
    for kind, numbers in steps:
        if kind == "affine":
            matrix, bias = numbers
            center, radius = (lower + upper) / 2, (upper - lower) / 2
            middle, around = matrix @ center + bias, np.abs(matrix) @ radius
            lower, upper = middle - around, middle + around
        elif kind == "relu":
            lower, upper = np.maximum(lower, 0), np.maximum(upper, 0)
        else:
            lower, upper = (np.array([side[g].max() for g in numbers]) for side in (lower, upper))
        bounds.append((lower, upper))
    return bounds


def crown(steps, bounds, rows):
    """Lower bounds of linear functions of the outputs, given the bounds before each step."""
    rows, constant = rows.astype(np.float64), np.zeros(len(rows))
    for (kind, numbers), (lower, upper) in zip(reversed(steps), reversed(bounds[:-1]), strict=True):
        if kind == "affine":
            matrix, bias = numbers
            constant, rows = constant + rows @ bias, rows @ matrix
            continue
        before = np.zeros([len(rows), len(lower)])
        for r, row in enumerate(rows):
            for i, coefficient in enumerate(row):
                if kind == "relu":
                    low, high = lower[i], upper[i]
                    if high <= 0:
                        slope, offset = 0.0, 0.0
                    elif low >= 0:
                        slope, offset = 1.0, 0.0
                    elif coefficient > 0:
                        slope, offset = float(high > -low), 0.0
                    else:
                        slope, offset = high / (high - low), -low * high / (high - low)
                    before[r, i] += coefficient * slope
                    constant[r] += coefficient * offset
                    continue
                group = numbers[i]
                if coefficient > 0:
                    before[r, group[lower[group].argmax()]] += coefficient
                    continue
                top = group[upper[group].argmax()]
                second = max((upper[g] for g in group if g != top), default=-np.inf)
                if lower[top] >= second:
                    before[r, top] += coefficient
                else:
                    slope = (upper[top] - second) / (upper[top] - lower[top])
                    before[r, top] += coefficient * slope
                    constant[r] += coefficient * (second - slope * lower[top])
        rows = before
    lower, upper = bounds[0]
    return constant + np.maximum(rows, 0) @ lower + np.minimum(rows, 0) @ upper


def edges(image, epsilon):
    return np.maximum(image - epsilon, 0.0), np.minimum(image + epsilon, 1.0)


def exact_margins(network, image, label, epsilon):
    """The largest margins, by a linear program for each pattern of the ReLUs that there can be."""
    (w, b), (v, c) = (
        [np.asarray(weight, np.float64) for weight in layer.weights]
        for layer in network.layers
        if layer.weights
    )
    best = np.full(3, -np.inf)
    best[label] = 0.0
    box = list(zip(*edges(image, epsilon), strict=True))
    low, high = ibp([("affine", (w.T, b))], *edges(image, epsilon))[1]
    possible = np.transpose([low <= 0, high >= 0])  # signs of each number that a ReLU reads
    for pattern in itertools.product(*map(np.flatnonzero, possible)):
        sign = 2 * np.array(pattern) - 1  # sign (x w + b) >= 0
        for j in set(range(3)) - {label}:
            row = (v[:, j] - v[:, label]) * pattern
            found = scipy.optimize.linprog(-(w @ row), -(w * sign).T, b * sign, bounds=box)
            if found.success:
                best[j] = max(best[j], -found.fun + b @ row + c[j] - c[label])
    return best


@pytest.fixture(scope="session")
def oracle():
    return types.SimpleNamespace(
        steps_of=steps_of, ibp=ibp, crown=crown, edges=edges, exact_margins=exact_margins
    )
