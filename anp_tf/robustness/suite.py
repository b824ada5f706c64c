"""A candidate's robustness under stronger attacks, and its checks, written beside the network."""

import contextlib
import dataclasses
import json
import pathlib

from anp_tf import __version__, data
from anp_tf.files import atomic_file
from anp_tf.robustness.attack_names import STEPS, named_attacks
from anp_tf.robustness.batch_files import EvaluationError
from anp_tf.robustness.checks import run_checks
from anp_tf.robustness.checks.check import FAIL, PASS
from anp_tf.robustness.checks.network_checks import check_deterministic, check_logits
from anp_tf.robustness.sampled import SampledNetwork
from anp_tf.robustness.worst_case import worst_case


@dataclasses.dataclass(frozen=True)
class Threat:
    """What the attacker may do, and how the attacks are made.

    Attributes:
        epsilon: Float, above 0, radius of the ball in pixel units; at most 1 in the L-infinity
            ball.
        norm: `"Linf"` or `"L2"`.
        steps: Integer, at least 1, of PGD.
        step_size: Float, of that PGD; None: 2.5 epsilon / steps.
        seed: Integer, at least 0 and below 2^31.
        batch_size: Integer, at least 1, images at a time; the result does not depend on it.
        samples: Integer, at least 1, draws of a stochastic network.

    Raises:
        ValueError: if a value is out of its range.
    """

    epsilon: float
    norm: str = "Linf"
    steps: int = STEPS
    step_size: float | None = None
    seed: int = 0
    batch_size: int = 250
    samples: int = 10

    def __post_init__(self):
        linf = self.norm == "Linf"
        radius = "in (0, 1], in pixel units such as 0.031 for 8/255" if linf else "above 0"
        for name, flag, valid, expected in (
            ("epsilon", "epsilon", 0 < self.epsilon <= (1 if linf else float("inf")), radius),
            ("steps", "eval_attack_steps", self.steps >= 1, "of at least 1"),
            ("step_size", "eval_attack_step_size", (self.step_size or 1) > 0, "above 0"),
            ("seed", "seed", 0 <= self.seed < 2**31, "in [0, 2^31)"),
            ("batch_size", "batch_size", self.batch_size >= 1, "of at least 1"),
            ("samples", "eval_samples", self.samples >= 1, "of at least 1"),
        ):
            if not valid:
                raise ValueError(
                    f"--{flag}: expected a value {expected}, received {getattr(self, name)}"
                )


def attack_candidate(
    candidate, names, output, threat, *, restarts=1, queries=5000, source=None, counter=None
):
    """Makes attacks on a candidate; the worst case goes to `output/robustness.json`.

    The images go to a folder of `output/attacks`, from which a stopped evaluation goes on. A
    network whose answers differ from call to call is attacked, and judged, by the mean of draws.

    Args:
        candidate: `Candidate`.
        names: Sequence of the attacks' names, as `named_attacks` takes them.
        output: Folder, made if needed.
        threat: `Threat`.
        restarts, queries: As for `named_attacks`.
        source: `Candidate` whose network transferred attacks are made on, or None.
        counter: Optional function `(title, total) -> context manager of a progress function`.

    Returns:
        The pair of the result, as in `worst_case` with what was attacked and how, and the folder of
        the images.

    Raises:
        ValueError, EvaluationError: as `named_attacks` and `worst_case`, and if the network returns
            probabilities.
    """
    batches = data.batches(candidate.examples, threat.batch_size)
    attacks = named_attacks(
        names,
        epsilon=threat.epsilon,
        classes=candidate.examples.num_classes,
        norm=threat.norm,
        steps=threat.steps,
        step_size=threat.step_size,
        restarts=restarts,
        queries=queries,
        source=source and source.network,
    )
    x, _ = next(iter(batches))
    if check_logits(candidate.network, x).status == FAIL:
        raise ValueError(
            f"the network {candidate.path} returns probabilities, whose gradients vanish: give one "
            "that returns logits"
        )
    network, steady = candidate.network, check_deterministic(candidate.network, x).status == PASS
    if not steady:
        network = SampledNetwork(network, threat.samples)
    title = ",".join(names)
    folder = _folder(output, title.replace(",", "+"), threat)
    identity = _identity(candidate, source=source if "transfer" in title else None)
    if not steady:
        identity["samples"] = threat.samples
    with (
        counter(title, len(candidate.examples)) if counter else contextlib.nullcontext() as progress
    ):
        result = worst_case(
            network,
            batches,
            attacks,
            folder,
            epsilon=threat.epsilon,
            norm=threat.norm,
            seed=threat.seed,
            identity=identity,
            deterministic=steady,
            progress=progress,
        )
    draws = None if steady else threat.samples
    result = {"attack": title, **_asked(candidate, threat), **identity, "draws": draws, **result}
    _keep(pathlib.Path(output) / "robustness.json", result)
    return result, folder


