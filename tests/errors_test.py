"""Errors of TensorFlow in one sentence."""

import pytest
import tensorflow as tf

from anp_tf.errors import sentence


def fails(x):
    tf.debugging.check_numerics(x * float("nan"), "the gradient is not finite")
    return x


def raises(x):
    raise ValueError("it has no gradient")


@pytest.mark.parametrize("function", [fails, tf.function(fails)], ids=["eager", "graph"])
def test_of_a_graph(function):
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        function(tf.constant(1.0))
    text = sentence(caught.value)
    assert text.startswith("the gradient is not finite")
    assert len(text) < 80
    assert not {"node", "Op:", "Graph execution"} & set(text.replace("{", " ").split())


def test_of_user_code():
    with pytest.raises(ValueError, match="no gradient") as caught:
        tf.function(raises)(tf.constant(1.0))
    assert sentence(caught.value) == "it has no gradient"


def test_of_others():
    assert sentence(ValueError("--a: expected\n1, received 2")) == "--a: expected 1, received 2"
    assert sentence(ValueError("x" * 500)) == "x" * 500
    assert sentence(KeyError()) == "KeyError()"
