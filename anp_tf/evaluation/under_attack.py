"""A subject's robustness under stronger attacks, and its checks, written beside the network."""

import dataclasses
import json
import pathlib

from anp_tf import data
from anp_tf.evaluation.attack_files import EvaluationError
from anp_tf.evaluation.attack_names import named_attacks
from anp_tf.evaluation.checks import run_checks
from anp_tf.evaluation.checks.check import PASS
from anp_tf.evaluation.checks.of_network import check_deterministic
from anp_tf.evaluation.sampled import SampledNetwork
from anp_tf.evaluation.worst_case import worst_case
from anp_tf.files import atomic_file


@dataclasses.dataclass(frozen=True)
class Threat:
    """What the attacker may do, and how the attacks are made.

    Attributes:
        epsilon: Float, above 0, radius of the ball in pixel units.
        norm: `"Linf"` or `"L2"`.
        step_size: Float, of PGD; None: 2.5 epsilon / steps.
        seed: Integer, at least 0.
        batch_size: Integer, images at a time; the result does not depend on it.
        samples: Integer, draws of a stochastic network.
    """

    epsilon: float
    norm: str = "Linf"
    step_size: float | None = None
    seed: int = 0
    batch_size: int = 250
    samples: int = 10

    def __post_init__(self):
        for name, valid, expected in (
            ("epsilon", self.epsilon > 0, "above 0"),
            ("seed", self.seed >= 0, "of at least 0"),
            ("batch_size", self.batch_size >= 1, "of at least 1"),
        ):
            if not valid:
                raise ValueError(
                    f"--{name}: expected a value {expected}, received {getattr(self, name)}"
                )


def attack_subject(
    subject, names, output, threat, *, restarts=1, queries=5000, source=None, counter=None
):
    """Makes attacks on a subject; the worst case goes to `output/robustness.json`.

    The images go to a folder of `output/attacks`, from which a stopped evaluation goes on.

    Args:
        subject: `Subject`.
        names: Sequence of the attacks' names, as `named_attacks` takes them.
        output: Folder, made if needed.
        threat: `Threat`.
        restarts, queries: As for `named_attacks`.
        source: `Subject` whose network transferred attacks are made on, or None.
        counter: Optional function `(title, total) -> context manager of a progress function`.

    Returns:
        The pair of the result, as in `worst_case` with what was attacked and how, and the folder of
        the images.

    Raises:
        ValueError, EvaluationError: as `named_attacks` and `worst_case`.
    """
    batches = data.batches(subject.examples, threat.batch_size)
    network, steady = subject.network, True
    if check_deterministic(network, next(iter(batches))[0]).status != PASS:
        network, steady = SampledNetwork(network, threat.samples), False
    attacks = named_attacks(
        names,
        epsilon=threat.epsilon,
        classes=subject.examples.num_classes,
        norm=threat.norm,
        step_size=threat.step_size,
        restarts=restarts,
        queries=queries,
        source=source and source.network,
    )
    title = ",".join(names)
    folder = _folder(output, title.replace(",", "+"), threat)
    identity = _identity(subject, threat, source=source)
    identity |= {"restarts": restarts, "queries": queries}
    with counter(title, len(subject.examples)) as progress:
        result = worst_case(
            network,
            batches,
            attacks,
            folder,
            epsilon=threat.epsilon,
            norm=threat.norm,
            seed=threat.seed,
            identity=identity,
            progress=progress,
        )
    result = {"attack": title, **_asked(subject, threat), "deterministic": steady, **result}
    path = pathlib.Path(output) / "robustness.json"
    _write(path, {**_read(path), f"{title}, {threat.norm}, {threat.epsilon:g}": result})
    return result, folder


def check_subject(subject, output, threat, *, undefended=None, source=None, counter=None):
    """Runs the checks on a subject; they go to `output/checks.json`.

    Args:
        subject, output, threat, counter: As for `attack_subject`.
        undefended, source: `Subject`s, as the networks of `run_checks`, or None.

    Returns:
        List of `Check`.
    """
    checks = run_checks(
        subject.network,
        data.batches(subject.examples, threat.batch_size),
        len(subject.examples),
        _folder(output, "checks", threat),
        epsilon=threat.epsilon,
        norm=threat.norm,
        step_size=threat.step_size,
        undefended=undefended and undefended.network,
        source=source and source.network,
        masked=subject.masked,
        identity=_identity(subject, threat, undefended=undefended, source=source),
        seed=threat.seed,
        counter=counter,
    )
    record = {"checks": [dataclasses.asdict(check) for check in checks]}
    path = pathlib.Path(output) / "checks.json"
    asked = {**_asked(subject, threat), "test_examples": len(subject.examples)}
    _write(path, {**asked, **record})
    return checks


def _folder(output, title, threat):
    return pathlib.Path(output) / "attacks" / f"{title}-{threat.norm}-{threat.epsilon:g}"


def _identity(subject, threat, **others):
    digests = {name: other and other.digest for name, other in others.items()}
    own = {"network": subject.digest, "dataset": subject.dataset, "step_size": threat.step_size}
    return own | digests


def _asked(subject, threat):
    return {
        "dataset": subject.dataset,
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
