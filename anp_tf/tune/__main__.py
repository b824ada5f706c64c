"""Searches for options, by keras-tuner."""

from anp_tf import cli
from anp_tf.names import TUNERS


def define_flags():
    cli.define_workdir("folder of the search: trials/, best.cfg, hparams/ for TensorBoard")
    cli.define("method", "anp_vs", "the method of all trials")
    cli.define("space", None, "TOML file with a table for each option to search")
    cli.define("tuner", "hyperband", f"one of {', '.join(TUNERS)}")
    cli.define("trials", 20, "of random and bayesian: at most so many", int)
    cli.define("min_sparsity", 0.0, "share of pruned units that an epoch needs to count", float)
    cli.define(
        "sparsity_weight", 0.0, "added to the robust accuracy: this times the sparsity", float
    )
    cli.define_settings()


if __name__ == "__main__":
    cli.run("anp_tf.tune.command", define_flags)
