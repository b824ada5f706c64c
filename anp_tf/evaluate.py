"""`python -m anp_tf.evaluate`: the results row of a trained network."""

import dataclasses
import pathlib

from absl import flags

from anp_tf import cli
from anp_tf.evaluation import black_box_images, markdown_row, results_row, test_examples
from anp_tf.training.progress import counting
from anp_tf.workdir import Workdir, load_network

CHANGEABLE = (
    "limit_test_examples",
    "epsilon",
    "eval_attack_steps",
    "eval_attack_step_size",
    "eval_samples",
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
