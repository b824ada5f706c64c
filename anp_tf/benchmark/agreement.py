"""What each attack leaves of a network's images here, and by the code of others."""

import dataclasses
import pathlib
import time

import numpy as np
import tensorflow as tf

from anp_tf.attacks import L2, PGD
from anp_tf.benchmark import peers, verdict
from anp_tf.benchmark.peers import Budget
from anp_tf.benchmark.rows import read_rows, write_rows
from anp_tf.benchmark.verdict import CLEAN_IMAGES, OURS, THEIRS, problem_of
from anp_tf.losses import classified
from anp_tf.options import length_text
from anp_tf.robustness import NORMS
from anp_tf.tables import markdown_table

ATTACK_SEEDS = (0, 1)
PGD_STEPS = 40  # of PGD, of 2.5 epsilon / 40
PLAIN_PGD, STANDARD_ATTACK = "pgd", "all but pgd"


@dataclasses.dataclass(frozen=True)
class AgreementRow:
    """An attack on all images that are classified correctly.

    Attributes:
        network: Folder of the network.
        norm, epsilon, images: The ball, and how many test images there are.
        package, attack, seed: What was made; `CLEAN_IMAGES` for the images as they are.
        seconds: Float, the time it took, TensorFlow's tracing included.
        left: List of the numbers of the images that are still classified correctly.
    """

    network: str
    norm: str
    epsilon: float
    images: int
    package: str
    attack: str
    seed: int
    seconds: float
    left: list

    def percent(self):
        return 100 * len(self.left) / self.images


@dataclasses.dataclass(frozen=True)
class Agreement:
    """The rows of a benchmark, a list of `AgreementRow`."""

    rows: list

    def table(self):
        """Robust accuracies in percent as a Markdown table, those of the seeds side by side."""
        packages = dict.fromkeys(row.package for row in self.rows)
        attacks = dict.fromkeys(row.attack for row in self.rows)
        first = self.rows[0]

        def cell(package, attack):
            of_package = [row for row in self.rows if row.package == package]
            if attack == STANDARD_ATTACK:
                whole = _whole(of_package)
                return " and ".join(f"{100 * len(left) / first.images:.1f}" for left in whole)
            found = [f"{row.percent():.1f}" for row in of_package if row.attack == attack]
            return " and ".join(found[:1] if attack == CLEAN_IMAGES else found)

        head = (
            f"{first.network}, {first.images} images, {first.norm}, "
            f"ε = {length_text(first.epsilon)}: robust accuracy, %"
        )
        rows_shown = [
            [name, *(cell(each, name) for each in packages)] for name in (*attacks, STANDARD_ATTACK)
        ]
        return "\n".join([head, "", *markdown_table(["", *packages], rows_shown)])

    def record(self):
        """The rows as `{subject: percent}`."""
        return {f"{r.package}, {r.attack}, seed {r.seed}": r.percent() for r in self.rows}


def benchmark_agreement(shipped, images=200, norm="Linf", epsilon=None, path=None, progress=print):
    """Makes each attack of the standard attack, and PGD, on all images that are right, twice.

    The standard attack's attacks are made here and by their authors' code (`pyautoattack`), PGD
    here, by ART and by foolbox, as far as these are installed; each with two seeds, so that it
    shows what chance does. In the L2 ball the attacks that the others' order of projecting and
    clipping makes weaker are made with that, too (`BallFirst`). The images of all are judged here.

    Args:
        shipped, images, norm, epsilon, progress: As for `benchmark_verdict`.
        path: JSON file of the rows; those that are in it are not made again. None: no file.

    Returns:
        `Agreement`.

    Raises:
        ValueError: if there is no folder for the file, or if it is damaged.
    """
    path = None if path is None else pathlib.Path(path)
    there = read_rows(path, AgreementRow)
    problem = problem_of(shipped, images, norm, epsilon)
    network, x, y = problem.network, problem.x, problem.y
    same = {"network": str(shipped), "norm": norm, "images": images, "epsilon": problem.epsilon}
    rows = {_key(row): row for row in there}
    right = np.flatnonzero(classified(network(x), y))
    wanted = []
    for package, seed, name, attack in _attacks(problem, progress):
        row = AgreementRow(**same, package=package, attack=name, seed=seed, seconds=0.0, left=[])
        wanted.append(_key(row))
        if wanted[-1] in rows:
            continue
        start = time.perf_counter()
        found = attack(right)
        seconds = time.perf_counter() - start
        left = right[classified(network(found), y[right]).numpy()].tolist()
        rows[_key(row)] = row = dataclasses.replace(row, seconds=seconds, left=left)
        progress(f"{package}, {name}, seed {seed}: {row.percent():g} %, {seconds:.1f} s")
        write_rows(path, rows.values())
    return Agreement([rows[key] for key in wanted])


def _attacks(problem, progress):
    """Tuples of the package, the seed, the attack's name and the attack."""
    for package, prepare in PACKAGES.items():
        for seed in ATTACK_SEEDS:
            try:
                attacks = prepare(problem, seed)
            except ImportError as error:
                progress(f"{package} is not installed ({error})")
                break
            for name, attack in attacks.items():
                yield package, seed, name, attack


def _key(row):
    return dataclasses.astuple(row)[:7]


class BallFirst(L2):
    """Projects on the ball and clips to pixels then, as others do in PGD and Auto-PGD.

    What is clipped is lost from the radius, so that a step goes less far: `L2` clips first.
    """

    def confine(self, candidate, x, epsilon):
        return tf.clip_by_value(self.project(candidate, x, epsilon), 0, 1)


def ours(problem, seed, norm=None):
    norm = norm or NORMS[problem.norm]()
    step_size = 2.5 * problem.epsilon / PGD_STEPS
    pgd = PGD(epsilon=problem.epsilon, step_size=step_size, steps=PGD_STEPS, norm=norm)
    attacks = verdict.ours(problem, seed, norm, (PLAIN_PGD, pgd))
    return {CLEAN_IMAGES: lambda which: problem.x[which], **attacks}


def ball_first(problem, seed):
    if problem.norm != "L2":
        return {}
    attacks = ours(problem, seed, BallFirst())
    return {name: attacks[name] for name in ("apgd-ce", "apgd-t", PLAIN_PGD)}


def _pgd_of(peer):
    """The PGD of one of `peers`, as those above."""

    def package(problem, seed):
        budget = Budget(problem.epsilon, 2.5 * problem.epsilon / PGD_STEPS, PGD_STEPS, problem.norm)
        return {PLAIN_PGD: peer(problem.network, budget, problem.x, problem.y, seed).attack}

    return package


PACKAGES = {
    OURS: ours,
    f"{OURS}, ball first": ball_first,
    THEIRS: verdict.authors,
    "ART": _pgd_of(peers.art),
    "foolbox": _pgd_of(peers.foolbox),
}


def _whole(rows):
    """For each seed the images that withstand all of the standard attack, where it was made."""
    whole = {}
    if not any(row.attack == "square" for row in rows):
        return []
    for row in rows:
        if row.attack not in (CLEAN_IMAGES, PLAIN_PGD):
            whole[row.seed] = whole.get(row.seed, set(row.left)) & set(row.left)
    return list(whole.values())
