"""The CPU threads of an operation."""

import pytest
import tensorflow as tf

from anp_tf.threads import use_op_threads


def test_threads_are_set_before_tensorflow_starts():
    tf.constant(0)
    with pytest.raises(ValueError, match=r"op_threads: .* started .*, 0 \(0: .*received 1"):
        use_op_threads(1)
