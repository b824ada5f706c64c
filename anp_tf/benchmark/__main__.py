"""Measures ratios of speed and size, each in one process."""

from absl import flags

from anp_tf import cli
from anp_tf.names import BENCHMARK_NETWORKS, BENCHMARKS, METHODS


def define_flags():
    cli.define("json", None, "also write {benchmark: {subject: images a second or ratio}} there")
    cli.define(
        "shipped",
        None,
        "slim: folder of an exported network to measure as well; verdict, agreement: of theirs",
        exists=True,
    )
    cli.define("networks", list(BENCHMARK_NETWORKS), "attack: networks to attack", list)
    cli.define("zoo", [], "networks: some of the networks; none: all", list)
    cli.define("rows", None, "networks, agreement: JSON file of the rows; those in it are kept")
    cli.define("network", "lenet5_caffe", "training: the network, one of those of train")
    cli.define("width_multiplier", 1.0, "attack, slim, training: of the networks", float)
    cli.define("methods", list(METHODS), "training: methods to compare, at among them", list)
    cli.define("batch_size", 128, "training: images a step", int)
    cli.define("attack_steps", 20, "training: steps of PGD", int)
    cli.define("mixed_precision", "none", "training: none (float32) or bfloat16", str)
    cli.define("op_threads", 0, "CPU threads of an operation, as for train; 0: all", int)
    cli.define("images", 200, "verdict, agreement: test images", int)
    cli.define("norm", "Linf", "verdict, agreement: Linf or L2")
    cli.define("epsilon", 0.0, "of their ball; 0: the exported network's", float)
    cli.define("repeats", 10, "timed calls of each subject", int)


def goes_on(subjects):
    """Whether a benchmark that was stopped goes on: rows in a file are not made again."""
    return bool(flags.FLAGS.rows) and not {"networks", "agreement"}.isdisjoint(subjects)


if __name__ == "__main__":
    cli.run("anp_tf.benchmark.command", define_flags, BENCHMARKS, goes_on)
