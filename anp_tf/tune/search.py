"""A search by keras-tuner whose trials are runs, each in a workdir of its own."""

import dataclasses
import json
import math
import pathlib
import sys

import keras_tuner
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from anp_tf.errors import NonFiniteError, WorkdirError
from anp_tf.files import atomic_file, check_plain, read_json, write_json
from anp_tf.train.best import kept_epoch, score_of
from anp_tf.train.run import train
from anp_tf.workdir import Workdir

SCORE_NAME = "score"
REFUSED, DIVERGED = "refused", "diverged"  # how a trial fails; what is refused says so first
KEYS = {  # of files of KerasTuner, without which it cannot go on
    "oracle.json": ("ongoing_trials", "hyperparameters", "start_order", "end_order"),
    "trial.json": ("trial_id", "hyperparameters", "metrics", "status"),
}


@dataclasses.dataclass(frozen=True)
class Goal:
    """What a search looks for: robust validation accuracy at some sparsity.

    Attributes:
        min_sparsity: Share of pruned units, in [0, 1), that an epoch needs to count.
        sparsity_weight: Finite float, at least 0: what a pruned unit's share adds to the
            accuracy's.

    Raises:
        ValueError: if a value is out of its range.
    """

    min_sparsity: float = 0.0
    sparsity_weight: float = 0.0

    def __post_init__(self):
        if not 0 <= self.min_sparsity < 1:
            raise ValueError(
                f"min_sparsity: expected a value in [0, 1), received {self.min_sparsity}"
            )
        if not (self.sparsity_weight >= 0 and math.isfinite(self.sparsity_weight)):
            raise ValueError(
                "sparsity_weight: expected a value at least 0 and finite, received "
                f"{self.sparsity_weight}"
            )

    def of(self, epochs, select="best"):
        """The score of a run, and the epoch that has it: the one whose network the run keeps.

        The score is that by which the epoch was chosen, the robust accuracy on the validation
        images, plus the weighted sparsity, as shares. Where the epoch is not sparse enough it is
        below 0, the more the farther it is from enough.

        Args:
            epochs: List of the records of the run's epochs, at least one.
            select: Which network the run keeps, as in `Settings`.

        Returns:
            Float, and the epoch's record, a dict.

        Raises:
            ValueError: if the run had no validation images.
        """
        kept = kept_epoch(epochs, select)
        sparsity, score = kept.get("sparsity", 0.0), score_of(kept)
        if sparsity < self.min_sparsity:
            return sparsity - self.min_sparsity, kept
        if score is None:
            raise ValueError("validation_examples: a search needs validation images, received 0")
        return score + self.sparsity_weight * sparsity, kept


class _RefusedError(ValueError):
    """The options of a trial do not go together."""


class _Kept:
    """An oracle whose files are written whole or not at all, so that no kill damages a search."""

    def save(self):
        with atomic_file(self._get_oracle_fname()) as temporary:
            super(keras_tuner.Oracle, self).save(str(temporary))

    def _save_trial(self, trial):
        with atomic_file(self._get_trial_dir(trial.trial_id) + "/trial.json") as temporary:
            trial.save(str(temporary))


class _RandomSearch(_Kept, keras_tuner.oracles.RandomSearchOracle):
    """Random search of KerasTuner, kept so."""


class _Bayesian(_Kept, keras_tuner.oracles.BayesianOptimizationOracle):
    """Bayesian optimization of KerasTuner, kept so."""


class _Hyperband(_Kept, keras_tuner.oracles.HyperbandOracle):
    """Hyperband of KerasTuner, kept so."""


class _Tuner(keras_tuner.engine.base_tuner.BaseTuner):
    """Trains a run for each trial."""

    def __init__(self, oracle, settings, goal, folder):
        self.settings, self.goal, self.folder = settings, goal, folder
        super().__init__(oracle=oracle, directory=str(folder), project_name="search")
        self.save()  # or a search that is stopped within its first trial would begin anew

    def run_trial(self, trial):
        values = dict(trial.hyperparameters.values)
        changes = {name: value for name, value in values.items() if "/" not in name}
        of_hyperband = {"epochs": values["tuner/epochs"]} if "tuner/epochs" in values else {}
        try:
            settings = dataclasses.replace(self.settings, **changes, **of_hyperband)
        except ValueError as error:
            raise _RefusedError(f"{REFUSED}: {error}") from error
        workdir = Workdir(self.folder / "trials" / trial.trial_id)
        train(settings, workdir)
        score, epoch = self.goal.of(workdir.epochs(), self.settings.select)
        self._show(trial.trial_id, changes, score, epoch)
        return {SCORE_NAME: score}

    def _try_run_and_update_trial(self, trial):
        """As keras-tuner's, but that only a trial that diverges or is refused fails."""
        try:
            self._run_and_update_trial(trial)
            trial.status = "COMPLETED"
        except (NonFiniteError, _RefusedError) as error:
            print(f"trial {trial.trial_id}: {error}", flush=True)
            trial.status, trial.message = "FAILED", str(error)

    def _show(self, trial_id, values, score, epoch):
        """The trial in TensorBoard's HParams."""
        with tf.summary.create_file_writer(str(self.folder / "hparams" / trial_id)).as_default():
            hparams.hparams(values, trial_id=trial_id)
            tf.summary.scalar(SCORE_NAME, score, step=0)
            tf.summary.scalar("sparsity", epoch.get("sparsity", 0.0), step=0)

    def load_model(self, trial):
        """The network of a trial."""
        return Workdir(self.folder / "trials" / trial.trial_id).load_network()

    def save_model(self, trial_id, model, step=0):
        """Nothing: a run keeps its network in its workdir."""


