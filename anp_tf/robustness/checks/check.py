"""The outcome of a check."""

import dataclasses

PASS, WARN, FAIL, NOT_RUN = "pass", "warn", "fail", "not run"
ENOUGH = 3  # images that tell more than chance


@dataclasses.dataclass(frozen=True)
class Check:
    """The outcome of one check.

    Attributes:
        name: A word for programs.
        title: What holds if it passes.
        status: `"pass"`, `"warn"`, `"fail"` or `"not run"`.
        figure: What was measured, as text.
        values: The same as a dict of numbers.
    """

    name: str
    title: str
    status: str
    figure: str
    values: dict = dataclasses.field(default_factory=dict)


def graded(points, limits, total):
    """Pass up to the first limit, a warning up to the second, else fail.

    Args:
        points: Float, in percent of the images.
        limits: Pair of floats.
        total: Integer, how many images there are; fewer than three of them are no failure.
    """
    to_pass, to_warn = limits
    few = points * total / 100 < ENOUGH - 0.5
    return PASS if points <= to_pass else WARN if points <= to_warn or few else FAIL


def cannot_run(name, title, *measured):
    """A failed check if one of the attacks could not run, else None."""
    errors = [m.error for m in measured if m.error]
    return Check(name, title, FAIL, f"the attack cannot run: {errors[0]}") if errors else None
