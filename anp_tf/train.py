"""`python -m anp_tf.train`: trains networks, evaluates them, and compares them on the screen."""

from absl import flags

from anp_tf import cli, data
from anp_tf.evaluation import comparison, results_row
from anp_tf.pruning import slim
from anp_tf.serving import export_saved_model, latest_version
from anp_tf.training.progress import counting
from anp_tf.training.run import train
from anp_tf.workdir import Workdir


def define_flags():
    cli.define_settings()
    cli.define_workdir("folder of the run; of several methods, a folder in it for each")
    cli.define("standard_epochs", None, "epochs of `standard` among several methods", int)
    cli.define("export_dir", None, "where the last method's slimmed network is exported")


def main():
    runs = plan()
    rows = []
    for settings, workdir in runs:
        network = train(settings, workdir)
        rows.append(evaluated(settings, workdir, network))
    print(comparison(rows))
    for _, workdir in runs:
        print(f"{workdir.results}")
    if flags.FLAGS.export_dir:
        export(network, flags.FLAGS.export_dir)


def plan():
    """The runs of the flags: a pair of `Settings` and `Workdir` for each method, in order."""
    given = flags.FLAGS
    folder = cli.workdir()
    if given.standard_epochs is not None and given.standard_epochs < 1:
        raise ValueError(
            f"--standard_epochs: expected a value at least 1, received {given.standard_epochs}"
        )
    methods = given.method.split(",")
    if len(methods) == 1:
        return [(cli.settings_from_flags(), Workdir(folder))]
    runs = []
    for method in methods:
        changes = {"method": method}
        if method == "standard":
            changes["epochs"] = given.standard_epochs or given.epochs
        elif "standard" in methods[: methods.index(method)] and not given.init_from:
            changes["init_from"] = f"{folder}/standard"
        runs.append((cli.settings_from_flags(**changes), Workdir(f"{folder}/{method}")))
    return runs


def evaluated(settings, workdir, network):
    """The results row, from `results.json` if it is there already."""
    if workdir.results.exists():
        return workdir.load_results()
    examples = data.load(settings.dataset, "test", settings.data_dir)
    if settings.limit_test_examples:
        examples = examples.take(settings.limit_test_examples)
    row = results_row(settings, network, examples, counter=counting)
    workdir.save_results(row)
    return row


def export(network, directory):
    """Exports the slimmed network, unless the directory has a version already."""
    path = latest_version(directory)
    if path is None:
        path = export_saved_model(slim(network), directory)
    print(f"the slimmed network is in {path}; load it by tf.saved_model.load({str(path)!r})")


if __name__ == "__main__":
    cli.run(main, define_flags)
