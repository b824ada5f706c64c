"""What the command does once its flags are parsed."""

import os
import re
import sys

from absl import flags

from anp_tf import cli
from anp_tf.evaluate.row import comparison, results_row, said_hints
from anp_tf.export.release import release, say_exported
from anp_tf.files import check_plain
from anp_tf.methods import METHODS
from anp_tf.progress import counting
from anp_tf.robustness import test_examples_of
from anp_tf.serving import latest_version
from anp_tf.settings import unread
from anp_tf.train.distribution import join
from anp_tf.train.run import train
from anp_tf.workdir import Workdir


def main():
    runs = plan()
    methods = [settings.method for settings, _ in runs]
    if ignored := ignored_flags(methods, sys.argv[1:]):
        print(f"without effect on {', '.join(methods)}: {', '.join(ignored)}")
    # First of all, as TensorFlow demands.
    chief = join().chief if flags.FLAGS.distribution == "multi_worker" else True
    rows = []
    for settings, workdir in runs:
        network = train(settings, workdir, flags.FLAGS.overwrite)
        if chief:
            rows.append(evaluated(workdir, network))
    if not chief:
        return
    print(comparison(rows))
    for hint in said_hints(rows):
        print(hint)
    for _, workdir in runs:
        print(workdir.results)
    if flags.FLAGS.export:
        export(workdir, os.path.join(cli.workdir(), "saved_model"))


def plan():
    """The runs of the flags: a pair of `Settings` and `Workdir` for each method, in order."""
    given = flags.FLAGS
    folder = cli.workdir()
    if given.export:
        check_plain("workdir", folder)
    methods = [method.strip() for method in given.method.split(",")]
    if len(set(methods)) < len(methods):
        raise ValueError(f"method: expected each method once, received {given.method}")
    if given.standard_epochs is not None and given.standard_epochs < 1:
        raise ValueError(
            f"standard_epochs: expected a value at least 1, received {given.standard_epochs}"
        )
    if len(methods) == 1:
        return [(cli.settings_from_flags(), Workdir(folder))]
    runs = []
    for index, method in enumerate(methods):
        changes = {"method": method}
        if method == "standard":
            changes["epochs"] = given.standard_epochs or given.epochs
        start = METHODS[method].starts_from
        if start in methods[:index] and not given.init_from:
            changes["init_from"] = os.path.join(folder, start)
        workdir = Workdir(os.path.join(folder, method))
        runs.append((cli.settings_from_flags(**changes), workdir))
    return runs


def ignored_flags(methods, arguments):
    """List of the flags on a command line that none of the methods reads.

    Those in flagfiles are not meant, which may be for several methods.
    """
    given = typed_flags(arguments)
    of_none = set.intersection(*(set(unread(METHODS[method])) for method in methods))
    if len(methods) == 1 or "standard" not in methods:
        of_none.add("standard_epochs")
    return [f"--{name}" for name in sorted(given & of_none)]


def typed_flags(arguments):
    """The set of the names of the flags on a command line, without those in its flagfiles."""
    return {match[1] for text in arguments if (match := re.match("--?(?:no)?([^=]+)", text))}


def evaluated(workdir, network):
    """The results row, from `results.json` if it is there already."""
    if workdir.results.exists():
        return workdir.load_results()
    settings = workdir.settings()
    row = results_row(settings, network, test_examples_of(workdir, settings), counter=counting)
    workdir.save_results(row)
    return row


def export(workdir, directory):
    """Exports the slimmed network, unless the newest version is younger than the network."""
    path = latest_version(directory)
    if path is None or path.stat().st_mtime < workdir.network.stat().st_mtime:
        (path,) = release(workdir, directory)
    say_exported([path])
