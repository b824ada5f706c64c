"""What can be proved of a candidate's robustness, written beside the network."""

import pathlib

import keras
import numpy as np

from anp_tf.bounds import prove
from anp_tf.bounds.ball import holds
from anp_tf.files import read_json
from anp_tf.intervals import clopper_pearson
from anp_tf.losses import classified
from anp_tf.names import PROOFS
from anp_tf.options import length_text
from anp_tf.progress import silent
from anp_tf.robustness.batch_files import EvaluationError, saved_images
from anp_tf.robustness.suite import attacks_folder, refuse_other_data, robustness_of
from anp_tf.tables import plain_table


def prove_candidate(
    candidate,
    output,
    threat,
    *,
    proofs=PROOFS,
    intermediate="interval",
    seconds=None,
    attack=True,
    counter=silent,
):
    """Proves what it can of a candidate; the certificate goes to `output/certificate.json`.

    Images that attacks in `output` of the same network and ball have broken are broken; PGD-40 is
    made on what is neither proved nor broken by those. One that was stopped goes on.

    Args:
        candidate: `Candidate`, a Keras model whose layers have rules, of pixels in [0, 1].
        output: Folder, made if needed.
        threat: `Threat`.
        proofs: Sequence of names of `PROOFS`: what is tried.
        intermediate, seconds: As for `anp_tf.bounds.prove`.
        attack: Boolean; False leaves PGD out.
        counter: As for `attack_candidate`.

    Returns:
        The certificate, as `anp_tf.bounds.prove` returns it, with `dataset`, `file` (the digest of
        the network), `attack` and `path`.

    Raises:
        ValueError: if the network is no such Keras model, has a layer that is not known, or the
            file is of something else.
        RuntimeError: if an image is both proved and broken: one of the two is in error.
    """
    network = candidate.network
    if not isinstance(network, keras.Model) or candidate.interface.record():
        raise ValueError(
            "prove: expected a Keras network of pixels in [0, 1] that returns its logits, received "
            f"{candidate.path}"
        )
    x, y = (np.concatenate(parts) for parts in zip(*_arrays(candidate, threat), strict=True))
    pgd = threat.pgd() if attack else None
    about = candidate.identity()
    identity = {
        "file": about.pop("network"),
        **about,
        "path": str(candidate.path),
        "attack": pgd and f"PGD-{pgd.steps}",
    }
    refuse_other_data(pathlib.Path(output) / "robustness.json", candidate.identity())
    with counter("proofs", len(x)) as progress:
        return prove(
            network,
            x,
            y,
            threat.epsilon,
            norm=threat.norm.lower(),
            methods=proofs,
            intermediate=intermediate,
            seconds=seconds,
            broken=broken_by_attacks(candidate, output, threat, x, y),
            attack=pgd,
            path=output,
            seed=threat.seed,
            identity=identity,
            progress=progress,
        )


def _arrays(candidate, threat):
    return ((x.numpy(), y.numpy()) for x, y in candidate.batches(threat.batch_size))


def broken_by_attacks(candidate, output, threat, x, y):
    """Which images attacks have broken that are in `output`, of the same network and ball.

    Each of their images is looked at again: it counts if it is in [0, 1] and in the ball that the
    proofs are of, of which an attack by others may miss a little, and the network misclassifies it.

    Returns:
        Boolean array [images].
    """
    broken = np.zeros(len(x), bool)
    known = robustness_of(pathlib.Path(output) / "robustness.json", candidate.digest)
    for result in known.values():
        if (result["norm"], result["epsilon"]) != (threat.norm, threat.epsilon):
            continue
        folder = attacks_folder(output, result["attack"], threat)
        if not folder.is_dir():
            continue
        found = saved_images(folder, min(len(x), result["test_examples"]))
        for first in range(0, len(found["index"]), threat.batch_size):
            part = slice(first, first + threat.batch_size)
            index, images = found["index"][part], found["image"][part]
            inside = holds(images, x[index], threat.epsilon, threat.norm.lower())
            wrong = ~classified(candidate.network(images, training=False), y[index]).numpy()
            broken[index[wrong & inside]] = True
    return broken


def certificate_of(path, network):
    """The content of a `certificate.json` if it is of a network, by its digest, else None."""
    record = read_json(path, EvaluationError) or {}
    return record if record.get("file") == network else None


def certificate_table(certificate):
    """The counts of a certificate, and the bounds of the robust accuracy."""
    rows = certificate_counts(certificate)
    notes = [f"{certificate_bounds(certificate)}."]
    title = certificate_title(certificate)
    return plain_table(title, ("", "images", "%"), rows, 90, notes)


def certificate_counts(certificate):
    """How many images are proved, by what, broken and open: rows of an outcome, a count, %."""
    counts, total = certificate["counts"], len(certificate["outcomes"])
    kinds = {f"proved by {name.replace('_', '-')}": n for name, n in counts["proved_by"].items()}
    kinds |= {name: counts[name] for name in ("broken", "open")}
    return [(kind, f"{count:,}", f"{100 * count / total:.2f}") for kind, count in kinds.items()]


def certificate_lines(certificate):
    """A certificate as lines of Markdown."""
    by = ", ".join(
        f"{count} by {name.replace('_', '-')}"
        for name, count in certificate["counts"]["proved_by"].items()
    )
    return [
        f"Proved (`--prove`), {certificate_title(certificate)}: {certificate_bounds(certificate)}; "
        f"{by}. What is proved holds for all images in the ball, in float32.",
        "",
    ]


def certificate_norm(certificate):
    """The norm of a certificate's balls, as `--norm` has it."""
    return {"linf": "Linf", "l2": "L2"}[certificate["norm"]]


def certificate_title(certificate):
    """The data set and the ball of a certificate."""
    total = len(certificate["outcomes"])
    norm = certificate_norm(certificate)
    epsilon = length_text(certificate["epsilon"])
    return f"{certificate['dataset']}, {total:,} test images, {norm}, ε = {epsilon}"


def certificate_bounds(certificate):
    """The robust accuracy lies between what is proved and what is not broken."""
    counts, total = certificate["counts"], len(certificate["outcomes"])
    low, high = counts["proved"], total - counts["broken"]
    bottom, top = 100 * clopper_pearson(low, total)[0], 100 * clopper_pearson(high, total)[1]
    return (
        f"robust accuracy between {100 * low / total:.2f} % (proved) and {100 * high / total:.2f} "
        f"% (attacked) of these images; with 95 % intervals between {bottom:.2f} and {top:.2f} %"
    )
