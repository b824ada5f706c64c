"""What the inputs of a nested model are of what it is called with, as Keras has it."""

import keras

from anp_tf.models.node import node_of

WIDENED = {("float16", "float32"), ("bfloat16", "float32")}


def received(node, inputs):
    """What stands for the inputs of a nested model in a call of it.

    Keras finds the inputs in a dict by their names, and casts them.

    Args:
        node: `Node`, the call.
        inputs: The nested model's symbolic inputs, a structure.

    Returns:
        Pair of a list of `Node`, the casts, and a list of symbolic tensors in the order of the flat
        inputs. None where the calls in the model cannot take its place: if it is called in training
        mode, with a mask, or with a tensor of another rank.
    """
    given = node.args[0] if node.args else node.kwargs["inputs"]
    masked = len(node.inputs) > len(keras.tree.flatten(given))
    expected = keras.tree.flatten(inputs)
    if isinstance(given, dict) and not isinstance(inputs, dict):
        given = [given[tensor.name] for tensor in expected]
    given = keras.tree.flatten(given)
    fits = [len(x.shape) for x in given] == [len(x.shape) for x in expected]
    if masked or not fits or node.kwargs.get("training"):
        return None
    nodes, tensors = [], []
    for tensor, like in zip(given, expected, strict=True):
        # From half precision to float32 a value stays what it is; layers cast it back.
        if tensor.dtype != like.dtype and (tensor.dtype, like.dtype) not in WIDENED:
            cast = keras.ops.cast(tensor, like.dtype)
            made_by = cast._keras_history.operation
            nodes.append(node_of(made_by, (tensor,), {}, [cast], node.path))
            tensor = cast
        tensors.append(tensor)
    return nodes, tensors
