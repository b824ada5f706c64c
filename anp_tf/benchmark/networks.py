"""What masking, slimming, training and export make of the networks that others have designed."""

import dataclasses
import multiprocessing
import pathlib
import tempfile

import keras
import numpy as np
import tensorflow as tf

from anp_tf.attacks import PGD
from anp_tf.benchmark.peers import LOGITS_TOLERANCE
from anp_tf.benchmark.rows import read_rows, write_rows
from anp_tf.benchmark.zoo import zoo
from anp_tf.layers import mask_layers
from anp_tf.methods import AdversarialNeuralPruningVS
from anp_tf.models.comparison import example_inputs
from anp_tf.pruning import cost, fold_batch_normalization, insert_masks, slim
from anp_tf.serving import export_litert, export_onnx, export_saved_model
from anp_tf.tables import markdown_table

BATCH_SIZE = 4
SECONDS_A_NETWORK = 540  # after which a network is given up
STEP_DONE, FILE_EQUAL = "done", "equal"
TABLE_COLUMNS = (
    *("network", "side", "masks", "units", "masked, %", "FLOPs, %", "parameters, %"),
    *("error", "`anp_vs` step", "SavedModel", "LiteRT", "ONNX"),
)
CELL_FORMATS = {
    "side": "",
    "masks": ",",
    "units": ",",
    "masked_percent": ".0f",
    "flops_percent": ".1f",
    "parameters_percent": ".1f",
    "error": ".0e",
    **dict.fromkeys(("trained", "saved_model", "litert", "onnx"), ""),
}


@dataclasses.dataclass(frozen=True)
class NetworkRow:
    """What was found of a network; what was not reached is None, and `reason` says why.

    Attributes:
        network: Its name.
        side: Pixels of a side of the images.
        masks, units: How many `insert_masks` put in, and of how many units.
        masked_percent: Share of the channels that come from weights, the output's not counted,
            that have a mask.
        flops_percent, parameters_percent: What is left of them at half the units of each mask cut.
        error: The largest difference of the slimmed network's logits from the masked one's, as a
            share of the largest logit.
        trained: `"done"`, a step of `anp_vs`, or why it is not.
        saved_model, litert, onnx: `"equal"`, or why there is no file.
        reason: Why the rest is missing.
    """

    network: str
    side: int | None = None
    masks: int | None = None
    units: int | None = None
    masked_percent: float | None = None
    flops_percent: float | None = None
    parameters_percent: float | None = None
    error: float | None = None
    trained: str | None = None
    saved_model: str | None = None
    litert: str | None = None
    onnx: str | None = None
    reason: str | None = None


@dataclasses.dataclass(frozen=True)
class Networks:
    """The rows of a benchmark, a list of `NetworkRow`."""

    rows: list

    def table(self):
        """The rows as a Markdown table, and below it the reasons in full."""
        notes = []

        def cell(value, form=""):
            if value is None:
                return ""
            if not isinstance(value, str):
                return format(value, form)
            if value in (STEP_DONE, FILE_EQUAL):
                return value
            if value not in notes:
                notes.append(value)
            return f"[{1 + notes.index(value)}]"

        cells = [
            [
                *(cell(getattr(row, name), form) for name, form in CELL_FORMATS.items()),
                row.network + (f" {cell(row.reason)}" if row.reason else ""),
            ]
            for row in self.rows
        ]
        lines = markdown_table(TABLE_COLUMNS, [[name, *figures] for *figures, name in cells])
        return "\n".join([*lines, "", *(f"[{i}] {note}  " for i, note in enumerate(notes, 1))])

    def record(self):
        """The rows as `{network: {attribute: value}}`."""
        return {row.network: dataclasses.asdict(row) for row in self.rows}


def benchmark_networks(names=None, path=None, progress=print):
    """Masks, trains for a step, prunes, slims and exports networks, each in a process of its own.

    Half the units of each mask are pruned, at random.

    Args:
        names: Sequence of names of `zoo()`; None: all.
        path: JSON file of the rows; those that are in it are not made again. None: no file.
        progress: Function that is told what is measured next.

    Returns:
        `Networks`, in the order of the zoo.

    Raises:
        ValueError: if a name is unknown, if there is no folder for the file, or if it is damaged.
    """
    known = zoo()
    names = list(known) if names is None else list(names)
    if unknown := set(names) - set(known):
        raise ValueError(
            f"Argument `names` must be some of {', '.join(known)}. "
            f"Received: {', '.join(sorted(unknown))}"
        )
    path = None if path is None else pathlib.Path(path)
    rows = {row.network: row for row in read_rows(path, NetworkRow)}
    for name in names:
        if name in rows:
            continue
        progress(f"measuring {name}")
        rows[name] = _in_a_process(name)
        write_rows(path, rows.values())
    return Networks([rows[name] for name in known if name in rows])


