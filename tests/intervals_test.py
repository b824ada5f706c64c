"""Intervals of percentages, against SciPy's own exact binomial test."""

import pytest
from scipy import stats

from anp_tf.intervals import clopper_pearson, with_interval


@pytest.mark.parametrize(("count", "total"), [(0, 1), (1, 1), (0, 60), (857, 1000), (10000, 10000)])
def test_is_the_exact_interval(count, total):
    expected = stats.binomtest(count, total).proportion_ci(0.95, "exact")
    assert clopper_pearson(count, total) == pytest.approx(tuple(expected), abs=1e-9)


def test_as_text():
    assert with_interval(85.7, 1000) == "85.70 (83.38-87.81)"
    assert with_interval(100.0, 20, 1, unit=True) == "100.0 % (83.2-100.0)"
