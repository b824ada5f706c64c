"""Accuracy that is proved, and that attacks leave, against their radius or against sparsity."""

import pathlib

import keras
import numpy as np

from anp_tf.figures import canvas
from anp_tf.files import read_json, write_json
from anp_tf.options import length_text
from anp_tf.progress import silent
from anp_tf.pruning import unit_sparsity
from anp_tf.robustness import (
    Threat,
    attack_candidate,
    from_model,
    from_workdir,
    prove_candidate,
)
from anp_tf.tables import plain_table
from anp_tf.workdir import Workdir

LETTERS = {"proved": "p", "broken": "b", "open": "o"}  # of an image in a point's `outcomes`


def named_paths(texts):
    """The networks that `--networks` names.

    Args:
        texts: Sequence of strings, `PATH` or `NAME=PATH`; a path without a name has its last part.
            A path that is there may have a `=`, if what stands before it is no name, or what stands
            behind it no path that is there.

    Returns:
        Dict from the names to `pathlib.Path`s.

    Raises:
        ValueError: if there are none, or if two have the same name or one is no name of a folder.
    """
    paths = {}
    for text in texts:
        name, equals, path = text.partition("=")
        whole = pathlib.Path(text)
        if whole.exists() and ("/" in name or not pathlib.Path(path).exists()):
            equals = ""
        path = pathlib.Path(path) if equals else whole
        name = name if equals else path.name.removesuffix(".keras")
        if name in ("", ".", "..", *paths) or "/" in name:
            raise ValueError(
                "networks: expected names that differ, of folders, such as NAME=PATH; received "
                f"{text}"
            )
        paths[name] = path
    if not paths:
        raise ValueError("networks: expected workdirs or .keras files, received none")
    return paths


def candidates_of(paths, settings):
    """The networks to be proved and attacked.

    Args:
        paths: Dict from names to paths, of workdirs and `.keras` files.
        settings: `Settings`, of the data of `.keras` files and of how many test images are used.

    Returns:
        Dict from the names to `Candidate`s.

    Raises:
        WorkdirError, DataError, ValueError: if one cannot be read, has no layers that are known, or
            if they are tested on different images.
    """
    limit, data_dir = settings.limit_test_examples, settings.data_dir
    found = {}
    for name, path in paths.items():
        if Workdir(path).config.exists():
            candidate = from_workdir(path, limit, data_dir)
        else:
            options = settings.data_options
            candidate = from_model(path, settings.dataset, limit, data_dir, data_options=options)
        if not isinstance(candidate.network, keras.Model):
            raise ValueError(
                f"networks: expected workdirs or .keras files, whose layers are known, received "
                f"{path}"
            )
        found[name] = candidate
    tested = {name: (each.dataset, each.count) for name, each in found.items()}
    if len(set(tested.values())) > 1:
        raise ValueError(f"networks: expected networks of the same test images, received {tested}")
    return found


def known_sparsity(candidate):
    """The share of the units that are pruned, in percent; None if it is not known."""
    if candidate.masked:
        return unit_sparsity(candidate.masked)
    return None if candidate.settings is None else 0.0


def check_sparsities(candidates):
    """Raises a ValueError if the sparsity of one of the candidates is not known."""
    for name, candidate in candidates.items():
        if known_sparsity(candidate) is None:
            raise ValueError(
                "networks: expected networks of which it is known how many units are pruned: "
                f"workdirs, or networks with their masks; received {name}"
            )


def make_points(candidates, epsilons, folder, seed, attacks, proofs, seconds=None, counter=silent):
    """Attacks and proves each network in balls of each radius; what is done is not done again.

    Points are written to `proved.json` as they come, beside those of earlier calls, images and
    certificates to `NAME/EPSILON`.

    Args:
        candidates: Dict from names to `Candidate`s.
        epsilons: Sequence of floats, radii of the L-infinity balls in pixel units.
        folder: Folder, made if needed.
        seed: Integer, of the attacks.
        attacks: Sequence of names of attacks, as of `attack_candidate`.
        proofs: Sequence of names of `PROOFS`.
        seconds: Float, how long the proofs of a network in balls of a radius may take, or None.
        counter: Function `(title, total) -> context manager of a progress function`.

    Returns:
        List of points, dicts: `network`, `digest`, `parameters`, `sparsity_percent` (None where it
        is not known), `epsilon`, `clean`, `attacked` and `proved` in percent, `proved_by`,
        `attack_seconds`, `proof_seconds`, `outcomes`, a letter an image, and the conditions.

    Raises:
        RuntimeError: as `consistent`, and as `prove_candidate`.
    """
    path = pathlib.Path(folder) / "proved.json"
    known = read_json(path, kind=list, each=("network", "epsilon", "outcomes")) or []
    points, others = [], known
    for name, candidate in candidates.items():
        images = candidate.examples.digest()
        for epsilon in sorted(epsilons):
            threat = Threat(epsilon, seed=seed)
            key = {
                "network": name,
                "digest": candidate.digest,
                "epsilon": epsilon,
                "dataset": candidate.dataset,
                "images": candidate.count,
                "data": images,
                "seed": seed,
                "attacks": list(attacks),
                "proofs": list(proofs),
                "seconds": seconds,
            }
            done = [each for each in known if key.items() <= each.items()]
            points.append(done[0] if done else _point(key, candidate, folder, threat, counter))
            others = [each for each in known if each not in points]
            write_json(path, [*points, *others])
    points = consistent(points)
    write_json(path, [*points, *others])
    return points


