"""How fast the standard attack is here and as its authors published it, and what each finds."""

import dataclasses
import json
import pathlib
import time

import numpy as np
import tensorflow as tf

from anp_tf import data
from anp_tf.attacks import standard_attack
from anp_tf.benchmark.benchmark_table import BenchmarkTable
from anp_tf.benchmark.peers import OURS, same_logits
from anp_tf.losses import classified
from anp_tf.options import length_text
from anp_tf.robustness import NORMS, SavedModelNetwork

THEIRS = "AutoAttack"
CLEAN_IMAGES = "none"
LEFT = "robust accuracy, %"


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
    """An exported network and the test images that are attacked.

    Attributes:
        network: `SavedModelNetwork`.
        x: float32 array [n, ...], pixels.
        y: int32 array [n], labels.
        norm, epsilon: The ball: `"Linf"` or `"L2"`, and a float.
    """

    network: SavedModelNetwork
    x: np.ndarray
    y: np.ndarray
    norm: str
    epsilon: float


def problem_of(shipped, images, norm, epsilon=None):
    """The `Problem` of the first test images of an exported network; see `benchmark_verdict`."""
    shipped = pathlib.Path(shipped)
    results = json.loads((shipped / "results.json").read_text())
    some = data.load(results["dataset"], "test").take(images)
    x, y = (some.images / 255).astype(np.float32), some.labels.astype(np.int32)
    network = SavedModelNetwork(shipped / "1")
    return Problem(network, x, y, norm, epsilon or results["epsilon"])


def benchmark_verdict(shipped, images=200, norm="Linf", epsilon=None, seed=0, progress=print):
    """Attacks a network with the standard attack and, where it is installed, the authors' own.

    AutoAttack is the package `pyautoattack`, which needs PyTorch; its network has the same weights,
    and its images are in PyTorch's channels_last format. All images are one batch.

    Args:
        shipped: Folder of an exported network, with `results.json` and version `1`.
        images: Integer, how many test images.
        norm: `"Linf"` or `"L2"`.
        epsilon: Float, radius of the ball; None: that of `results.json`.
        seed: Integer.
        progress: Function that is told what is measured next, and what each attack left.

    Returns:
        `BenchmarkTable`: of each attack its seconds, TensorFlow's tracing included, and the
        accuracy that it leaves; as notes the seconds of all.

    Raises:
        RuntimeError: if PyTorch computes other logits.
    """
    problem = problem_of(shipped, images, norm, epsilon)
    figures, seconds = {}, {}
    for name, prepare in PACKAGES.items():
        progress(f"measuring {name} at epsilon {length_text(problem.epsilon)}, {norm}")
        try:
            attacks = prepare(problem, seed)
        except ImportError as error:
            progress(f"  {name} is not installed ({error})")
            continue
        found = _stages(attacks, problem, progress)
        figures |= {f"{name}, {attack}": stage for attack, stage in found.items()}
        seconds[name] = sum(stage["seconds"] for stage in found.values())
    notes = {f"{name}, seconds of all": spent for name, spent in seconds.items()}
    if THEIRS in seconds:
        notes[f"{OURS} is faster by"] = seconds[THEIRS] / seconds[OURS]
    formats = {"seconds": ".1f", LEFT: ".1f"}
    return BenchmarkTable("the standard attack", formats, figures, notes)


def _stages(attacks, problem, progress):
    """Dict from each attack to its figures; an attack is made on the images that those before left.

    Accuracies are in percent of all images.
    """
    network, x, y = problem.network, problem.x, problem.y
    left = np.flatnonzero(classified(network(x), y))
    stages = {CLEAN_IMAGES: {"seconds": 0.0, LEFT: 100 * len(left) / len(x)}}
    for name, attack in attacks.items():
        start = time.perf_counter()
        found = attack(left) if len(left) else x[left]
        seconds = time.perf_counter() - start
        left = left[classified(network(found), y[left]).numpy()] if len(left) else left
        stages[name] = {"seconds": seconds, LEFT: 100 * len(left) / len(x)}
        progress(f"  {name}: {seconds:.1f} s, {stages[name][LEFT]:.1f} % robust")
    return stages


def ours(problem, seed, norm=None, pgd=None):
    """The standard attack's attacks by name, each a function of the numbers of some images.

    Args:
        problem: `Problem`.
        seed: Integer.
        norm: The ball's norm; None: the problem's.
        pgd: Pair of a name and an attack that are added; or None.
    """
    network, x, y = problem.network, problem.x, problem.y
    seeds = np.stack([np.full(len(x), seed), np.arange(len(x))], -1).astype(np.int32)
    specs = [tf.TensorSpec([None, *each.shape[1:]], each.dtype) for each in (x, y, seeds)]

    def compiled(attack):
        run = tf.function(lambda x, y, s: attack(network, x, y, seed=s), input_signature=specs)
        return lambda which: run(x[which], y[which], seeds[which]).numpy()

    classes = network(x[:1]).shape[-1]
    attacks = standard_attack(problem.epsilon, classes, norm or NORMS[problem.norm]())
    return {name: compiled(attack) for name, attack in [*attacks.items(), *([pgd] if pgd else [])]}


def authors(problem, seed):
    import torch
    from pyautoattack import AutoAttack

    from anp_tf.benchmark.torch_graph import TorchGraph, as_torch

    graph = TorchGraph(problem.network._signature)

    class Usual(torch.autograd.Function):
        """Has the gradient in PyTorch's usual memory format, which the authors' code asks for."""

        forward = staticmethod(lambda _, pixels: pixels.contiguous(memory_format=CHANNELS_LAST))
        backward = staticmethod(lambda _, gradient: gradient.contiguous())

    def model(pixels):
        return graph(Usual.apply(pixels))

    CHANNELS_LAST = torch.channels_last
    pixels, labels = as_torch(problem.x).contiguous(), torch.from_numpy(problem.y).long()
    expected = problem.network(problem.x).numpy()
    with torch.no_grad():
        if not same_logits(model(pixels), expected):
            raise RuntimeError("PyTorch computes other logits: the comparison would not be fair")
    attack = AutoAttack(model, eps=problem.epsilon, norm=problem.norm, seed=seed)
    attack.verbose = False

    def named(name):
        def run(which):
            attack.attacks_to_run = [name]
            found, _ = attack.run_standard_evaluation(
                pixels[which], labels[which], batch_size=len(which)
            )
            return found.permute(0, 2, 3, 1).numpy()

        return run

    return {name: named(name) for name in list(attack.attacks_to_run)}


PACKAGES = {OURS: ours, THEIRS: authors}
