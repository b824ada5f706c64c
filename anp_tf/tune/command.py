"""What the command does once its flags are parsed."""

import dataclasses
import os
import pathlib

import rich.box
import rich.table
from absl import flags

from anp_tf import cli
from anp_tf.errors import NonFiniteError
from anp_tf.files import atomic_file
from anp_tf.names import TUNERS
from anp_tf.options import one_of
from anp_tf.tables import as_text
from anp_tf.tune.search import (
    DIVERGED,
    Goal,
    completed_trials,
    failed_trials,
    failure,
    search,
    trial_rows,
)
from anp_tf.tune.space import read_space


def main():
    given = flags.FLAGS
    one_of("tuner", given.tuner, TUNERS)
    if not given.space:
        raise ValueError("space: expected a TOML file, received none")
    if given.trials < 1:
        raise ValueError(f"trials: expected a value at least 1, received {given.trials}")
    places = (pathlib.Path(given.space), cli.packaged_config(pathlib.Path(given.space).name))
    path = next((place for place in places if place.exists()), None)  # packaged for --config
    if path is None:
        raise ValueError(f"space: expected a place that exists, received {given.space}")
    space, folder = read_space(path), pathlib.Path(cli.workdir())
    names = [hyperparameter.name for hyperparameter in space.space]
    goal = Goal(given.min_sparsity, given.sparsity_weight)
    if given.select_min_sparsity not in (0, goal.min_sparsity):
        raise ValueError(
            f"select_min_sparsity: expected that of --min_sparsity, {goal.min_sparsity}, in a "
            f"search, received {given.select_min_sparsity}"
        )
    settings = cli.settings_from_flags(select_min_sparsity=goal.min_sparsity)
    oracle = search(settings, space, goal, folder, tuner=given.tuner, trials=given.trials)
    if os.environ.get("KERASTUNER_TUNER_ID", "chief") != "chief":
        return  # the chief has the results
    trials, failed = completed_trials(oracle), failed_trials(oracle)
    if not trials:
        diverged = [trial for trial in failed if failure(trial) == DIVERGED]
        if not diverged:
            raise ValueError(f"all {len(failed)} trials were {failed[-1].message}")
        raise NonFiniteError(f"the training of all {len(diverged)} trials diverged")
    table = rich.table.Table("trial", "score", "epochs", *names, box=rich.box.SIMPLE)
    for trial, score, epochs, *values in trial_rows(trials + failed, names):
        texts = [f"{v:.4g}" if isinstance(v, float) else str(v) for v in values]
        shown = score if isinstance(score, str) else f"{score:.4f}"
        table.add_row(trial, shown, str(epochs), *texts)
    print(as_text(table, width=40 + 22 * len(names)))
    path = folder / "best.cfg"
    best = trials[0]
    values = {name: best.hyperparameters.values[name] for name in names}
    _write(path, dataclasses.replace(settings, **values), best, given.space)
    print(path)


def _write(path, settings, trial, space):
    """The settings of the best trial as a flagfile for `train`."""
    epochs = trial.hyperparameters.values.get("tuner/epochs", settings.epochs)  # of hyperband
    score = f"score {trial.score:.4f} after {epochs} epochs"
    lines = [
        f"# Trial {trial.trial_id}, the best of a search in {space}: {score}.",
        f"# python -m anp_tf.train --flagfile={path} --workdir=WORKDIR",
        *settings.flag_lines(),
    ]
    with atomic_file(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n")
