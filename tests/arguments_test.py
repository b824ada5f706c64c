"""Checks of arguments."""

import numpy as np
import pytest

from anp_tf.arguments import check_count


@pytest.mark.parametrize("value", [1, 3.0, np.int64(3), np.float32(3)])
def test_counts(value):
    count = check_count("steps", value)
    assert (count, type(count)) == (value, int)


@pytest.mark.parametrize("value", [0, 1.5, float("nan"), np.float32(np.inf), True, "3", None])
def test_no_counts(value):
    with pytest.raises(ValueError, match=r"`steps`\. Expected an integer of at least 1\."):
        check_count("steps", value)


def test_counts_that_may_be_0():
    assert check_count("steps", 0, least=0) == 0
    with pytest.raises(ValueError, match="an integer of at least 0"):
        check_count("steps", -1, least=0)