def _in_a_process(name):
    """The row of a network, made in a process that may fail or take too long."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sender, name))
    process.start()
    sender.close()
    row = NetworkRow(name, reason=f"not done in {SECONDS_A_NETWORK:,} s")
    try:
        if receiver.poll(SECONDS_A_NETWORK):
            row = receiver.recv()
    except EOFError:
        process.join()
        row = NetworkRow(name, reason=f"its process ended with code {process.exitcode}")
    finally:
        process.kill()
        process.join()
    return row


def _send(sender, name):
    sender.send(measure(name, zoo()[name]))


def measure(name, build):
    """The `NetworkRow` of one network, in this process."""
    found = {"network": name}
    try:
        _measure(build, found)
    except Exception as error:  # whatever it is, it is what the row has to say
        found["reason"] = _line(error)
    return NetworkRow(**found)


def _measure(build, found):
    keras.utils.set_random_seed(0)
    model = build()
    found["side"] = model.inputs[0].shape[1]
    network, unmasked = insert_masks(model, report=True)
    masks = mask_layers(network)
    units, others = sum(mask.units for mask in masks), sum(row.units for row in unmasked)
    found |= {"masks": len(masks), "units": units}
    found["masked_percent"] = 100 * units / max(1, units + others)
    found["trained"] = _outcome(lambda: _train(network), STEP_DONE)
    random = np.random.default_rng(0)
    for mask in masks:
        mask.prune(random.choice(mask.units, mask.units // 2, replace=False))
    slimmed = slim(network)
    x = example_inputs(network.inputs[0])
    expected, actual = (net(x, training=False).numpy() for net in (network, slimmed))
    found["error"] = float(np.abs(actual - expected).max() / np.abs(expected).max())
    _export(fold_batch_normalization(slimmed), found)
    dense, small = cost(model), cost(slimmed)
    found["flops_percent"] = 100 * small.flops / dense.flops
    found["parameters_percent"] = 100 * small.parameters / dense.parameters


def _train(network):
    attack = PGD(epsilon=8 / 255, step_size=4 / 255, steps=2)
    model = AdversarialNeuralPruningVS(
        network, num_examples=BATCH_SIZE, attack=attack, vulnerability_weight=1.0
    )
    model.compile(keras.optimizers.Adam(1e-3), keras.optimizers.Adam(1e-2))
    random = np.random.default_rng(0)
    x = random.random((BATCH_SIZE, *network.inputs[0].shape[1:]), np.float32)
    y = np.arange(BATCH_SIZE) % network.outputs[0].shape[-1]
    (loss,) = model.fit(x, y, batch_size=BATCH_SIZE, verbose=0).history["loss"]
    if not np.isfinite(loss):
        raise ValueError(f"its loss is {loss}")


def _export(network, found):
    """Exports check the outputs of LiteRT and ONNX files themselves."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for name, export in (
            ("saved_model", lambda: _check_saved_model(network, folder / "saved_model")),
            ("litert", lambda: export_litert(network, folder / "network.tflite")),
            ("onnx", lambda: export_onnx(network, folder / "network.onnx")),
        ):
            found[name] = _outcome(export, FILE_EQUAL)


def _check_saved_model(network, folder):
    path = export_saved_model(network, folder)
    x = example_inputs(network.inputs[0])
    served = tf.saved_model.load(str(path)).signatures["serving_default"](pixels=x)["logits"]
    expected = network(x, training=False).numpy()
    difference = np.abs(served.numpy() - expected).max()
    if not difference <= LOGITS_TOLERANCE * np.abs(expected).max():
        raise ValueError(f"its logits differ by {difference:.1g}")


def _outcome(call, outcome):
    """The outcome, or the first line of the error that a call ends in."""
    try:
        call()
    except Exception as error:
        return _line(error)
    return outcome


def _line(error):
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
