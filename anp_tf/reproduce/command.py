"""What the command does once its flags are parsed."""

import dataclasses
import pathlib
import sys

from absl import flags

from anp_tf import cli
from anp_tf.evaluate.row import results_row
from anp_tf.files import atomic_file, write_json
from anp_tf.names import FIGURES, PROOFS, TABLES
from anp_tf.options import number, one_of
from anp_tf.progress import counting
from anp_tf.reproduce import frontier, paper, proved, sparsity, table, wang2018
from anp_tf.reproduce.plan import read_rows, table_runs
from anp_tf.reproduce.runner import judge_runs, make_runs, row_maker
from anp_tf.robustness import test_examples
from anp_tf.robustness.attack_names import check_names
from anp_tf.settings import Settings
from anp_tf.threads import use_threads_for_attacks
from anp_tf.train.command import export, typed_flags

OF_PAPER = tuple(f"--table={name}" for name in paper.SETTINGS)
OF_PROVED = ("--figure=proved", "--figure=proved_sparsity")
OF_RUNS = (*OF_PAPER, "--table=wang2018", "--figure=sparsity")
READERS = {  # of the flags that not all tables and figures read
    **dict.fromkeys(("seeds", "standard_attack", "export"), OF_PAPER),
    # Rows have no effect on wang2018, but a flagfile that has some is for it, too.
    **dict.fromkeys(("methods", "row"), OF_RUNS),
    **dict.fromkeys(("epsilons", "attacks", "proofs", "proof_minutes"), OF_PROVED),
    "networks": ("--figure=frontier", *OF_PROVED),
}


def main():
    given = flags.FLAGS
    folder = pathlib.Path(cli.workdir())
    if (given.table is None) == (given.figure is None):
        raise ValueError("table: expected either --table or --figure")
    if given.figure is not None:
        one_of("figure", given.figure, FIGURES)
        asked = f"--figure={given.figure}"
    else:
        one_of("table", given.table, TABLES)
        asked = f"--table={given.table}"
    for name, readers in READERS.items():
        if given[name].present and asked not in readers:
            known = ", ".join(readers)
            raise ValueError(f"{name}: expected together with {known}, received with {asked}")
    if asked in OF_PROVED:
        _proved(folder)
    elif asked in OF_PAPER:
        _paper(folder)
    elif given.figure == "frontier":
        _frontier(folder)
    elif given.figure:
        _sparsity(folder)
    else:
        _wang2018(folder)


def _paper(folder):
    given = flags.FLAGS
    methods = _methods(paper.METHODS)
    for name, least in (("seeds", 1), ("standard_attack", 0)):
        if given[name].value < least:
            raise ValueError(
                f"{name}: expected a value at least {least}, received {given[name].value}"
            )
    settings = _settings(given.table)
    runs = table_runs(folder, settings, methods, given.seeds, read_rows(given.row))
    make_runs(runs, row_maker())
    if given.standard_attack:
        judge_runs(runs, given.standard_attack)
    if given.export:
        export_rows(runs, folder / "saved_model")
    record = table.table_record(given.table, methods, runs)
    _write(folder, "table", record, table.markdown(record))


def export_rows(runs, folder):
    """Exports the rows among the runs to `folder/NAME`, unless it has their networks already.

    Args:
        runs: List of `Run`, done.
        folder: `pathlib.Path`.
    """
    for run in runs:
        if run.row:
            export(run.workdir, folder / run.name)


def _wang2018(folder):
    read_rows(flags.FLAGS.row)  # an error if one cannot be read
    if "row" in typed_flags(sys.argv[1:]):
        known = ", ".join(reader for reader in OF_RUNS if reader != "--table=wang2018")
        raise ValueError(
            f"row: expected together with {known}, or in a flagfile, received with --table=wang2018"
        )
    names = _methods(wang2018.row_names())
    runs = wang2018.wang2018_runs(folder, _settings("mnist"))
    make_runs([run for run in runs if run.name in names], wang2018.wang2018_row)
    record = wang2018.wang2018_record(runs)
    _write(folder, "table", record, wang2018.wang2018_markdown(record))


def _sparsity(folder):
    settings = _settings("mnist")
    methods = _methods(tuple(sparsity.METHOD_LABELS))
    runs = sparsity.sparsity_runs(folder, settings, methods, read_rows(flags.FLAGS.row))

    def evaluate(run, network):
        return results_row(run.settings, network, test_examples(run.settings), None, counting)

    make_runs(runs, evaluate)
    points = sparsity.sparsity_record(runs)
    _write(folder, "sparsity", points)
    sparsity.draw(points, folder / "sparsity.svg")
    print(folder / "sparsity.svg")


def _frontier(folder):
    points = frontier.frontier_points(proved.named_paths(flags.FLAGS.networks))
    folder.mkdir(parents=True, exist_ok=True)
    frontier.draw(points, folder / "frontier.svg")
    print(frontier.frontier_table(points))
    _write(folder, "frontier", points)
    print(folder / "frontier.svg")


def _proved(folder):
    given = flags.FLAGS
    for name in ("epsilons", "attacks", "proofs"):
        if not given[name].value:
            raise ValueError(f"{name}: expected at least one, received none")
    for name in given.proofs:
        one_of("proofs", name, PROOFS)
    check_names(given.attacks)
    try:
        epsilons = sorted(set(map(number, given.epsilons)))
    except ValueError as error:
        received = ",".join(given.epsilons)
        raise ValueError(f"epsilons: expected numbers, received {received}") from error
    seconds = cli.proof_seconds()
    paths = proved.named_paths(given.networks)
    use_threads_for_attacks()
    settings = _settings("mnist")
    candidates = proved.candidates_of(paths, settings)
    by_epsilon = given.figure == "proved"
    if not by_epsilon:
        proved.check_sparsities(candidates)
    points = proved.make_points(
        candidates,
        epsilons,
        folder,
        settings.seed,
        given.attacks,
        given.proofs,
        seconds=seconds,
        counter=counting,
    )
    figure = folder / f"{given.figure}.svg"
    (proved.draw_by_epsilon if by_epsilon else proved.draw_by_sparsity)(points, figure)
    print(proved.points_table(points))
    print(folder / "proved.json")
    print(figure)


def _methods(known):
    methods = tuple(flags.FLAGS.methods or known)
    for method in methods:
        one_of("methods", method, known)
    if len(set(methods)) < len(methods):
        raise ValueError(f"methods: expected each method once, received {','.join(methods)}")
    return methods


def _settings(table):
    """The paper's settings of a table, with the flags that are given."""
    settings = cli.settings_from_flags(method="anp_vs")
    given = {
        field.name: getattr(settings, field.name)
        for field in dataclasses.fields(Settings)
        if field.name == "method" or flags.FLAGS[field.name].present
    }
    return Settings(**{**paper.SETTINGS[table], **given})


def _write(folder, name, record, markdown=None):
    write_json(folder / f"{name}.json", record)
    if markdown is not None:
        with atomic_file(folder / f"{name}.md") as temporary:
            temporary.write_text(markdown)
        print(markdown)
    print(folder / f"{name}.json")
