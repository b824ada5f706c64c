"""A trained network as a folder to give away: SavedModel, results row and model card."""

import shlex

from anp_tf.files import atomic_file
from anp_tf.pruning import slim
from anp_tf.serving import export_saved_model, saved_model_bytes

LINES = {
    "clean_accuracy": "clean accuracy, %",
    "white_box_accuracy": "white-box accuracy, %",
    "sampled_white_box_accuracy": "white-box accuracy with drawn weights, %",
    "black_box_accuracy": "black-box accuracy, %",
    "white_box_vulnerability": "white-box vulnerability",
    "black_box_vulnerability": "black-box vulnerability",
    "memory_percent": "memory (the paper's count), % of the dense network",
    "flops_reduction": "FLOPs reduction, x",
    "sparsity_percent": "units pruned, %",
    "weight_sparsity_percent": "weights of kernels pruned, %",
    "slim_parameter_bytes": "parameter bytes",
    "dense_parameter_bytes": "parameter bytes of the dense network",
}


def release(workdir, directory, version=None):
    """Exports the slimmed network of a run, with its results row and a model card beside it.

    Args:
        workdir: `Workdir` of a finished run.
        directory: Folder of the versions; `README.md` and `results.json` in it are of the newest.
        version: Integer, at least 1. None: one above the highest version that is there.

    Returns:
        `pathlib.Path` of the SavedModel.

    Raises:
        WorkdirError, FileExistsError, ValueError, OSError: as `load_network` and
            `export_saved_model`.
    """
    path = export_saved_model(slim(workdir.load_network()), directory, version)
    results = workdir.load_results() if workdir.results.exists() else None
    if results:
        workdir.save_results(results, path.parent / "results.json")
    with atomic_file(path.parent / "README.md") as temporary:
        temporary.write_text(model_card(workdir.settings(), results, saved_model_bytes(path)))
    return path


def model_card(settings, results, size):
    """A model card in Markdown.

    Args:
        settings: `Settings` of the run.
        results: Its results row, or None if it was not evaluated.
        size: Integer, bytes of the SavedModel.
    """
    lines = [
        f"# {settings.network}, {settings.dataset}, `{settings.method}`",
        "",
        f"A network trained on {settings.dataset} by the method `{settings.method}` of anp_tf, "
        f"slimmed. SavedModel of {size:,} bytes; signature `serving_default`: `pixels`, float32 in "
        "[0, 1], to `logits` and `probabilities`.",
        "",
    ]
    if results:
        lines += [
            f"Threat model: the attacker knows the network and moves each pixel by at most "
            f"{results['epsilon']:g}, within [0, 1]. Measured on {results['test_examples']:,} test "
            f"images with {results['attack']}, steps of {results['step_size']:g} from a random "
            "start; black-box: the same attack made on another network. A stronger attack finds "
            "more.",
            "",
            "| | |",
            "|---|---|",
        ]
        for name, label in LINES.items():
            value = results.get(name)
            if value is not None:
                shown = f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
                lines.append(f"| {label} | {shown} |")
        for batch, times in results["latency_milliseconds"].items():
            lines.append(f"| latency, batch {batch}, ms | {times['slim']:.3g} |")
        lines.append("")
    else:
        lines += ["It was not evaluated when it was exported.", ""]
    command = ["python -m anp_tf.train --workdir=WORKDIR"]
    command += [shlex.quote(flag) for flag in settings.flag_lines() if "data_dir" not in flag]
    lines += ["Trained by", "", "```sh", " \\\n  ".join(command), "```", ""]
    return "\n".join(lines)