def search(settings, space, goal, folder, *, tuner="hyperband", trials=20):
    """Searches, or goes on with a search that was stopped.

    Every trial is a run in `folder/trials/ID`, whose checkpoints let it go on. Several processes
    search together as keras-tuner has it: one is the chief (`KERASTUNER_TUNER_ID=chief`), others
    have names of their own, all the chief's address (`KERASTUNER_ORACLE_IP`,
    `KERASTUNER_ORACLE_PORT`) and the folder.

    Args:
        settings: `Settings` of all trials, but for what is searched; `select_min_sparsity` is that
            of the goal.
        space: `keras_tuner.HyperParameters`.
        goal: `Goal`.
        folder: Where the search is kept.
        tuner: `"random"`, `"bayesian"`, or `"hyperband"`, whose trials have few epochs at first,
            up to those of the settings for the best.
        trials: Integer, at least 1, at most so many; of Hyperband, its own number.

    Returns:
        The oracle, which knows all trials.

    Raises:
        WorkdirError: if the folder holds another search.
        ValueError: if there are no validation images, or the data cannot be read.
    """
    check_plain("workdir", folder)
    if settings.validation_examples < 1:
        raise ValueError(
            "validation_examples: expected a value at least 1 in a search, received "
            f"{settings.validation_examples}"
        )
    folder = pathlib.Path(folder)
    if tuner == "hyperband" and "epochs" in space:
        raise ValueError("space: expected no epochs, which hyperband sets, received some")
    _open(folder, settings, space, goal, tuner)
    objective = keras_tuner.Objective(SCORE_NAME, "max")
    common = {"objective": objective, "hyperparameters": space, "seed": settings.seed}
    common["max_consecutive_failed_trials"] = sys.maxsize  # those that fail are in the table
    if tuner == "random":
        oracle = _RandomSearch(max_trials=trials, **common)
    elif tuner == "bayesian":
        oracle = _Bayesian(max_trials=trials, **common)
    else:
        oracle = _Hyperband(max_epochs=settings.epochs, **common)
    made = _Tuner(oracle, settings, goal, folder)
    made.search()
    return made.oracle


def _open(folder, settings, space, goal, tuner):
    """Makes the folder of a search, or checks that it holds this one."""
    path = folder / "search.json"
    asked = {
        "settings": settings.of_the_run(),
        "space": [hyperparameter.get_config() for hyperparameter in space.space],
        "goal": dataclasses.asdict(goal),
        "tuner": tuner,
    }
    asked = json.loads(json.dumps(asked))
    folder.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        write_json(path, asked)
        return

    def damaged(text):
        return WorkdirError(text.replace("remove it", f"remove {folder} to search anew"))

    for file in sorted(folder.glob("search/**/*.json")):
        read_json(file, damaged, keys=KEYS.get(file.name, ()))
    found = read_json(path, damaged)
    differing = [name for name in asked if found.get(name) != asked[name]]
    if differing:
        raise WorkdirError(
            f"workdir {folder} is of a search with other {', '.join(differing)}; give another "
            "--workdir"
        )


def completed_trials(oracle):
    """The trials that were completed, the best first, and of equal ones the one begun first."""
    done = [trial for trial in oracle.trials.values() if trial.status == "COMPLETED"]
    return sorted(done, key=lambda trial: (-trial.score, trial.trial_id))


def failed_trials(oracle):
    """The trials that diverged or were refused, in the order in which they were begun."""
    failed = [trial for trial in oracle.trials.values() if trial.status == "FAILED"]
    return sorted(failed, key=lambda trial: trial.trial_id)


def failure(trial):
    """How a trial failed: `REFUSED`, as its options do not go together, or `DIVERGED`."""
    return REFUSED if (trial.message or "").startswith(REFUSED) else DIVERGED


def trial_rows(trials, names):
    """Lists of a trial's number, its score or how it failed, a text, its epochs and options.

    Args:
        trials: Sequence of trials that have ended.
        names: Sequence of the options that were searched.
    """
    rows = []
    for trial in trials:
        values = trial.hyperparameters.values
        epochs = values.get("tuner/epochs", "")
        score = failure(trial) if trial.status == "FAILED" else trial.score
        rows.append([trial.trial_id, score, epochs, *(values[name] for name in names)])
    return rows
