"""A candidate's robustness under stronger attacks, and its checks, written beside the network."""

import contextlib
import dataclasses
import json
import os
import pathlib
import typing
from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf

from anp_tf import __version__
from anp_tf.arguments import check
from anp_tf.attacks import Square
from anp_tf.files import read_json, write_json
from anp_tf.intervals import clopper_pearson
from anp_tf.progress import silent
from anp_tf.robustness.attack_names import named_attacks, title_of
from anp_tf.robustness.batch_files import EvaluationError
from anp_tf.robustness.candidate import Candidate
from anp_tf.robustness.checks import run_checks
from anp_tf.robustness.checks.check import FAIL, PASS
from anp_tf.robustness.checks.network_checks import (
    check_deterministic,
    check_outputs,
    check_pixels,
    without_gradients,
)
from anp_tf.robustness.interface import PROBE_IMAGES
from anp_tf.robustness.judge import LogitsError, examples_of
from anp_tf.robustness.sampled import SampledNetwork
from anp_tf.robustness.threat import Threat
from anp_tf.robustness.worst_case import worst_case
from anp_tf.settings import READING

# Keys that each result in a `robustness.json` has.
VERDICT = ("network", "test_examples", "robust_accuracy")
FAR_BETTER = 20  # points of clean accuracy, with pixels of another range


def attack_candidate(
    candidate: Candidate,
    names: Sequence[str] | Mapping[str, Callable[..., tf.Tensor]],
    output: str | os.PathLike[str],
    threat: Threat,
    *,
    source: Candidate | None = None,
    part: tuple[int, int] = (1, 1),
    counter: Callable[[str, int], contextlib.AbstractContextManager] = silent,
    **options: float,
) -> tuple[dict[str, typing.Any] | None, pathlib.Path]:
    """Makes attacks on a candidate; the worst case goes to `output/robustness.json`.

    The images go to a folder of `output/attacks`, from which a stopped evaluation goes on. A
    network whose answers differ from call to call is attacked, and judged, by the mean of draws. Of
    one without gradients only the attacks are made that need none, and, with a source, the others
    on that.

    Args:
        candidate: `Candidate`.
        names: Sequence of the attacks' names, as `named_attacks` takes them; or a dict from names
            to attacks of one's own, which are made whether or not there are gradients.
        output: Folder, made if needed; several processes may share it.
        threat: `Threat`.
        source: `Candidate` whose network transferred attacks are made on, or None. Where attacks of
            one's own hold another network, a stopped evaluation knows it by this, or, if it is a
            Keras model, by its weights.
        part: As for `worst_case`.
        counter: Function `(title, total) -> context manager of a progress function`.
        **options: `steps`, `step_size`, `restarts` and `queries`, as for `named_attacks`.

    Returns:
        The pair of the result and the folder of the images. The result is that of `worst_case`,
        accuracies in percent, with what was attacked and how; `not_made`: names of attacks that
        need gradients, where there are none, and `not_made_because`: why. It is None if batches of
        other parts are not there yet.

    Raises:
        ValueError, EvaluationError: as `named_attacks` and `worst_case`, and if the network returns
            probabilities, takes pixels of another range, no attack can be made, or an attack of
            one's own is of another ball than the threat.
    """
    batches = candidate.batches(threat.batch_size)
    x, y = examples_of(*next(iter(batches)))
    network, some = candidate.network, x[:PROBE_IMAGES]
    _refuse_probabilities(candidate, some)
    steady = check_deterministic(network, some).status == PASS
    reason = without_gradients(network, some, y[:PROBE_IMAGES])
    judged = network if steady else SampledNetwork(network, threat.samples)
    _refuse_other_pixels(candidate, judged, x, y)
    if isinstance(names, Mapping):
        check("options", options, not options, "none for attacks of one's own")
        threat.check_attacks(names)
        attacks, not_made, title = dict(names), [], ",".join(names)
    else:
        attacks, not_made = named_attacks(
            names,
            threat,
            network(x[:1], training=False).shape[-1],
            source=source and source.network,
            gradients=reason is None,
            **options,
        )
        title = title_of(names, options, gradients=reason is None)
    if "square" in attacks and x.ndim != 4:
        raise ValueError(
            "attack: square, which is one of standard, moves squares of images; expected others "
            f"for examples of shape {list(x.shape[1:])}, such as apgd-ce,pgd-margin,fab-t"
        )
    for attack in attacks.values():
        if isinstance(attack, Square):
            attack.check(x)
    if not attacks:
        raise ValueError(
            f"attack: none of {', '.join(not_made)} can be made, for {reason}; expected square or "
            "noise, or another network as source"
        )
    own = isinstance(names, Mapping)
    transferred = any(name.split()[0].startswith("transfer") for name in attacks)
    identity = candidate.identity(source=source if own or transferred else None)
    if not steady:
        identity["samples"] = threat.samples
    path = pathlib.Path(output) / "robustness.json"
    _refuse_other_network(path, candidate, read_json(path, EvaluationError, each=VERDICT) or {})
    refuse_other_data(path, identity)
    folder = attacks_folder(output, title, threat)
    with counter(title, candidate.count) as progress:
        found = worst_case(
            judged,
            batches,
            attacks,
            folder,
            threat,
            identity=identity,
            deterministic=steady,
            part=part,
            progress=progress,
        )
    if found is None:
        return None, folder
    draws = None if steady else threat.samples
    result = {"attack": title, **_asked(candidate, threat), **identity, "draws": draws, **found}
    result |= {"not_made": not_made, "not_made_because": reason if not_made else None}
    _keep(path, result)
    return result, folder