def _point(key, candidate, folder, threat, counter):
    place = pathlib.Path(folder) / key["network"] / f"{threat.epsilon:g}"

    def titled(title, total):
        return counter(f"{key['network']}  ε {length_text(threat.epsilon)}  {title}", total)

    attacked, _ = attack_candidate(candidate, key["attacks"], place, threat, counter=titled)
    certificate = prove_candidate(
        candidate,
        place,
        threat,
        proofs=key["proofs"],
        seconds=key["seconds"],
        attack=False,
        counter=titled,
    )
    return {
        **key,
        "parameters": candidate.network.count_params(),
        "sparsity_percent": known_sparsity(candidate),
        "clean": attacked["clean_accuracy"],
        "proved_by": certificate["counts"]["proved_by"],
        "attack_seconds": round(sum(each["seconds"] for each in attacked["attacks"]), 1),
        "proof_seconds": certificate["seconds"],
        "outcomes": "".join(LETTERS[each] for each in certificate["outcomes"]),
    }


def consistent(points):
    """What is known of each image in one ball, used in the others.

    What is proved in a ball is proved in each smaller one, and what is broken in one is in each
    larger one.

    Args:
        points: List of dicts with `network`, `epsilon` and `outcomes`.

    Returns:
        List of such dicts with other `outcomes`, and with `proved` and `attacked` in percent: the
        share that is proved, and that is not broken. In the order of the radii both fall.

    Raises:
        RuntimeError: if an image is proved in a ball and broken in it or in a smaller one: either
            the proof or the attack is in error.
    """
    found = []
    for point in points:
        same = [each for each in points if each["network"] == point["network"]]
        proved, broken = (
            np.any([_are(each, letter) for each in same if holds(each["epsilon"])], axis=0)
            for letter, holds in (
                ("p", lambda epsilon, own=point["epsilon"]: epsilon >= own),
                ("b", lambda epsilon, own=point["epsilon"]: epsilon <= own),
            )
        )
        if np.any(proved & broken):
            raise RuntimeError(
                f"Image {np.argmax(proved & broken)} is both proved and broken for "
                f"{point['network']} and epsilon {length_text(point['epsilon'])}. Either the proof "
                "or the attack is in error; no figure is made."
            )
        outcomes = np.where(proved, "p", np.where(broken, "b", "o"))
        shares = {"proved": 100 * np.mean(proved), "attacked": 100 * np.mean(~broken)}
        shares = {name: round(float(share), 4) for name, share in shares.items()}
        found.append({**point, **shares, "outcomes": "".join(outcomes)})
    return found


def _are(point, letter):
    return np.array(list(point["outcomes"])) == letter


def points_table(points):
    """The figures of the points as text, `proved-attacked` in each cell."""
    epsilons = sorted({point["epsilon"] for point in points})
    cells = {
        (point["network"], point["epsilon"]): f"{point['proved']:.1f}-{point['attacked']:.1f}"
        for point in points
    }
    rows = [
        (name, *(cells.get((name, epsilon), "-") for epsilon in epsilons))
        for name in dict.fromkeys(point["network"] for point in points)
    ]
    title = f"proved-attacked, % of {points[0]['images']:,} test images of {points[0]['dataset']}"
    columns = ("ε", *map(length_text, epsilons))
    return plain_table(title, columns, rows, 30 + 13 * len(epsilons))


def draw_by_epsilon(points, path):
    """Draws both shares against the radius, a colour a network, as PNG or SVG."""
    _draw(points, path, "network", "epsilon", "radius ε of the ball, in pixel units")


def draw_by_sparsity(points, path):
    """Draws both shares against the sparsity of the networks, a colour a radius, as PNG or SVG."""
    _draw(points, path, "epsilon", "sparsity_percent", "units pruned, %")


def _draw(points, path, lines, abscissa, label):
    figure = canvas.new_figure(3.4)
    axes = canvas.plot(figure, label, "accuracy, %")
    for index, line in enumerate(dict.fromkeys(point[lines] for point in points)):
        own = sorted((each for each in points if each[lines] == line), key=lambda p: p[abscissa])
        x, low, high = ([each[name] for each in own] for name in (abscissa, "proved", "attacked"))
        style = canvas.style(index)
        name = f"ε = {length_text(line)}" if lines == "epsilon" else canvas.plain(line)
        axes.plot(x, high, label=name, **style)
        axes.plot(x, low, linestyle="--", markerfacecolor="none", **style)
    axes.plot([], [], color="#7f7f7f", label="attacked")
    axes.plot([], [], color="#7f7f7f", linestyle="--", label="proved")
    axes.set_ylim(-3, 103)
    canvas.legend(figure, axes)
    canvas.save(figure, path)
