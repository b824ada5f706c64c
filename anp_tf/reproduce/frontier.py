"""Robust accuracy against FLOPs, and which networks no other one beats in both."""

from anp_tf.errors import WorkdirError
from anp_tf.figures import canvas
from anp_tf.files import read_json
from anp_tf.intervals import clopper_pearson, with_interval
from anp_tf.options import length_text
from anp_tf.robustness import VERDICT, digest, robustness_of
from anp_tf.tables import plain_table
from anp_tf.workdir import Workdir

KEYS = (  # of the `results.json` of a network
    "dataset",
    "epsilon",
    "flops_reduction",
    "sparsity_percent",
    "slim_parameter_bytes",
    "dense_parameter_bytes",
)


def frontier_points(paths):
    """What is on record of networks.

    Args:
        paths: Dict from names to folders that hold a `results.json` and a `robustness.json` of the
            standard attack: workdirs that were evaluated, or networks that were exported.

    Returns:
        List of dicts, from the cheapest network on: `network`, `dataset`, `epsilon`,
        `flops_reduction`, `sparsity_percent`, `parameter_bytes`, `dense_parameter_bytes`,
        `core_minutes` (None where it is not known), `test_examples`, `clean` and `robust` in
        percent, and `on_frontier`: whether no other network has at most as many FLOPs and is at
        least as robust.

    Raises:
        WorkdirError: if a folder has not these files, or a damaged one.
        ValueError: if the networks are of several data sets, or attacked in several ways, or if
            dense they are of several sizes, so that their FLOPs do not compare.
    """
    points = [_point(name, Workdir(path)) for name, path in paths.items()]
    for key in ("dataset", "epsilon", "test_examples", "dense_parameter_bytes"):
        values = {point["network"]: point[key] for point in points}
        if len(set(values.values())) > 1:
            raise ValueError(f"networks: expected networks of the same {key}, received {values}")
    points.sort(key=lambda point: (-point["flops_reduction"], -point["robust"]))
    most = -1.0
    for point in points:
        point["on_frontier"] = point["robust"] > most
        most = max(most, point["robust"])
    return points


def _point(name, workdir):
    if not workdir.results.exists():
        raise WorkdirError(f"{workdir.results} does not exist; python -m anp_tf.evaluate writes it")
    results = workdir.load_results(KEYS)
    attack = f"standard, Linf, {results['epsilon']:g}"
    if workdir.network.exists():  # which may have been trained anew since
        found = robustness_of(workdir.robustness, digest(workdir.network))
    else:
        found = read_json(workdir.robustness, each=VERDICT) or {}
    verdict = found.get(attack)
    if verdict is None:
        raise WorkdirError(
            f"{workdir.robustness} has no result of the standard attack at epsilon "
            f"{results['epsilon']:g}; python -m anp_tf.evaluate --attack=standard writes it"
        )
    return {
        "network": name,
        "dataset": results["dataset"],
        "epsilon": results["epsilon"],
        "flops_reduction": results["flops_reduction"],
        "sparsity_percent": results["sparsity_percent"],
        "parameter_bytes": results["slim_parameter_bytes"],
        "dense_parameter_bytes": results["dense_parameter_bytes"],
        "core_minutes": results.get("core_minutes"),
        "test_examples": verdict["test_examples"],
        "clean": verdict["clean_accuracy"],
        "robust": verdict["robust_accuracy"],
    }


def frontier_table(points):
    """The points as text."""
    rows = [
        (
            point["network"],
            f"{point['flops_reduction']:.2f}",
            f"{point['sparsity_percent']:.1f}",
            f"{point['parameter_bytes']:,}",
            f"{point['clean']:.1f}",
            with_interval(point["robust"], point["test_examples"], 1),
            "yes" if point["on_frontier"] else "",
        )
        for point in points
    ]
    first = points[0]
    title = (
        f"{first['test_examples']:,} test images of {first['dataset']}, standard attack, "
        f"ε = {length_text(first['epsilon'])}"
    )
    columns = ("network", "FLOPs, ÷", "units pruned, %", "parameter bytes")
    return plain_table(title, (*columns, "clean, %", "robust, %", "frontier"), rows, 110)


def draw(points, path):
    """Draws robust accuracy against FLOPs, with 95 % intervals, as PNG or SVG."""
    figure = canvas.new_figure(3.4)
    axes = canvas.plot(figure, "FLOPs, times fewer", "under the standard attack, %")
    for index, point in enumerate(points):
        count = round(point["robust"] * point["test_examples"] / 100)
        low, high = (100 * share for share in clopper_pearson(count, point["test_examples"]))
        style = {**canvas.style(index), "linewidth": 1.0}
        around = [[point["robust"] - low], [high - point["robust"]]]
        x, y = point["flops_reduction"], point["robust"]
        axes.errorbar([x], [y], around, label=canvas.plain(point["network"]), **style)
    frontier = [point for point in points if point["on_frontier"]]
    x, y = ([point[key] for point in frontier] for key in ("flops_reduction", "robust"))
    axes.plot(x, y, color="#7f7f7f", linewidth=0.8, zorder=0)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    canvas.legend(figure, axes)
    canvas.save(figure, path)