def check_candidate(candidate, output, threat, *, undefended=None, source=None, **options):
    """Runs the checks on a candidate; they go to `output/checks.json`.

    Args:
        candidate, threat, undefended, source: As for `run_checks`.
        output: Folder, made if needed.
        **options: Others of `run_checks`.

    Returns:
        List of `Check`.
    """
    others = {"undefended": undefended, "source": source}
    path = pathlib.Path(output) / "checks.json"
    known = read_json(path, EvaluationError)
    _refuse_other_network(path, candidate, {} if known is None else {"checks": known})
    refuse_other_data(path.with_name("robustness.json"), candidate.identity())
    folder = attacks_folder(output, "checks", threat)
    checks = run_checks(candidate, folder, threat, **others, **options)
    record = _asked(candidate, threat) | candidate.identity(**others)
    record |= {"test_examples": candidate.count, "checks": list(map(dataclasses.asdict, checks))}
    if not _is_longer(known, record):
        _write(path, record)
    return checks


def _is_longer(known, record):
    """Whether checks are those of a record, but on more images."""
    about = [key for key in record if key not in ("path", "anp_tf", "test_examples", "checks")]
    same = known is not None and all(known.get(key) == record[key] for key in about)
    return same and known.get("test_examples", 0) > record["test_examples"]


def robustness_of(path, network):
    """The results in a `robustness.json` that are of a network, by its digest: a dict."""
    found = read_json(path, EvaluationError, each=VERDICT) or {}
    return {name: result for name, result in found.items() if result["network"] == network}


def checks_of(path, network):
    """The content of a `checks.json` if it is of a network, by its digest, else None."""
    record = read_json(path, EvaluationError) or {}
    return record if record.get("network") == network else None


def _refuse_probabilities(candidate, x):
    """Raises where the network returns no logits, so that the attacks would say nothing."""
    outputs = check_outputs(candidate.network, x, candidate.ending)
    if outputs.values["not_finite"]:
        raise LogitsError(f"the logits of the network {candidate.path} are {outputs.figure}")
    if outputs.status == FAIL:
        raise ValueError(
            f"the network {candidate.path} returns probabilities, whose gradients vanish: give one "
            "that returns logits"
        )


def _refuse_other_pixels(candidate, network, x, y):
    """Raises where the network is far better with pixels of another range."""
    if candidate.interface.pixels is None:
        pixels = check_pixels(network, [(x, y)])
        own, *others = pixels.values["clean_accuracy"].values()
        if max(others) - own > FAR_BETTER and _beyond_chance(own, max(others), len(x)):
            raise ValueError(
                f"pixels: expected the range that the network {candidate.path} takes, for it is "
                f"far better with other pixels than those in [0, 1]: {pixels.figure}; give 0,1 to "
                "judge it all the same"
            )


def _refuse_other_network(path, candidate, known):
    """Raises where there are results of a network from elsewhere, which would be lost.

    Those of a run that was trained anew, or that has moved, are in its own folder.
    """
    for result in known.values():
        of = result.get("path")
        if (
            result.get("network") != candidate.digest
            and not _same_place(of, str(candidate.path))
            and not _same_place(str(path.parent), str(candidate.path))
        ):
            raise EvaluationError(
                f"output: expected a folder without results of other networks, received {path}, "
                f"which has those of {of}"
            )


def refuse_other_data(path, identity):
    """Raises where there are results of the network on other data, or on another part of it."""
    known = robustness_of(path, identity["network"]).values()
    for name in ("dataset", *READING):
        own = identity.get(name)
        for result in known:
            found = result.get(name)
            if json.dumps(found) != json.dumps(own) and not _same_place(found, own):
                raise EvaluationError(
                    f"output: expected a folder without results on other data, received {path}, "
                    f"which has some with {name} {_shown(found)}, and not {_shown(own)}"
                )


def _same_place(one, other):
    both = isinstance(one, str) and isinstance(other, str)
    return both and os.path.realpath(one) == os.path.realpath(other)


def _shown(value):
    return "as it is by default" if value is None else value


def _beyond_chance(low, high, total):
    """Whether the intervals of two percentages of some images are apart."""
    counts = [round(percent * total / 100) for percent in (low, high)]
    return clopper_pearson(counts[0], total)[1] < clopper_pearson(counts[1], total)[0]


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


def attacks_folder(output, title, threat):
    """Where the images of some attacks are."""
    title = title.replace(",", "+").replace(" --", "+")
    return pathlib.Path(output) / "attacks" / f"{title}-{threat.norm}-{threat.epsilon:g}"


def _asked(candidate, threat):
    return {"path": str(candidate.path), "anp_tf": __version__, **threat.record()}


def _write(path, record):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, record)
