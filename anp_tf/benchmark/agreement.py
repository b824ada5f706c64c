"""What each attack leaves of a network's images here, and by the code of others."""

import dataclasses
import json
import pathlib
import time

import numpy as np
import tensorflow as tf

from anp_tf import data
from anp_tf.attacks import L2, PGD, Linf
from anp_tf.benchmark import verdict
from anp_tf.files import write_json
from anp_tf.losses import classified
from anp_tf.robustness import SavedModelNetwork

SEEDS = (0, 1)
STEPS = 40  # of PGD, of 2.5 epsilon / 40
CLEAN, PLAIN, WHOLE = "none", "pgd", "all but pgd"
OURS, THEIRS = verdict.OURS, verdict.THEIRS


@dataclasses.dataclass(frozen=True)
class Row:
    """An attack on all images that are classified correctly.

    Attributes:
        network: Folder of the network.
        norm, epsilon, images: The ball, and how many test images there are.
        package, attack, seed: What was made; `CLEAN` for the images as they are.
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
        List of `Row`.
    """
    shipped = pathlib.Path(shipped)
    results = json.loads((shipped / "results.json").read_text())
    problem = {"network": str(shipped), "norm": norm, "images": images}
    problem["epsilon"] = epsilon or results["epsilon"]
    network = SavedModelNetwork(shipped / "1")
    some = data.load(results["dataset"], "test").take(images)
    x, y = (some.images / 255).astype(np.float32), some.labels.astype(np.int32)
    path = None if path is None else pathlib.Path(path)
    there = json.loads(path.read_text()) if path is not None and path.exists() else []
    rows = {_key(row): row for row in (Row(**each) for each in there)}
    right = np.flatnonzero(classified(network(x), y))
    wanted = []
    given = network, x, y, NORMS[norm](), problem["epsilon"]
    for package, seed, name, attack in _attacks(given, progress):
        row = Row(**problem, package=package, attack=name, seed=seed, seconds=0.0, left=[])
        wanted.append(_key(row))
        if wanted[-1] in rows:
            continue
        start = time.perf_counter()
        found = attack(right)
        seconds = time.perf_counter() - start
        left = right[classified(network(found), y[right]).numpy()].tolist()
        rows[_key(row)] = row = dataclasses.replace(row, seconds=seconds, left=left)
        progress(f"{package}, {name}, seed {seed}: {row.percent():g} %, {seconds:.1f} s")
        if path is not None:
            write_json(path, [dataclasses.asdict(each) for each in rows.values()])
    return [rows[key] for key in wanted]


def _attacks(given, progress):
    """Tuples of the package, the seed, the attack's name and the attack."""
    for package, prepare in PACKAGES.items():
        for seed in SEEDS:
            try:
                attacks = prepare(*given, seed)
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


def ours(network, x, y, norm, epsilon, seed):
    pgd = PGD(epsilon=epsilon, step_size=2.5 * epsilon / STEPS, steps=STEPS, norm=norm)
    attacks = verdict.ours(network, x, y, norm, epsilon, seed, {PLAIN: pgd})
    return {CLEAN: lambda which: x[which], **attacks}


def ball_first(network, x, y, norm, epsilon, seed):
    if not isinstance(norm, L2):
        return {}
    attacks = ours(network, x, y, BallFirst(), epsilon, seed)
    return {name: attacks[name] for name in ("apgd-ce", "apgd-t", PLAIN)}


def art(network, x, y, norm, epsilon, seed):
    from art.attacks.evasion import ProjectedGradientDescent
    from art.estimators.classification import TensorFlowV2Classifier

    classifier = TensorFlowV2Classifier(
        model=network,
        nb_classes=int(network(x[:1]).shape[-1]),
        input_shape=x.shape[1:],
        loss_object=tf.keras.losses.CategoricalCrossentropy(from_logits=True),
        clip_values=(0.0, 1.0),
    )

    def run(which):
        np.random.seed(seed)
        attack = ProjectedGradientDescent(
            classifier,
            norm=2 if isinstance(norm, L2) else np.inf,
            eps=epsilon,
            eps_step=2.5 * epsilon / STEPS,
            max_iter=STEPS,
            num_random_init=1,
            batch_size=len(which),
            verbose=False,
        )
        return attack.generate(x[which], y[which])

    return {PLAIN: run}


def foolbox(network, x, y, norm, epsilon, seed):
    import eagerpy
    from foolbox import TensorFlowModel
    from foolbox.attacks import L2PGD, LinfPGD

    model = TensorFlowModel(network, bounds=(0, 1), device=tf.constant(0.0).device)
    kind = L2PGD if isinstance(norm, L2) else LinfPGD
    attack = kind(abs_stepsize=2.5 * epsilon / STEPS, steps=STEPS)

    def run(which):
        tf.random.set_seed(seed)
        given = (eagerpy.astensor(tf.constant(each[which])) for each in (x, y.astype(np.int64)))
        return attack(model, *given, epsilons=epsilon)[1].numpy()

    return {PLAIN: run}


NORMS = {"Linf": Linf, "L2": L2}
PACKAGES = {
    OURS: ours,
    f"{OURS}, ball first": ball_first,
    THEIRS: verdict.authors,
    "ART": art,
    "foolbox": foolbox,
}


def agreement_table(rows):
    """Robust accuracies in percent as a Markdown table, those of the seeds beside each other."""
    packages = dict.fromkeys(row.package for row in rows)
    attacks = dict.fromkeys(row.attack for row in rows)
    first = rows[0]
    lines = [
        f"{first.network}, {first.images} images, {first.norm}, ε = {first.epsilon:g}: robust "
        "accuracy, %",
        "",
        f"| | {' | '.join(packages)} |",
        "|---" + "|---:" * len(packages) + "|",
    ]

    def cell(package, attack):
        of_package = [row for row in rows if row.package == package]
        if attack == WHOLE:
            whole = _whole(of_package)
            return " and ".join(f"{100 * len(left) / first.images:.1f}" for left in whole)
        found = [f"{row.percent():.1f}" for row in of_package if row.attack == attack]
        return " and ".join(found[:1] if attack == CLEAN else found)

    for attack in (*attacks, WHOLE):
        lines.append(f"| {attack} | {' | '.join(cell(each, attack) for each in packages)} |")
    return "\n".join(lines)


def _whole(rows):
    """For each seed the images that withstand all of the standard attack, where it was made."""
    whole = {}
    if not any(row.attack == "square" for row in rows):
        return []
    for row in rows:
        if row.attack not in (CLEAN, PLAIN):
            whole[row.seed] = whole.get(row.seed, set(row.left)) & set(row.left)
    return list(whole.values())


def agreement_record(rows):
    """The rows as `{subject: percent}`."""
    return {f"{row.package}, {row.attack}, seed {row.seed}": row.percent() for row in rows}
