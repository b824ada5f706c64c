"""`python -m anp_tf.evaluate`: a network's results row, or its accuracy under stronger attacks."""

import dataclasses
import pathlib

import numpy as np
from absl import flags

from anp_tf import cli
from anp_tf.evaluate.row import black_box_images, markdown_row, results_row
from anp_tf.files import atomic_file
from anp_tf.robustness import (
    KNOWN_ATTACKS,
    NORMS,
    Threat,
    attack_candidate,
    attack_table,
    check_candidate,
    check_table,
    from_model,
    from_workdir,
    saved_images,
    test_examples,
)
from anp_tf.settings import one_of
from anp_tf.training.progress import counting
from anp_tf.workdir import Workdir, load_network

CHANGEABLE = (
    "limit_test_examples",
    "epsilon",
    "eval_attack_steps",
    "eval_attack_step_size",
    "eval_samples",
)
OF_ATTACKS = ("model", "dataset", "norm", "restarts", "queries", "batch_size", "images", "seed")


def define_flags():
    cli.define_workdir("folder of the run whose network is evaluated")
    cli.define("model", None, "in place of a workdir: a .keras file or a SavedModel to be attacked")
    cli.define("dataset", None, "of --model: TFDS name of an image classification data set")
    cli.define("source", None, "workdir or .keras file the black-box attack is made on")
    cli.define(
        "attack",
        None,
        f"attacks, comma separated, for the worst case over them: {', '.join(KNOWN_ATTACKS)}; "
        "pgd20 is pgd with 20 steps. By default the results row is made",
        list,
    )
    cli.define("checks", False, "look for signs that the robustness is only apparent", bool)
    cli.define("undefended", None, "of --checks: workdir or .keras file of an undefended network")
    cli.define("norm", "Linf", f"of --attack and --checks: of the ball, {' or '.join(NORMS)}")
    cli.define("restarts", 1, "of --attack: random starts of pgd, apgd, fab and latent", int)
    cli.define("queries", None, "of square; by default 5000, in --checks 1000", int)
    cli.define("batch_size", 250, "of --attack and --checks: images at a time", int)
    cli.define("images", None, "of --attack: .npz file for the adversarial images")
    cli.define(
        "output",
        None,
        "where the row is written; by default results.json in the workdir, or, if an option of the "
        "run is changed, nowhere. Of --attack and --checks: the folder of robustness.json and "
        "checks.json; by default the workdir, or MODEL.robustness",
    )
    cli.define_settings((*CHANGEABLE, "seed", "data_dir"))
    flags.DEFINE_alias("eps", "epsilon")


def main():
    given = flags.FLAGS
    if not given.attack and not given.checks:
        _unused("--attack or --checks", *OF_ATTACKS, "undefended")
        _row()
        return
    if not given.attack:
        _unused("--attack", "restarts", "images")
    if not given.checks:
        _unused("--checks", "undefended")
    one_of("norm", given.norm, NORMS)
    if given.images and not pathlib.Path(given.images).absolute().parent.is_dir():
        raise ValueError(f"--images: there is no folder for {given.images}")
    candidate = _candidate()
    threat = _threat(candidate)
    output = pathlib.Path(given.output or _default_output(candidate))
    source = _other(given.source, candidate)
    queries = {} if given.queries is None else {"queries": given.queries}
    if given.attack:
        options = {"restarts": given.restarts, "source": source, "counter": counting, **queries}
        result, folder = attack_candidate(candidate, given.attack, output, threat, **options)
        print(attack_table(result))
        print(output / "robustness.json")
        if given.images:
            _save_images(folder, len(candidate.examples), pathlib.Path(given.images))
    if given.checks:
        undefended = _other(given.undefended or _standard(candidate), candidate)
        options = {"undefended": undefended, "source": source, "counter": counting, **queries}
        print(check_table(check_candidate(candidate, output, threat, **options)))
        print(output / "checks.json")


def _unused(needed, *names):
    """An error for flags that have no effect without others."""
    for name in names:
        if flags.FLAGS[name].present:
            raise ValueError(f"--{name}: expected together with {needed}, received alone")


