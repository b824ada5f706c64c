"""How far a percentage of some images may be from that of all images."""

import scipy.special

CONFIDENCE = 0.95


def clopper_pearson(count, total):
    """The exact interval of a share, of 95 % confidence (Clopper & Pearson 1934).

    It holds the share's true value in at least 95 % of all samples of `total` images.

    Args:
        count: Integer, images that are counted.
        total: Integer, at least `count` and 1, images there are.

    Returns:
        Pair of floats in [0, 1].
    """
    tail = (1 - CONFIDENCE) / 2
    low = scipy.special.betaincinv(count, total - count + 1, tail) if count else 0.0
    high = scipy.special.betaincinv(count + 1, total - count, 1 - tail) if count < total else 1.0
    return float(low), float(high)


def with_interval(percent, total, digits=2, unit=False):
    """A percentage and its interval as text, `85.70 (83.38-87.81)`.

    Args:
        percent: Float, in percent of the images.
        total: Integer, images there are.
        digits: Integer, after the point.
        unit: Boolean, whether ` %` stands behind the percentage.
    """
    low, high = (100 * share for share in clopper_pearson(round(percent * total / 100), total))
    percent_sign = " %" if unit else ""
    return f"{percent:.{digits}f}{percent_sign} ({low:.{digits}f}-{high:.{digits}f})"
