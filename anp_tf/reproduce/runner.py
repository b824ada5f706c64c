"""Makes runs one after the other, and says what is running, what is left and for how long."""

import dataclasses
import datetime
import logging
import statistics

from anp_tf.evaluate.row import black_box_images, results_row
from anp_tf.files import read_json
from anp_tf.methods import METHODS
from anp_tf.progress import counting
from anp_tf.robustness import Threat, attack_candidate, from_workdir, test_examples_of
from anp_tf.train.prepare import digests_of_others
from anp_tf.train.run import train

log = logging.getLogger(__name__)


def make_runs(runs, evaluate):
    """Trains and evaluates what is not done yet.

    Args:
        runs: List of `Run`, in order.
        evaluate: Function `(run, network) -> results` of a row; the results are saved.

    Raises:
        WorkdirError: if a run that is done was made with other settings.
    """
    for index, run in enumerate(runs):
        # An error where it was made with other settings; it may have to go on to more epochs.
        if run.done and not run.workdir.start(run.settings).removes:
            _tell_others(run)
            continue
        print(_status(run, runs[index + 1 :], runs), flush=True)
        network = train(run.settings, run.workdir)
        if run.row:
            used = dataclasses.replace(run, settings=run.workdir.settings())
            run.workdir.save_results(evaluate(used, network))


def _tell_others(run):
    """Warns where a run started from, or was taught by, another network than is there now."""
    before = read_json(run.workdir.origin) or {}
    for name, now in digests_of_others(run.settings).items():
        if before.get(name, now) != now:
            option = name.removesuffix("_sha256")
            log.warning(
                "%s is of another network %s=%s than is there now; remove %s to have it made anew",
                run.name,
                option,
                getattr(run.settings, option),
                run.workdir.path,
            )


def judge_runs(runs, images):
    """Makes the standard attack on the first test images of each row that has not undergone it.

    Args:
        runs: List of `Run`, done.
        images: Integer, at least 1.
    """
    for run in (run for run in runs if run.row):
        judged = run.standard_attack()
        if not judged or judged["test_examples"] < images:
            candidate = from_workdir(run.workdir.path, images, run.settings.data_dir)
            threat = Threat(run.settings.epsilon)
            print(f"judging: {run.name}", flush=True)
            attack_candidate(candidate, ["standard"], run.workdir.path, threat, counter=counting)


def row_maker():
    """A function `(run, network) -> results row`, with the black-box attack from the run's source.

    The images of that attack are made once for all runs of a seed.
    """
    images = {}

    def row(run, network):
        settings, examples = run.settings, test_examples_of(run.workdir, run.settings)
        if settings.seed not in images:
            images.clear()
            source = run.source.load_network()
            images[settings.seed] = black_box_images(settings, source, examples, counting)
        results = results_row(settings, network, examples, images[settings.seed], counting)
        return {**results, **run.black_box_source()}

    return row


def _status(run, later, runs):
    left = [other.name for other in later if not other.done]
    text = f"running: {run.name}; left after it: {', '.join(left) or 'nothing'}"
    seconds = _time_left([run, *(other for other in later if not other.done)], runs)
    if seconds is None:
        return f"{text}; the time left is known once a run of each kind is done"
    return f"{text}; training left: about {datetime.timedelta(seconds=round(seconds))}"


def _time_left(left, runs):
    """Seconds of training that are left, by the runs that are done; None if they do not tell."""
    rates = {}
    for run in runs:
        if run.trained and run.workdir.epochs():
            rates.setdefault(_kind(run), []).append(run.seconds() / run.settings.epochs)
    if any(_kind(run) not in rates for run in left):
        return None
    return sum(
        max(0.0, statistics.fmean(rates[_kind(run)]) * run.settings.epochs - run.seconds())
        for run in left
    )


def _kind(run):
    return METHODS[run.settings.method].uses_attack, run.settings.attack
