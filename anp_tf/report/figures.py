"""The figures of a report, with their data beside them."""

import dataclasses
import json
import pathlib

from anp_tf import __version__
from anp_tf.evaluate.row import evaluation_attack
from anp_tf.figures.attacked_images import attack_all
from anp_tf.files import atomic_file, write_json
from anp_tf.models import with_latents
from anp_tf.options import exact_text, one_of
from anp_tf.report import theme
from anp_tf.report.catalogue import FIGURES, SPARSITY_CAPTION, SPARSITY_TITLE
from anp_tf.reproduce import sparsity


@dataclasses.dataclass(frozen=True)
class MadeFigure:
    """A figure that was drawn.

    Attributes:
        name: String, of its files.
        title, caption, alt: Strings.
        path: `pathlib.Path` of the SVG; the data is beside it, as JSON.
    """

    name: str
    title: str
    caption: str
    alt: str
    path: pathlib.Path


def make_figures(runs, examples, folder, counter):
    """Computes what is missing, and draws all figures.

    The data of a figure is written after each network. What is there already, and was made by this
    version from the same network with the same settings, is not computed again. A figure is of the
    networks that have what it shows, and left out where none has.

    Args:
        runs: List of `ReportedRun`.
        examples: `anp_tf.data.Examples`, the test images.
        folder: Where `NAME.svg` and `NAME.json` are written; it is made if need be.
        counter: Function `(title, total) -> context manager of a progress function`.

    Returns:
        List of `MadeFigure`.

    Raises:
        ValueError: if a network does not fit the images.
        OSError: if the folder cannot be written.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    origins = {run.label: _origin(run, examples) for run in runs}
    kinds = {run.label: _kinds(run, examples) for run in runs}
    entries = {kind.name: _saved(folder / f"{kind.name}.json", origins) for kind in FIGURES}
    for run in runs:
        attacked = None
        for kind in kinds[run.label]:
            known = entries[kind.name]
            if run.label not in known:
                attacked = attacked or _attacked(run, examples, counter)
                data = _compute(kind, attacked, run, counter)
                known[run.label] = {"made_from": origins[run.label], "data": data}
                _write(kind, known, folder)
    shown = {kind: [label for label, of in kinds.items() if kind in of] for kind in FIGURES}
    return [
        _draw(kind, {label: entries[kind.name][label] for label in labels}, folder)
        for kind, labels in shown.items()
        if labels
    ]


def sparsity_points(path, runs):
    """Reads the data of `reproduce --figure=sparsity`.

    Args:
        path: The `sparsity.json` that the command wrote. Points that do not say their data set and
            epsilon, as those of earlier versions, are taken.
        runs: List of `ReportedRun` that the points are shown beside.

    Returns:
        List of dicts, a point each, at least one.

    Raises:
        ValueError: if the file is not such data, or of another data set or epsilon than the runs.
        OSError: if it cannot be read.
    """
    try:
        points = json.loads(pathlib.Path(path).read_text())
        if not points or not isinstance(points, list):
            raise ValueError("it has no list of points")
        for point in points:
            _check_point(point)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"sparsity: expected a file of reproduce --figure=sparsity, received {path}: {error}"
        ) from error
    _check_of_runs("dataset", path, points, [run.settings.dataset for run in runs])
    _check_of_runs("epsilon", path, points, [run.results["epsilon"] for run in runs])
    return points


def _check_point(point):
    missing = {"method", "sparsity_percent", "white_box_accuracy"} - set(point)
    if missing:
        raise ValueError(f"a point has no {', '.join(sorted(missing))}")
    one_of("method", point["method"], tuple(sparsity.METHOD_LABELS))
    for name in ("sparsity_percent", "white_box_accuracy"):
        if not isinstance(point[name], int | float) or not 0 <= point[name] <= 100:
            raise ValueError(f"{name}: expected a value in [0, 100], received {point[name]!r}")


def _check_of_runs(name, path, points, known):
    """A `ValueError` if a point says another value than the runs have."""
    others = [point[name] for point in points if point.get(name, known[0]) not in known]
    if others:
        expected = ", ".join(sorted(map(exact_text, set(known))))
        raise ValueError(
            f"sparsity: expected points of the runs' {name}, {expected}, received "
            f"{exact_text(others[0])} in {path}"
        )


def sparsity_figure(points, folder):
    """Draws accuracy against sparsity.

    Args:
        points: List of dicts, as of `sparsity_points`.
        folder: As in `make_figures`.

    Returns:
        `MadeFigure`.

    Raises:
        OSError: if the folder cannot be written.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "sparsity.json", points)
    drawn = folder / "sparsity.svg"
    with theme.light():
        sparsity.draw(points, drawn)
    alt = "; ".join(
        f"{sparsity.METHOD_LABELS[point['method']]}: {point['white_box_accuracy']:.1f} % under "
        f"attack at {point['sparsity_percent']:.1f} % sparsity"
        for point in points
    )
    return MadeFigure("sparsity", SPARSITY_TITLE, SPARSITY_CAPTION, alt, drawn)


def _kinds(run, examples):
    """The figures that there are of a run."""
    are_images = len(examples.image_shape) == 3
    has_latents = bool(with_latents(run.network, required=False).output[0])
    return [
        kind
        for kind in FIGURES
        if (are_images or not kind.of_images) and (has_latents or not kind.of_latents)
    ]


def _origin(run, examples):
    """What the data of a figure is made from."""
    attack = evaluation_attack(run.settings)
    return {
        "anp_tf": __version__,
        "network": run.digest(),
        "dataset": run.settings.dataset,
        "test_examples": len(examples),
        "images": examples.digest(),
        "attack": f"PGD-{attack.steps}",
        "epsilon": attack.epsilon,
        "step_size": attack.step_size,
        "seed": run.settings.seed,
    }


def _attacked(run, examples, counter):
    attack = evaluation_attack(run.settings)
    with counter(f"{run.label}  PGD-{attack.steps}", len(examples)) as progress:
        return attack_all(run.network, examples, attack, run.settings.seed, progress)


def _compute(kind, attacked, run, counter):
    if kind.passes is None:
        return kind.compute(attacked)
    total = kind.passes(attacked.attack) * len(attacked.examples)
    with counter(f"{run.label}  {kind.title}", total) as progress:
        return kind.compute(attacked, progress)


def _draw(kind, entries, folder):
    _write(kind, entries, folder)
    data = {label: entry["data"] for label, entry in entries.items()}
    path = folder / f"{kind.name}.svg"
    with theme.light():
        kind.draw(data, path)
    facts = "; ".join(f"{label}: {kind.facts(each)}" for label, each in data.items())
    return MadeFigure(kind.name, kind.title, kind.caption, f"{facts}.", path)


def _saved(path, origins):
    """The entries of a figure's data, by label, for the origins that they were made from.

    There are none if the file is not there or is damaged.
    """
    try:
        found = list(json.loads(path.read_text())["networks"].values())
        return {
            label: entry
            for label, origin in origins.items()
            for entry in found
            if entry["made_from"] == origin and entry["data"]
        }
    except (FileNotFoundError, ValueError, LookupError, AttributeError, TypeError):
        return {}


def _write(kind, entries, folder):
    with atomic_file(folder / f"{kind.name}.json") as temporary:
        temporary.write_text(json.dumps({"figure": kind.name, "networks": entries}) + "\n")
