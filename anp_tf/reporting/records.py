"""What the strong attacks and the checks left in the workdirs, for the template."""

import json

from anp_tf.workdir import WorkdirError

MARKS = {"pass": "✓", "warn": "!", "fail": "✗", "not run": "-"}


def read_suites(workdir):
    """The suites of attacks in `robustness.json`, as texts.

    Args:
        workdir: `Workdir`.

    Returns:
        List of dicts: `name`, `conditions`, `clean`, `robust`, `recheck` (or None) and `attacks`, a
        list of dicts. It is empty where there is no file.

    Raises:
        WorkdirError: if the file is damaged.
    """
    return _read(workdir.robustness, _suites) or []


def read_checklist(workdir):
    """The checks in `checks.json`, as texts; arguments and errors as for `read_suites`.

    Returns:
        Dict: `conditions`, and `checks`, a list of dicts. None where there is no file.
    """
    return _read(workdir.checks, _checklist)


def _read(path, texts):
    """The texts of the JSON in a file, or None where there is none."""
    if not path.exists():
        return None
    try:
        return texts(json.loads(path.read_text()))
    except KeyError as error:
        raise WorkdirError(f"{path} is damaged; remove it: it has no {error}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise WorkdirError(f"{path} is damaged; remove it: {error}") from error


def _suites(record):
    return [
        {
            "name": name,
            "conditions": _conditions(suite),
            "clean": f"{suite['clean_accuracy']:.2f}",
            "robust": f"{suite['robust_accuracy']:.2f}",
            "attacks": [
                {
                    "name": attack["name"],
                    "fooled": f"{attack['fooled']:,}",
                    "robust": f"{attack['robust_accuracy']:.2f}",
                    "seconds": f"{attack['seconds']:,.1f}",
                }
                for attack in suite["attacks"]
            ],
            "recheck": _recheck(suite.get("recheck")),
        }
        for name, suite in record.items()
    ]


def _recheck(recheck):
    if not recheck:
        return None
    return (
        f"Read back and checked apart from the attacks: of {recheck['images']:,} adversarial "
        f"images, {recheck['outside_ball']:,} are outside the ball (the farthest is "
        f"{recheck['largest_distance'] or 0:.6g} away), {recheck['outside_pixels']:,} have pixels "
        f"outside [0, 1], {recheck['classified_correctly']:,} are classified correctly after all."
    )


def _checklist(record):
    return {
        "conditions": _conditions(record),
        "checks": [
            {
                "title": check["title"],
                "status": check["status"],
                "mark": MARKS.get(check["status"], "?"),
                "figure": check.get("figure") or "",
            }
            for check in record["checks"]
        ],
    }


def _conditions(record):
    return f"{record['norm']}, ε = {record['epsilon']:g}, {record['test_examples']:,} test images"
