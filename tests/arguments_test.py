"""Checks of arguments."""

import numpy as np
import pytest

from anp_tf.arguments import check_count, check_kind, check_number, check_seed

NO_NUMBERS = [float("nan"), True, "3", None, [3], 1j]


@pytest.mark.parametrize("value", [1, 3.0, np.int64(3), np.float32(3)])
def test_counts(value):
    count = check_count("steps", value)
    assert (count, type(count)) == (value, int)


@pytest.mark.parametrize("value", [0, 1.5, float("nan"), np.float32(np.inf), True, "3", None])
def test_no_counts(value):
    with pytest.raises(ValueError, match=r"`steps`\. Expected an integer of at least 1\."):
        check_count("steps", value)


@pytest.mark.parametrize("value", [0.5, 1, np.float32(0.25), np.int64(1), 10**400])
def test_numbers(value):
    check_number("beta", value, lambda v: v > 0, "a number above 0")
    check_number("beta", value, None, "a number")


@pytest.mark.parametrize("value", [*NO_NUMBERS, 0, -1.5])
def test_no_numbers(value):
    for infinite in (False, True):
        with pytest.raises(ValueError, match=r"`beta`\. Expected a number above 0\. .*beta="):
            check_number("beta", value, lambda v: v > 0, "a number above 0", infinite)


def test_infinite_numbers():
    check_number("weight", float("inf"), lambda v: v > 0, "a number above 0", infinite=True)
    with pytest.raises(ValueError, match="a number above 0, and finite"):
        check_number("weight", float("inf"), lambda v: v > 0, "a number above 0")


@pytest.mark.parametrize("value", [0, -(2**31), 2**31 - 1, np.int64(7)])
def test_seeds(value):
    assert (check_seed("seed", value), type(check_seed("seed", value))) == (value, int)


@pytest.mark.parametrize("value", [*NO_NUMBERS, 1.5, 2**31, 2**40, -(2**31) - 1])
def test_no_seeds(value):
    with pytest.raises(ValueError, match=r"`seed`\. Expected an integer of 32 bits"):
        check_seed("seed", value)


def test_kinds():
    check_kind("schedule", None, dict)
    check_kind("schedule", {}, dict)
    with pytest.raises(ValueError, match=r"`schedule`\. Expected a `dict`, or None. .*schedule=5"):
        check_kind("schedule", 5, dict)


def test_counts_that_may_be_0():
    assert check_count("steps", 0, least=0) == 0
    with pytest.raises(ValueError, match="an integer of at least 0"):
        check_count("steps", -1, least=0)
