"""What the command does once its flags are parsed."""

import dataclasses
import pathlib
import re

import numpy as np
from absl import flags

from anp_tf import cli
from anp_tf.evaluate.row import (
    black_box_images,
    comparison,
    keep_black_box,
    results_row,
    said_hints,
)
from anp_tf.evaluate.undefended import standard_beside
from anp_tf.files import atomic_file, check_folder, check_written
from anp_tf.names import INTERMEDIATE, PROOFS
from anp_tf.options import EVALUATION, one_of
from anp_tf.progress import counting
from anp_tf.robustness import (
    NORMS,
    Interface,
    Threat,
    attack_candidate,
    attack_table,
    certificate_table,
    check_candidate,
    check_table,
    from_model,
    from_workdir,
    prove_candidate,
    saved_images,
    test_examples_of,
)
from anp_tf.robustness.attack_names import check_names, check_options, has_effect
from anp_tf.robustness.batch_files import holds_images
from anp_tf.robustness.threat import STEPS
from anp_tf.run_data import moved_to
from anp_tf.settings import READING, Settings
from anp_tf.threads import use_threads_for_attacks
from anp_tf.workdir import Workdir, holds_results, load_network

CHANGEABLE = Settings.names(EVALUATION)
OF_MODELS = (*READING, "pixels", "output_name", "binary", "channels_first")
OF_PROOFS = ("proofs", "proof_intermediate", "proof_minutes")
OF_ATTACKS = (
    "model",
    *OF_MODELS,
    "straight_through",
    "norm",
    "queries",
    "batch_size",
    "seed",
)


def main():
    use_threads_for_attacks()
    given = flags.FLAGS
    judged = given.attack or given.checks or given.prove
    for is_given, needed, names in (
        (judged, "--attack, --checks or --prove", OF_ATTACKS),
        (given.attack, "--attack", ("restarts", "images", "part")),
        (given.checks, "--checks", ("undefended",)),
        (given.prove, "--prove", OF_PROOFS),
        (given.model, "--model", OF_MODELS),
    ):
        for name in names:
            if not is_given and flags.FLAGS[name].present:
                raise ValueError(f"{name}: expected together with {needed}, received alone")
    if not judged:
        _row()
        return
    for name in given.proofs:
        one_of("proofs", name, PROOFS)
    one_of("proof_intermediate", given.proof_intermediate, INTERMEDIATE)
    seconds = cli.proof_seconds()
    one_of("norm", given.norm, NORMS)
    part = _part()
    if given.images:
        check_written("images", given.images, holds_images)
    if (given.workdir is None) == (given.model is None):
        raise ValueError("model: expected either --workdir or --model")
    of_model = _data() if given.model else None
    threat, pgd = _threat(Workdir(given.workdir).settings() if given.workdir else None)
    queries = {} if given.queries is None else {"queries": given.queries}
    if given.attack:
        check_names(given.attack)
        options = _with_effect({"restarts": given.restarts, **queries, **pgd})
        check_options(given.attack, options, given.source, gradients=given.workdir is not None)
    output = _output()
    for name in ("source", "undefended"):
        if given[name].value:
            Workdir(given[name].value).check_one_run(name)
    candidate = _candidate(of_model)
    source = _other(given.source, candidate)
    if given.attack:
        result, folder = attack_candidate(
            candidate,
            given.attack,
            output,
            threat,
            source=source,
            counter=counting,
            part=part,
            **options,
        )
        if result is None:
            print(f"part {given.part} is done; others are not there yet, in {folder}")
            return
        print(attack_table(result))
        print(output / "robustness.json")
        if given.images:
            _save_images(folder, result["test_examples"], pathlib.Path(given.images))
    if given.checks:
        undefended = _other(given.undefended or standard_beside(candidate), candidate)
        size = pgd.get("step_size")
        checks = check_candidate(
            candidate,
            output,
            threat,
            undefended=undefended,
            source=source,
            counter=counting,
            step_size=size and size * pgd.get("steps", STEPS) / STEPS,
            **queries,
        )
        print(check_table(checks))
        print(output / "checks.json")
    if given.prove:
        certificate = prove_candidate(
            candidate,
            output,
            threat,
            proofs=given.proofs,
            intermediate=given.proof_intermediate,
            seconds=seconds,
            counter=counting,
        )
        print(certificate_table(certificate))
        print(output / "certificate.json")


def _part():
    """The pair (k, n) of the flag."""
    if flags.FLAGS.part is None:
        return 1, 1
    match = re.fullmatch(r"(\d+)/(\d+)", flags.FLAGS.part)
    number, parts = map(int, match.groups()) if match else (0, 0)
    if not 1 <= number <= parts:
        raise ValueError(f"part: expected k/n such as 2/8, received {flags.FLAGS.part}")
    for name in ("checks", "prove"):
        if flags.FLAGS[name].value:
            raise ValueError(f"part: expected with --attack alone, received with --{name}")
    return number, parts


