"""What the strong attacks, the checks and the proofs left in the workdirs, for the template."""

from anp_tf.errors import WorkdirError
from anp_tf.intervals import with_interval
from anp_tf.options import exact_text, length_text
from anp_tf.robustness import (
    EvaluationError,
    certificate_bounds,
    certificate_counts,
    certificate_norm,
    certificate_of,
    certificate_title,
    checks_of,
    digest,
    robustness_of,
)

CHECK_MARKS = {"pass": "✓", "warn": "!", "fail": "✗", "not run": "-"}


def read_suites(workdir):
    """The suites of attacks on the run's network in `robustness.json`, as texts.

    Args:
        workdir: `Workdir`.

    Returns:
        List of dicts: `name`, `conditions`, `clean`, `robust`, `recheck`, `draws` and `attacks`, a
        list of dicts. It is empty where there is no file, or where it is of another network.

    Raises:
        WorkdirError: if the file is damaged.
    """
    return _read(workdir, workdir.robustness, robustness_of, _suites) or []


def read_checklist(workdir):
    """The checks in `checks.json`, as texts; arguments and errors as for `read_suites`.

    Returns:
        Dict: `conditions`, and `checks`, a list of dicts. None where there are none of the network.
    """
    return _read(workdir, workdir.checks, checks_of, _checklist)


def read_certificate(workdir):
    """What is proved in `certificate.json`, as texts; arguments and errors as for `read_suites`.

    Returns:
        Dict: `conditions`, `threat`, `images`, `proofs`, `bounds` and `counts`, rows of an outcome,
        a count and a percentage. None where there is none of the network.
    """
    return _read(workdir, workdir.certificate, certificate_of, _certificate)


def _read(workdir, path, of_network, texts):
    """The texts of what a file has of the run's network, or None."""
    try:
        found = of_network(path, digest(workdir.network))
        return texts(found) if found else None
    except KeyError as error:
        raise WorkdirError(f"{path} is damaged; remove it: it has no {error}") from error
    except EvaluationError as error:
        raise WorkdirError(str(error)) from error
    except (ValueError, TypeError, AttributeError) as error:
        raise WorkdirError(f"{path} is damaged; remove it: {error}") from error


def _suites(record):
    return [
        {
            "name": name,
            **_conditions(suite),
            "attack": suite["attack"],
            "clean": with_interval(suite["clean_accuracy"], suite["test_examples"]),
            "robust": with_interval(suite["robust_accuracy"], suite["test_examples"]),
            "attacks": [
                {
                    "name": attack["name"],
                    "fooled": f"{attack['fooled']:,}",
                    "robust": with_interval(attack["robust_accuracy"], suite["test_examples"]),
                    "seconds": f"{attack['seconds']:,.1f}",
                }
                for attack in suite["attacks"]
            ],
            "draws": suite.get("draws"),
            "not_made": ", ".join(suite.get("not_made") or []),
            "not_made_because": suite.get("not_made_because"),
            "recheck": _recheck(suite["recheck"]),
        }
        for name, suite in record.items()
    ]


def _recheck(recheck):
    return (
        f"Read back and checked apart from the attacks: of {recheck['images']:,} adversarial "
        f"images, {recheck['outside_ball']:,} are outside the ball (the farthest is "
        f"{recheck['largest_distance']:.6g} away), {recheck['outside_pixels']:,} have pixels "
        f"outside [0, 1], {recheck['classified_correctly']:,} are classified correctly after all."
    )


def _checklist(record):
    return {
        **_conditions(record),
        "checks": [
            {
                "title": check["title"],
                "status": check["status"],
                "mark": CHECK_MARKS.get(check["status"], "?"),
                "figure": check.get("figure") or "",
            }
            for check in record["checks"]
        ],
    }


def _certificate(record):
    return {
        "conditions": certificate_title(record),
        "threat": [
            f"--norm={certificate_norm(record)}",
            f"--epsilon={exact_text(record['epsilon'])}",
        ],
        "images": len(record["outcomes"]),
        "proofs": ",".join(record["settings"]["tried"]),
        "bounds": certificate_bounds(record),
        "counts": certificate_counts(record),
    }


def _conditions(record):
    """The threat model and the images, as text and as flags."""
    norm, epsilon, images = (record[name] for name in ("norm", "epsilon", "test_examples"))
    return {
        "conditions": f"{norm}, ε = {length_text(epsilon)}, {images:,} test images",
        "threat": [
            f"--norm={norm}",
            f"--epsilon={exact_text(epsilon)}",
            f"--seed={record['seed']}",
        ],
        "images": images,
    }
