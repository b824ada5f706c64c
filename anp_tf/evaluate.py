"""`python -m anp_tf.evaluate`: the results row of a trained network."""

import dataclasses
import pathlib

from absl import flags

from anp_tf import cli, data
from anp_tf.evaluation import markdown_row, results_row
from anp_tf.training.progress import counting
from anp_tf.workdir import Workdir, load_network

CHANGEABLE = (
    "limit_test_examples",
    "epsilon",
    "eval_attack_steps",
    "eval_attack_step_size",
)


def define_flags():
    cli.define_workdir("folder of the run whose network is evaluated")
    cli.define("source", None, "workdir or .keras file the black-box attack is made on")
    cli.define(
        "output",
        None,
        "where the row is written; by default results.json in the workdir, or, if an option of the "
        "run is changed, nowhere",
    )
    cli.define_settings((*CHANGEABLE, "data_dir"))


def main():
    given = flags.FLAGS
    workdir = Workdir(cli.workdir())
    settings = workdir.settings()
    changes = {name: given[name].value for name in CHANGEABLE if given[name].present}
    settings = dataclasses.replace(
        settings, **changes, data_dir=given.data_dir or settings.data_dir
    )
    network = workdir.load_network()
    source = load_network(given.source) if given.source else None
    output = given.output or (None if changes else workdir.results)
    if output and not pathlib.Path(output).absolute().parent.is_dir():
        raise ValueError(f"--output: there is no folder for {output}")
    examples = data.load(settings.dataset, "test", settings.data_dir)
    if settings.limit_test_examples:
        examples = examples.take(settings.limit_test_examples)
    row = results_row(settings, network, examples, source, counting)
    print(markdown_row(row))
    if output:
        print(workdir.save_results(row, output))


if __name__ == "__main__":
    cli.run(main, define_flags)
