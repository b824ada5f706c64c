"""`python -m anp_tf.benchmark`: ratios of speed and size, measured in one process."""

import json
import pathlib

from absl import flags

from anp_tf import cli
from anp_tf.benchmarks import benchmark_slim, slim_record, slim_table
from anp_tf.files import atomic_file


def define_flags():
    cli.define("json", None, "also write {benchmark: {subject: ratio}} to this file")
    cli.define("shipped", None, "slim: folder of an exported network to measure as well")
    cli.define("width_multiplier", 1.0, "of VGG-16 and ResNet-18", float)
    cli.define("repeats", 10, "timed calls of each subject", int)


def main(subjects):
    given = flags.FLAGS
    if given.width_multiplier <= 0 or given.repeats < 1:
        raise ValueError(
            "--width_multiplier and --repeats: expected values above 0, received "
            f"{given.width_multiplier} and {given.repeats}"
        )
    record = {subject: BENCHMARKS[subject](given) for subject in subjects}
    if given.json:
        with atomic_file(pathlib.Path(given.json)) as temporary:
            temporary.write_text(json.dumps(record, indent=2) + "\n")


def _slim(given):
    measured = benchmark_slim(given.shipped, given.width_multiplier, given.repeats)
    print(slim_table(measured))
    return slim_record(measured)


BENCHMARKS = {"slim": _slim}

if __name__ == "__main__":
    cli.run(main, define_flags, tuple(BENCHMARKS))