def check_candidate(
    candidate, output, threat, *, queries=1000, undefended=None, source=None, counter=None
):
    """Runs the checks on a candidate; they go to `output/checks.json`.

    Args:
        candidate, output, threat, counter: As for `attack_candidate`.
        queries: Integer, of the Square attack.
        undefended, source: `Candidate`s, as the networks of `run_checks`, or None.

    Returns:
        List of `Check`.
    """
    identity = _identity(candidate, undefended=undefended, source=source)
    checks = run_checks(
        candidate.network,
        data.batches(candidate.examples, threat.batch_size),
        len(candidate.examples),
        _folder(output, "checks", threat),
        epsilon=threat.epsilon,
        norm=threat.norm,
        step_size=threat.step_size and threat.step_size * threat.steps / STEPS,
        queries=queries,
        samples=threat.samples,
        undefended=undefended and undefended.network,
        source=source and source.network,
        masked=candidate.masked,
        identity=identity,
        seed=threat.seed,
        counter=counter,
    )
    record = {**_asked(candidate, threat), **identity, "test_examples": len(candidate.examples)}
    record["checks"] = [dataclasses.asdict(check) for check in checks]
    _write(pathlib.Path(output) / "checks.json", record)
    return checks


def robustness_of(path, network):
    """The results in a `robustness.json` that are of a network, by its digest: a dict."""
    found = _read(path)
    return {name: result for name, result in found.items() if result["network"] == network}


def checks_of(path, network):
    """The content of a `checks.json` if it is of a network, by its digest, else None."""
    record = _read(path)
    return record if record.get("network") == network else None


def _keep(path, result):
    """Adds a result to the others of the same network; a longer one of the same kind stays."""
    name = f"{result['attack']}, {result['norm']}, {result['epsilon']:g}"
    known = robustness_of(path, result["network"])
    old = known.get(name)
    same = old and [a["made_by"] for a in old["attacks"]] == [
        a["made_by"] for a in result["attacks"]
    ]
    if not (same and old["test_examples"] > result["test_examples"]):
        known[name] = result
    _write(path, known)


def _folder(output, title, threat):
    return pathlib.Path(output) / "attacks" / f"{title}-{threat.norm}-{threat.epsilon:g}"


def _identity(candidate, **others):
    """What was attacked, and the other networks that had a part in it, by their digests."""
    digests = {name: other.digest for name, other in others.items() if other}
    return {"network": candidate.digest, "dataset": candidate.dataset, **digests}


def _asked(candidate, threat):
    return {
        "path": str(candidate.path),
        "anp_tf": __version__,
        "norm": threat.norm,
        "epsilon": threat.epsilon,
        "seed": threat.seed,
    }


def _read(path):
    if not path.exists():
        return {}
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise EvaluationError(f"{path} is damaged; remove it: {error}") from error


def _write(path, record):
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(record, indent=2) + "\n")