def _candidate():
    given = flags.FLAGS
    if (given.workdir is None) == (given.model is None):
        raise ValueError("--model: expected either --workdir or --model")
    if given.workdir:
        return from_workdir(given.workdir, given.limit_test_examples, given.data_dir)
    if not given.dataset:
        raise ValueError("--dataset: expected the data set of --model, received none")
    return from_model(given.model, given.dataset, given.limit_test_examples, given.data_dir)


def _default_output(candidate):
    """The workdir; of a file or folder, one beside it with its whole name."""
    if candidate.settings:
        return candidate.path
    return f"{pathlib.Path(flags.FLAGS.model).absolute()}.robustness"


def _other(path, candidate):
    """Another network for the same images."""
    if not path:
        return None
    path = Workdir(path).network if pathlib.Path(path).suffix != ".keras" else path
    data_dir = flags.FLAGS.data_dir or (candidate.settings and candidate.settings.data_dir)
    return from_model(path, candidate.dataset, data_dir=data_dir)


def _standard(candidate):
    """The standard network that the run started from, or the one beside the run."""
    if not candidate.settings:
        return None
    beside = candidate.path.absolute().parent
    places = [beside / "standard"]
    if candidate.settings.init_from:
        start = pathlib.Path(candidate.settings.init_from)
        places = [start, beside / start.name, *places]
    for workdir in map(Workdir, places):
        if workdir.network.exists() and _undefended_like(candidate.settings, workdir.settings()):
            return workdir.path
    return None


def _undefended_like(settings, others):
    """Whether `others` are of a standard network of the same shape, for the same data."""
    shape = ("dataset", "network", "width_multiplier")
    same = all(getattr(settings, name) == getattr(others, name) for name in shape)
    return others.method == "standard" and same


def _threat(candidate):
    given, settings = flags.FLAGS, candidate.settings
    own = settings is not None and given.norm == "Linf"  # the run's threat model
    epsilon = given.epsilon
    if epsilon is None:
        if not own:
            raise ValueError("--epsilon: expected the radius of the ball, received none")
        epsilon = settings.epsilon
    options = {
        "steps": given.eval_attack_steps,
        "step_size": given.eval_attack_step_size,
        "seed": given.seed,
        "samples": given.eval_samples,
    }
    if own and epsilon == settings.epsilon and options["steps"] is None:
        options["steps"] = settings.eval_attack_steps
        options["step_size"] = options["step_size"] or settings.eval_attack_step_size
    options = {name: value for name, value in options.items() if value is not None}
    return Threat(epsilon, given.norm, batch_size=given.batch_size, **options)


def _save_images(folder, count, path):
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **saved_images(folder, count))
    print(path)


def _row():
    given = flags.FLAGS
    workdir = Workdir(cli.workdir())
    settings = workdir.settings()
    values = {name: given[name].value for name in CHANGEABLE if given[name].value is not None}
    changes = {name: value for name, value in values.items() if value != getattr(settings, name)}
    settings = dataclasses.replace(
        settings, **changes, data_dir=given.data_dir or settings.data_dir
    )
    network = workdir.load_network()
    source = load_network(given.source) if given.source else None
    output = given.output or (None if changes else workdir.results)
    if output and not pathlib.Path(output).absolute().parent.is_dir():
        raise ValueError(f"--output: there is no folder for {output}")
    examples = test_examples(settings)
    black_box = source and black_box_images(settings, source, examples, counting)
    row = results_row(settings, network, examples, black_box, counting)
    row["black_box_source"] = given.source
    if source is None and output and workdir.results.exists():
        keep_black_box(row, workdir.load_results())
    print(markdown_row(row))
    if output:
        print(workdir.save_results(row, output))


def keep_black_box(row, old):
    """Takes over the black-box figures that were measured before under the same attack."""
    if all(
        old.get(name) == row[name] for name in ("attack", "epsilon", "step_size", "test_examples")
    ):
        row.update({name: value for name, value in old.items() if name.startswith("black_box")})


if __name__ == "__main__":
    cli.run(main, define_flags)
