"""How much smaller and faster slimmed networks are, on disk and on the clock."""

import dataclasses
import json
import os
import pathlib
import tempfile

import numpy as np
import tensorflow as tf

from anp_tf.benchmark.benchmark_table import BenchmarkTable
from anp_tf.layers import UnitMask, mask_layers
from anp_tf.models import NETWORKS
from anp_tf.pruning import cost, fold_batch_normalization, slim
from anp_tf.serving import export_saved_model, litert_content, litert_network, saved_model_bytes
from anp_tf.timing import median_times

MEASURED_FORMATS = ("SavedModel", "LiteRT")
UNIT_SPARSITIES = (0.5, 0.75, 0.9)  # shares of the units of each layer
WIDTH_MULTIPLES = (1, 8)
BATCH_SIZES = (1, 32, 256)


@dataclasses.dataclass(frozen=True)
class NetworkPair:
    """A dense network and its slimmed form, as SavedModels.

    Attributes:
        name: What is compared.
        dense: Folder of the dense network's SavedModel.
        slimmed: Folder of the slimmed network's.
        flops_ratio: Float, the FLOPs of the dense network in those of the slimmed one.
    """

    name: str
    dense: pathlib.Path
    slimmed: pathlib.Path
    flops_ratio: float


def benchmark_slim(shipped=None, width_multiplier=1.0, repeats=10, progress=print):
    """Compares dense and slimmed networks: VGG-16 and ResNet-18 at three sparsities.

    Each slimmed network is measured with the widths that are left, and with these rounded up to
    multiples of 8.

    Of each layer the same share of the units, chosen at random, is pruned. Both networks are
    measured in turns, in one process, on random images.

    Args:
        shipped: Optional folder of a trained network, with `results.json` and version `1`, to be
            compared as well.
        width_multiplier: Float, positive; of VGG-16 and ResNet-18.
        repeats: Integer, timed calls of each network.
        progress: Function that is told what is measured next.

    Returns:
        `BenchmarkTable`: bytes and FLOPs, and how many times as fast batches are.
    """
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for pair in _pairs(folder, shipped, width_multiplier):
            progress(f"measuring {pair.name}")
            for form in MEASURED_FORMATS:
                figures[f"{pair.name}, {form}"] = _measure(pair, form, folder, repeats)
    formats = {"dense bytes": ",", "slimmed bytes": ",", "FLOPs": ".1f"}
    formats |= {f"batch {size}": ".1f" for size in BATCH_SIZES}
    return BenchmarkTable("dense / slimmed, and how many times as fast", formats, figures)


def _pairs(folder, shipped, width_multiplier):
    if shipped is not None:
        shipped = pathlib.Path(shipped)
        results = json.loads((shipped / "results.json").read_text())
        dense = export_saved_model(NETWORKS[results["architecture"]](), folder / "shipped")
        ratio = results["dense_flops"] / results["slim_flops"]
        name = f"{results['architecture']}, {results['dataset']} {results['method']}"
        yield NetworkPair(name, dense, shipped / "1", ratio)
    for network in ("vgg16", "resnet18"):
        build = NETWORKS[network]
        dense = build(width_multiplier=width_multiplier)
        path = export_saved_model(fold_batch_normalization(dense), folder / network)
        for sparsity in UNIT_SPARSITIES:
            masked = build(mask=UnitMask, width_multiplier=width_multiplier)
            random = np.random.default_rng(0)
            for mask in mask_layers(masked):
                count = min(mask.units - 1, round(sparsity * mask.units))
                mask.prune(random.choice(mask.units, count, replace=False))
            for round_to in WIDTH_MULTIPLES:
                slimmed = slim(masked, round_to)
                rounded = f", widths rounded up to {round_to}s" if round_to > 1 else ""
                yield NetworkPair(
                    f"{network}, {100 * sparsity:g} % of the units pruned{rounded}",
                    path,
                    export_saved_model(fold_batch_normalization(slimmed), folder / network),
                    cost(dense).flops / cost(slimmed).flops,
                )


def _measure(pair, form, folder, repeats):
    sizes, calls = [], []
    for name, path in (("dense", pair.dense), ("slimmed", pair.slimmed)):
        if form == "LiteRT":
            file = folder / f"{name}.tflite"
            file.write_bytes(litert_content(path))
            sizes.append(file.stat().st_size)
            calls.append(litert_network(file, threads=os.cpu_count()))
        else:
            sizes.append(saved_model_bytes(path))
            calls.append(_served(path))
    spec = tf.saved_model.load(str(pair.dense)).signatures["serving_default"]
    shape = spec.structured_input_signature[1]["pixels"].shape[1:]
    figures = dict(zip(("dense bytes", "slimmed bytes"), sizes, strict=True))
    figures["FLOPs"] = pair.flops_ratio
    for batch_size in BATCH_SIZES:
        pixels = np.random.default_rng(0).random((batch_size, *shape), np.float32)
        dense, slimmed = calls
        turns = {"dense": lambda: dense(pixels), "slimmed": lambda: slimmed(pixels)}  # noqa: B023
        times = median_times(turns, repeats)
        figures[f"batch {batch_size}"] = times["dense"] / times["slimmed"]
    return figures


def _served(path):
    signature = tf.saved_model.load(str(path)).signatures["serving_default"]
    return lambda pixels: signature(pixels=tf.constant(pixels))["logits"].numpy()