def _candidate(settings):
    """The network that is judged; the settings are of the data of --model."""
    given, interface = flags.FLAGS, _interface()
    limit = given.limit_test_examples
    if given.workdir:
        return from_workdir(given.workdir, limit, given.data_dir, interface, given.dataset)
    Workdir(given.model).check_one_run("model")
    options = settings.data_options
    return from_model(given.model, settings.dataset, limit, settings.data_dir, interface, options)


def _data():
    """The settings of --model's data: as they are given, else as its workdir has them, if any."""
    given = flags.FLAGS
    names = ("dataset", *READING, "data_dir")
    values = {name: cli.value(name) for name in names if given[name].value is not None}
    for folder in pathlib.Path(given.model).absolute().parents[:2]:
        run = Workdir(folder)
        if run.config.exists():
            found = run.settings()
            if found.dataset == values.get("dataset", found.dataset):
                return dataclasses.replace(found, **values)
    if not given.dataset:
        raise ValueError("dataset: expected the data set of --model, received none")
    return Settings(**values)


def _interface():
    given, pixels = flags.FLAGS, None
    if given.pixels is not None:
        try:
            pixels = tuple(map(float, given.pixels))
        except ValueError as error:
            received = ",".join(given.pixels)
            raise ValueError(f"pixels: expected two numbers, received {received}") from error
    return Interface(
        pixels, given.output_name, given.binary, given.channels_first, given.straight_through
    )


def _output():
    """Where the results go: the workdir; of a file or folder, one beside it with its whole name."""
    given = flags.FLAGS
    beside = given.model and f"{pathlib.Path(given.model).absolute()}.robustness"
    path = pathlib.Path(given.output or given.workdir or beside)
    check_folder("output", path)
    return path


def _other(path, candidate):
    """Another network for the same images; a file takes pixels in the range that --model does."""
    if not path:
        return None
    run, interface = Workdir(path), Interface(candidate.interface.pixels)
    if run.config.exists():
        path, interface = run.network, None
    data_dir = flags.FLAGS.data_dir or (candidate.settings and candidate.settings.data_dir)
    options = candidate.data_options
    return from_model(
        path, candidate.dataset, data_dir=data_dir, interface=interface, data_options=options
    )


def _threat(settings):
    """The `Threat`, and the options of PGD: as the run's evaluation has them, or as given."""
    given = flags.FLAGS
    own = settings is not None and given.norm == "Linf"  # the run's threat model
    epsilon = given.epsilon
    if epsilon is None:
        if not own:
            raise ValueError("epsilon: expected the radius of the ball, received none")
        epsilon = settings.epsilon
    pgd = {"steps": given.eval_attack_steps, "step_size": given.eval_attack_step_size}
    if pgd["step_size"] is not None and not 0 < pgd["step_size"] < float("inf"):
        raise ValueError(
            "eval_attack_step_size: expected a value above 0, and finite, received "
            f"{pgd['step_size']}"
        )
    if own and epsilon == settings.epsilon and pgd["steps"] is None:
        pgd["steps"] = settings.eval_attack_steps
        pgd["step_size"] = pgd["step_size"] or settings.eval_attack_step_size
    options = {"seed": given.seed, "samples": given.eval_samples}
    options = {name: value for name, value in options.items() if value is not None}
    pgd = {name: value for name, value in pgd.items() if value is not None}
    return Threat(epsilon, given.norm, batch_size=given.batch_size, **options), pgd


def _with_effect(options):
    """Options of attacks without those that are of the run, or meant for the checks, alone."""
    given = flags.FLAGS

    def asked(name):
        flag = given[name if name in given else f"eval_attack_{name}"]
        return flag.present and not (given.checks and name != "restarts")

    return {k: v for k, v in options.items() if has_effect(k, given.attack) or asked(k)}


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
    if given.dataset:
        settings = moved_to(workdir, settings, given.dataset)
    network = workdir.load_network()
    source = load_network(given.source, "source") if given.source else None
    output = given.output or (None if changes else workdir.results)
    if output:
        check_written("output", output, holds_results)
    examples = test_examples_of(workdir, settings)
    black_box = source and black_box_images(settings, source, examples, counting)
    row = results_row(settings, network, examples, black_box, counting)
    row["black_box_source"] = given.source
    if source is None and output and workdir.results.exists():
        keep_black_box(row, workdir.load_results())
    print(comparison([row]))
    for hint in said_hints([row]):
        print(hint)
    if output:
        print(workdir.save_results(row, output))
